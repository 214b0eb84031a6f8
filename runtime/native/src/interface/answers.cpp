#include <algorithm>
#include <limits>

#include "interface/guard.hpp"
#include "interface/handles.hpp"
#include "interface/options.hpp"

using namespace edgelora;
using namespace edgelora::interface;

namespace {

AnswerOptions answer_options_of(const edgelora_generate_options* given) {
    const edgelora_generate_options options = read_generate_options(given);
    AnswerOptions made;
    made.max_new_tokens = options.max_new_tokens;
    made.sampling = sampling_of(options);
    made.adapter = optional_text_of(options.adapter, "adapter");
    if (options.adapters_json != nullptr) made.adapters = texts_of(options.adapters_json, "adapters");
    if (options.stop_json != nullptr) made.stops = texts_of(options.stop_json, "stop");
    if (options.choices_json != nullptr) made.choices = texts_of(options.choices_json, "choices");
    made.variables = optional_json_of(options.template_json, "template");
    made.tools = optional_json_of(options.tools_json, "tools");
    made.date = optional_text_of(options.date, "date");
    made.raw = options.raw != 0;
    made.cancel = options.cancel == nullptr ? nullptr : &options.cancel->flag;
    if (options.on_text != nullptr) {
        made.on_text = [options](std::size_t row, std::string_view text) {
            return options.on_text(options.user_data, row, text.data(), text.size()) == 0;
        };
    }
    if (options.on_token != nullptr) {
        made.on_token = [options](std::size_t row, std::int32_t token) {
            return options.on_token(options.user_data, row, token) == 0;
        };
    }
    return made;
}

void give(std::vector<Answer> answers, edgelora_generation** generation) {
    *generation = new edgelora_generation{std::move(answers)};
}

}  // namespace

extern "C" {

edgelora_status edgelora_generate(edgelora_model* model, const char* prompt, size_t n_bytes,
                                  const edgelora_generate_options* options, edgelora_generation** generation,
                                  edgelora_error** error) {
    return guard(error, [&] {
        clear(generation, "generation");
        const Calling call(model);
        const std::string text(text_of(prompt, n_bytes, "prompt"));
        give(call.generator().generate({text}, answer_options_of(options)), generation);
    });
}

edgelora_status edgelora_chat(edgelora_model* model, const char* messages_json,
                              const edgelora_generate_options* options, edgelora_generation** generation,
                              edgelora_error** error) {
    return guard(error, [&] {
        clear(generation, "generation");
        const Calling call(model);
        give({call.generator().chat(json_of(messages_json, "messages"), answer_options_of(options))}, generation);
    });
}

edgelora_status edgelora_generate_batch(edgelora_model* model, const char* prompts_json,
                                        const edgelora_generate_options* options, edgelora_generation** generation,
                                        edgelora_error** error) {
    return guard(error, [&] {
        clear(generation, "generation");
        const Calling call(model);
        give(call.generator().generate(texts_of(prompts_json, "prompts"), answer_options_of(options)), generation);
    });
}

edgelora_status edgelora_generate_ids(edgelora_model* model, const int32_t* ids, const size_t* lengths, size_t n_rows,
                                      const edgelora_generate_options* options, edgelora_generation** generation,
                                      edgelora_error** error) {
    return guard(error, [&] {
        clear(generation, "generation");
        const Calling call(model);
        give(call.generator().generate_ids(rows_of(ids, lengths, n_rows), answer_options_of(options)), generation);
    });
}

edgelora_status edgelora_logits(edgelora_model* model, const int32_t* ids, size_t n_ids, const char* adapter,
                                const size_t* positions, size_t n_positions, edgelora_cancel* cancel, float* logits,
                                size_t n_logits, edgelora_error** error) {
    return guard(error, [&] {
        const Calling call(model);
        Model& generator = call.generator();
        const auto size = static_cast<size_t>(generator.manifest().model.vocab_size);
        if (n_positions > std::numeric_limits<size_t>::max() / size || n_logits != n_positions * size) {
            throw Error(Code::invalid_input, "n_logits is " + std::to_string(n_logits) + ", expected " +
                                                 std::to_string(n_positions) + " positions times " +
                                                 std::to_string(size) + ", the size of the vocabulary");
        }
        if (n_positions == 0) {
            throw Error(Code::invalid_input, "n_positions is 0, expected at least one position");
        }
        const size_t* first = &need(positions, "positions");
        float* out = &need(logits, "logits");
        const auto spec = optional_text_of(adapter, "adapter");
        const Logits found = generator.tokens().logits(ids_of(ids, n_ids, "ids"), spec ? Specs{*spec} : Specs{},
                                                   std::vector<std::size_t>(first, first + n_positions),
                                                   cancel == nullptr ? nullptr : &cancel->flag);
        std::copy_n(found.row(0), n_logits, out);
    });
}
}
