// Text into token ids and back, as a tokenizer.json of the `tokenizers` library says.
//
// Knows nothing about prompts, chats or models. What the reader does not know it refuses by name: no text is encoded
// otherwise than the library would encode it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace edgelora {

// Tokens of a whole text: those that the tokenizer put before and behind it, and its own with their characters.
struct EncodedText {
    std::vector<std::int32_t> before;
    std::vector<std::int32_t> ids;
    std::vector<std::int32_t> after;
    std::vector<std::pair<std::size_t, std::size_t>> offsets;  // of each of `ids`, in code points of the text

    // Some of the text's tokens, `start` to `end` or as far as there are any, between those that are put around.
    std::vector<std::int32_t> cut(std::size_t start, std::size_t end) const;
};

class Tokenizer {
  public:
    // Throws Error: unsupported for what the file asks for and is not known here, artifact for a broken file. `where`
    // stands for the file in messages.
    static Tokenizer from_json(std::string_view bytes, const std::string& where = "tokenizer.json");

    // Throws Error(invalid_input) for what is not UTF-8 and for what the vocabulary cannot write.
    std::vector<std::int32_t> encode(std::string_view text, bool add_special_tokens) const;
    // The same with special tokens, taken apart; offsets are empty unless they are asked for.
    EncodedText take_apart(std::string_view text, bool with_offsets) const;
    // Ids that are no token give no text; negative ones are refused.
    std::string decode(const std::vector<std::int32_t>& ids, bool skip_special_tokens) const;

    std::optional<std::int32_t> token_to_id(std::string_view token) const;
    std::optional<std::string> id_to_token(std::int32_t id) const;
    bool is_special(std::int32_t id) const;
    std::size_t vocab_size() const;  // with the added tokens

  private:
    struct Parts;
    std::shared_ptr<const Parts> parts_;  // shared by copies, and never changed: any thread may use it
};

}  // namespace edgelora
