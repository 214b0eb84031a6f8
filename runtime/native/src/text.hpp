// Text into token ids and back, and what stands where: prompts, and answers behind them.
//
// Knows nothing about graphs or sampling; `docs/format.md` and runtime/conformance/README.md hold the rules.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "manifest.hpp"
#include "parse_json.hpp"
#include "rendering.hpp"
#include "tokenizer/tokenizer.hpp"

namespace edgelora {

using Ids = std::vector<int32_t>;

// Encodes, decodes and renders chats exactly as transformers does with the same files. Never changed once it is made,
// so that any number of threads may use one.
class Text {
   public:
    // `renderer` is the chat template with the special tokens it may ask for, if there is one.
    Text(std::shared_ptr<const Tokenizer> tokenizer, std::optional<Renderer> renderer);

    // `special` adds the tokenizer's own special tokens. Throws Error{invalid_input} for text that is no UTF-8.
    Ids encode(std::string_view text, bool special = true) const;
    // A text with special tokens around it, taken apart; throws what `encode` throws.
    EncodedText take_apart(std::string_view text, bool with_offsets) const;
    // Without special tokens unless `special`.
    std::string decode(const Ids& ids, bool special = false) const;

    bool has_template() const { return renderer_.has_value(); }
    // The same tokenizer whose template gets these variables too, and `date` (YYYY-MM-DD) as today.
    Text with_template(const Json& variables, const std::optional<std::string>& date) const;
    // The chat template over `messages`; throws Error{invalid_input} when there is none or it refuses them.
    std::string render(const Json& messages, bool add_generation_prompt = true, const Json* tools = nullptr) const;

    // Token ids of the rendered chat; the template writes its own special tokens.
    Ids encode_chat(const Json& messages, bool add_generation_prompt = true, const Json* tools = nullptr) const;
    // Token ids of a text that is to be continued: without the end token that some tokenizers put after all.
    Ids encode_prompt(std::string_view prompt, bool special, const std::vector<std::int64_t>& end_ids) const;
    // Token ids of `text` where it follows `prompt`, whose own ids stay those of `encode_prompt`.
    Ids encode_after(std::string_view prompt, std::string_view text, bool special,
                     const std::vector<std::int64_t>& end_ids) const;
    // Token ids of `answer` behind the rendered `messages`, as training learns it and choices score it.
    Ids encode_answer(const Json& messages, const std::string& answer, const Json* tools) const;

    // The ids of those stop strings that are special tokens, which never come out as text. Throws
    // Error{invalid_input} for one that holds more than a special token: nothing generated could match it.
    std::set<int32_t> find_stops(const std::vector<std::string>& stops) const;

   private:
    // Whether `ids` decode to exactly `text`, alone or behind the prompt.
    bool is_decoded(const Ids& prompt, const Ids& ids, std::string_view text) const;
    // The white space that the template writes between the prompt and a finished answer.
    std::string find_opening(const Json& messages, const std::string& prompt, const std::string& answer,
                             const Json* tools) const;

    std::shared_ptr<const Tokenizer> tokenizer_;
    std::optional<Renderer> renderer_;
};

// The tokenizer of the artifact in `folder`, with its chat template if it has one. Throws Error{artifact} where a file
// cannot be read, Error{unsupported} naming what of it is not known here.
Text read_text(const std::filesystem::path& folder, const TokenizerInfo& info);

}  // namespace edgelora
