// The patterns that GPT-2, Llama 3 and Qwen 2 cut texts with, run by hand where a text is ASCII.
//
// Knows nothing about characters beyond ASCII: where an end depends on one, the regular expression has to be asked.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace edgelora::tokenizer {

class WordPattern {
  public:
    // Nothing where `pattern`, in the words of Oniguruma, is none of them.
    static std::optional<WordPattern> find(std::string_view pattern);

    // Where the match ends that begins at `start`, a place in `text`; npos where that depends on more than ASCII.
    std::size_t end_of(std::string_view text, std::size_t start) const;

  private:
    explicit WordPattern(std::size_t most_digits) : most_digits_(most_digits) {}

    std::size_t most_digits_;  // in one match; 0 for GPT-2, whose pattern is another
};

// That of GPT-2, which the pre-tokenizer ByteLevel has.
constexpr std::string_view kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

}  // namespace edgelora::tokenizer
