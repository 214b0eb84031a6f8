// The table of replacements that SentencePiece compiles into its models: `precompiled_charsmap`.
//
// Knows nothing about JSON. The table is a trie in a double array, and the replacements behind it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace edgelora::tokenizer {

class CharsMap {
  public:
    // Reads the bytes, which are written in base64; throws Error(artifact).
    static CharsMap read(std::string_view base64);

    std::string replace(std::string_view text) const;

  private:
    // What replaces `part`: that of the shortest beginning of it that the table has.
    std::optional<std::string_view> find(std::string_view part) const;

    std::vector<std::uint32_t> units_;
    std::string replacements_;  // each ends with a zero byte
};

}  // namespace edgelora::tokenizer
