// The C interface with owners: what it gives is freed, what it refuses is thrown.
//
// Knows nothing about the command line; the program uses the library as any other program would.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "arguments.hpp"
#include "edgelora.h"
#include "parse_json.hpp"

namespace edgelora::program {

struct ModelCloser {
    void operator()(edgelora_model* model) const { edgelora_model_free(model); }
};
struct GenerationCloser {
    void operator()(edgelora_generation* generation) const { edgelora_generation_free(generation); }
};
using Model = std::unique_ptr<edgelora_model, ModelCloser>;
using Generation = std::unique_ptr<edgelora_generation, GenerationCloser>;

// Throws Failure with the message of the library for anything but EDGELORA_OK; frees `error`, which is a reference so
// that it may be set while the other argument is made.
void check(edgelora_status status, edgelora_error*& error);

Model load(const Arguments& arguments, bool is_checked);
Json model_info(const Model& model);
std::string task_of(const Model& model);

// What both prompts and conversations are answered with. The texts it points to live as long as it does.
class AnswerOptions {
   public:
    explicit AnswerOptions(const Arguments& arguments);
    AnswerOptions(const AnswerOptions&) = delete;
    AnswerOptions& operator=(const AnswerOptions&) = delete;

    edgelora_generate_options options;

   private:
    std::string stops_, choices_, variables_, date_;
};

// One answer to a text, or to a conversation where `prompt` is a list of messages.
Generation answer(const Model& model, const Json& prompt, const edgelora_generate_options& options);
std::string text_of(const Generation& generation);

// From now on Ctrl-C ends the program with its own line and code.
void catch_interrupts();

// While it lives, the first Ctrl-C is for what is computed: it sets a flag that a call may be given. A second one ends
// the program. One at a time.
class Interrupt {
  public:
    Interrupt();
    ~Interrupt();
    Interrupt(const Interrupt&) = delete;
    Interrupt& operator=(const Interrupt&) = delete;

    edgelora_cancel* flag() const;
    bool was_asked() const;
};

}  // namespace edgelora::program
