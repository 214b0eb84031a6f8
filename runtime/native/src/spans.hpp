// Answers for tokens, as spans of the text that they were read from; `docs/format.md` ("Tags") is the definition.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace edgelora {

using Offset = std::pair<std::size_t, std::size_t>;  // the first code point of a token, and the one behind it

// Characters `start` to `end` (code points) of a text; `score` is the mean of those of its words.
struct TagSpan {
    std::size_t start = 0;
    std::size_t end = 0;
    std::string label;
    double score = 0;
    std::string text;
};

// The spans of a text in order, and in how many windows it was read.
struct Tagging {
    std::vector<TagSpan> spans;
    std::size_t windows = 0;
};

// Tokens that share one answer, that of the first; characters `start` to `end`.
struct Word {
    std::size_t token;
    std::size_t start;
    std::size_t end;
};

// The words of a text by the offsets of its tokens. A token goes on with the word before it where it begins inside of
// it, or where it and the character before it are letters, marks or digits of a script with blanks between words.
// Tokens of white space, or of nothing, have no word.
std::vector<Word> find_words(std::u32string_view text, const std::vector<Offset>& offsets);

// Spans of words with a label and a score each.
std::vector<TagSpan> find_spans(std::u32string_view text, const std::vector<Word>& words,
                                const std::vector<std::string>& labels, const std::vector<double>& scores);

}  // namespace edgelora
