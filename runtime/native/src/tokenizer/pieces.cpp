#include "pieces.hpp"

#include <algorithm>
#include <utility>

#include "code_points.hpp"
#include "patterns.hpp"

namespace edgelora::tokenizer {
namespace {

struct Part {
    Span span;
    bool is_match;
};

// Matches and what lies between them, in order.
void part(std::size_t size, const std::vector<Span>& found, bool is_inverted, std::vector<Part>& parts) {
    std::size_t last = 0;
    for (const Span& span : found) {
        if (span.begin != last) parts.push_back({{last, span.begin}, is_inverted});
        parts.push_back({span, !is_inverted});
        last = span.end;
    }
    if (last != size) parts.push_back({{last, size}, is_inverted});
}

void join(const std::vector<Part>& parts, Behavior behavior, std::vector<Part>& joined) {
    bool is_previous_match = false;
    for (const Part& next : parts) {
        const bool is_joined = behavior == Behavior::contiguous ? next.is_match == is_previous_match
                                                                : next.is_match && !is_previous_match;
        if (is_joined && !joined.empty()) {
            joined.back().span.end = next.span.end;
        } else {
            joined.push_back(next);
        }
        is_previous_match = next.is_match;
    }
}

void join_with_next(const std::vector<Part>& parts, std::vector<Part>& joined) {
    bool is_previous_match = false;
    for (auto next = parts.rbegin(); next != parts.rend(); ++next) {
        if (next->is_match && !is_previous_match && !joined.empty()) {
            joined.back().span.begin = next->span.begin;
        } else {
            joined.push_back(*next);
        }
        is_previous_match = next->is_match;
    }
    std::reverse(joined.begin(), joined.end());
}

}  // namespace

void cut(Pieces& pieces, Behavior behavior, bool is_inverted, const Finder& find) {
    std::vector<Span> cut_spans, found;
    cut_spans.reserve(pieces.spans.size());
    std::vector<Part> parts, joined;
    for (const Span& piece : pieces.spans) {
        found.clear();
        parts.clear();
        joined.clear();
        find(pieces.view(piece), found);
        part(piece.end - piece.begin, found, is_inverted, parts);
        const std::vector<Part>* kept = &parts;
        if (behavior == Behavior::merged_with_next) {
            join_with_next(parts, joined);
            kept = &joined;
        } else if (behavior != Behavior::removed && behavior != Behavior::isolated) {
            join(parts, behavior, joined);
            kept = &joined;
        }
        for (const Part& next : *kept) {
            if (next.span.begin == next.span.end || (behavior == Behavior::removed && next.is_match)) continue;
            cut_spans.push_back({piece.begin + next.span.begin, piece.begin + next.span.end});
        }
    }
    pieces.spans = std::move(cut_spans);
}

void cut_at(Pieces& pieces, Behavior behavior, bool (*is_match)(char32_t)) {
    cut(pieces, behavior, false, [is_match](std::string_view piece, std::vector<Span>& found) {
        for (std::size_t at = 0; at < piece.size();) {
            const std::size_t start = at;
            if (is_match(next_point(piece, at))) found.push_back({start, at});
        }
    });
}

void rewrite(Pieces& pieces, const Writer& write) {
    std::string out;
    out.reserve(pieces.text.size() + pieces.text.size() / 4);
    std::vector<Span> spans, origin;
    spans.reserve(pieces.spans.size());
    pieces.is_start = pieces.is_start && !pieces.spans.empty() && pieces.spans[0].begin == 0;
    for (const Span& piece : pieces.spans) {
        const std::size_t begin = out.size();
        const bool is_first = pieces.is_start && piece.begin == 0;
        if (pieces.origin.empty()) {
            write(pieces.view(piece), is_first, out);
        } else {
            const auto place = [&](std::size_t at) { return pieces.origin.begin() + static_cast<std::ptrdiff_t>(at); };
            const AlignedText before{std::string(pieces.view(piece)), {place(piece.begin), place(piece.end)}};
            const AlignedText after = realign(before, [&](std::string_view part) {
                std::string written;
                write(part, is_first && part.data() == before.text.data(), written);
                return written;
            });
            out += after.text;
            origin.insert(origin.end(), after.origin.begin(), after.origin.end());
        }
        if (out.size() > begin) spans.push_back({begin, out.size()});
        check_length(out.size());
    }
    pieces.text = std::move(out);
    pieces.spans = std::move(spans);
    pieces.origin = std::move(origin);
}

}  // namespace edgelora::tokenizer
