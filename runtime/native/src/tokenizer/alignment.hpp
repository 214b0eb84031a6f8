// A text that is changed step by step, and which part of the text that was given each byte of it stands for.
//
// Knows nothing about what changes it: what stands for what is found by changing parts of it alone.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "regex.hpp"

namespace edgelora::tokenizer {

struct AlignedText {
    std::string text;
    std::vector<Span> origin;  // for each byte of `text` the bytes of the text that was given

    // A text as it was given, which begins at `start` of what spans count in.
    static AlignedText of(std::string_view given, std::size_t start);
    // The part of `span`.
    AlignedText part(const Span& span) const;
    // What the bytes of `span`, of which there is one at least, stand for.
    Span origin_of(const Span& span) const { return {origin[span.begin].begin, origin[span.end - 1].end}; }
    // Put bytes that all stand for `from` behind the text.
    void append(std::string_view bytes, const Span& from);
    void append(const AlignedText& other);
};

using Change = std::function<std::string(std::string_view part)>;

// The text as `change` writes it. What comes of a character stands for that character; where `change` does not work
// character by character, the same holds for characters with their marks, then words, then what differs of the whole.
AlignedText realign(const AlignedText& text, const Change& change);

}  // namespace edgelora::tokenizer
