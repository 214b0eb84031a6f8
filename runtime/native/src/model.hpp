// The public model: takes text and gives text, over a model of token ids.
//
// Knows nothing about buffers, kernels or how an adapter is found; it joins tokenizer, stops and choices.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "loaded_model.hpp"
#include "token_model.hpp"

namespace edgelora {

// What one call is asked for beside its prompt.
struct AnswerOptions {
    std::int64_t max_new_tokens = 128;
    SamplingOptions sampling;
    std::optional<std::string> adapter;                // SPEC for every row; none: the one that is set
    std::optional<std::vector<std::string>> adapters;  // one for each row, instead
    std::vector<std::string> stops;
    std::optional<std::vector<std::string>> choices;
    std::optional<Json> variables;  // of the chat template
    std::optional<Json> tools;
    std::optional<std::string> date;
    bool raw = false;
    const Cancel* cancel = nullptr;
    // Take what is made, by the place of its prompt; false ends that row.
    std::function<bool(std::size_t row, std::string_view text)> on_text;
    std::function<bool(std::size_t row, std::int32_t token)> on_token;
};

// One answer. `ids` leave out the end token; `scores` are in the order of the choices.
struct Answer {
    std::string text;
    Ids ids;
    std::string finish_reason;  // stop, length, choice, cancelled
    std::size_t prompt_tokens = 0;
    std::vector<double> scores;
};

// A loaded artifact that generates, for any number of threads: it answers one call at a time, the others wait.
class Model : public LoadedModel {
  public:
    static std::unique_ptr<Model> load(const Artifact& artifact);

    TokenModel& tokens() { return *tokens_; }

    std::vector<std::string> adapters() const override { return tokens_->adapters(); }
    std::string adapter() const override { return tokens_->adapter(); }
    void set_adapter(const std::string& spec) override { tokens_->set_adapter(spec); }
    void load_adapter(const std::string& name, const std::filesystem::path& folder, bool trust,
                      const std::optional<Labels>& labels) override;
    void unload_adapter(const std::string& name) override { tokens_->unload_adapter(name); }
    Json probe(const std::string& name) override;

    // Answer each prompt: through the chat template, or as it is with `raw`.
    std::vector<Answer> generate(const std::vector<std::string>& prompts, const AnswerOptions& options);
    // Answer a conversation.
    Answer chat(const Json& messages, const AnswerOptions& options);
    // Continue token ids; what belongs to text is refused.
    std::vector<Answer> generate_ids(const std::vector<Ids>& prompts, const AnswerOptions& options);

  private:
    // Token ids, and how a choice is encoded behind them.
    struct Prompt {
        Ids ids;
        std::function<Ids(const std::string&)> encode_answer;
    };

    explicit Model(const Artifact& artifact);

    Text templated(const AnswerOptions& options) const;
    Prompt encode_raw(std::shared_ptr<const Text> text, const std::string& prompt) const;
    Prompt encode_chat(std::shared_ptr<const Text> text, const Json& messages, const AnswerOptions& options) const;
    std::vector<Answer> answer(const Text& text, const std::vector<Prompt>& prompts, const AnswerOptions& options);
    std::vector<Answer> choose(const std::vector<Prompt>& prompts, const Specs& specs, const AnswerOptions& options);
    std::vector<Answer> decode(const Text& text, const std::vector<Ids>& prompts, const Specs& specs,
                               const AnswerOptions& options);

    std::unique_ptr<TokenModel> tokens_;
};

}  // namespace edgelora
