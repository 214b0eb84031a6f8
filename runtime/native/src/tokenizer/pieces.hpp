// A text in the pieces that a model gets one by one, and how matches of a pattern cut it.
//
// Knows nothing about which pattern cuts.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "alignment.hpp"

namespace edgelora::tokenizer {

struct Pieces {
    std::string text;
    std::vector<Span> spans;  // none is empty; what lies between them was taken out
    bool is_start;            // whether `text` begins where the text of the caller does
    std::vector<Span> origin = {};  // for each byte of `text` what it stands for; empty where nobody asks

    std::string_view view(const Span& span) const {
        return std::string_view(text).substr(span.begin, span.end - span.begin);
    }
};

// What becomes of a match.
enum class Behavior { removed, isolated, contiguous, merged_with_previous, merged_with_next };

// Finds the matches in one piece; places count from its beginning.
using Finder = std::function<void(std::string_view piece, std::vector<Span>& found)>;

// Cuts every piece; with `is_inverted` what lies between the matches counts as matches, and the other way round.
void cut(Pieces& pieces, Behavior behavior, bool is_inverted, const Finder& find);

// The same with single characters as matches.
void cut_at(Pieces& pieces, Behavior behavior, bool (*is_match)(char32_t));

// Writes every piece anew, with what `write` puts behind the text it is given.
using Writer = std::function<void(std::string_view piece, bool is_first, std::string& out)>;
void rewrite(Pieces& pieces, const Writer& write);

}  // namespace edgelora::tokenizer
