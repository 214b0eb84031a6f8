#include "alignment.hpp"

#include <algorithm>
#include <utility>

#include "../characters.hpp"
#include "code_points.hpp"

namespace edgelora::tokenizer {
namespace {

using Border = bool (*)(char32_t before, char32_t here);

// Parts of a text, with a border between two characters where `is_border` says so.
std::vector<Span> split(std::string_view text, Border is_border) {
    std::vector<Span> parts;
    char32_t before = 0;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t start = at;
        const char32_t here = next_point(text, at);
        if (parts.empty() || is_border(before, here)) parts.push_back({start, start});
        parts.back().end = at;
        before = here;
    }
    return parts;
}

// Bytes of the characters that both begin with.
std::size_t common_start(std::string_view one, std::string_view other) {
    std::size_t at = 0;
    while (at < one.size() && at < other.size()) {
        const std::size_t length = length_of(static_cast<unsigned char>(one[at]));
        if (one.substr(at, length) != other.substr(at, length)) break;
        at += length;
    }
    return at;
}

std::size_t common_end(std::string_view one, std::string_view other) {
    std::size_t length = 0;
    while (length < one.size() && length < other.size()) {
        const std::size_t start = previous_start(one, one.size() - length);
        const std::string_view character = one.substr(start, one.size() - length - start);
        if (other.size() < length + character.size() ||
            other.substr(other.size() - length - character.size(), character.size()) != character) {
            break;
        }
        length += character.size();
    }
    return length;
}

// `bytes`, characters that came of those of `span`: one stands for the other in turn, and what there is more of for the
// last of them. Marks that became a part of the first character are left out, as the `tokenizers` library does it.
void append_in_turn(const AlignedText& part, const Span& span, std::string_view bytes, AlignedText& out) {
    const std::string_view given = std::string_view(part.text).substr(span.begin, span.end - span.begin);
    const std::size_t n_given = count_characters(given), n_made = count_characters(bytes);
    std::size_t steps = 1;
    Span from{span.begin, span.begin};
    for (std::size_t at = 0; at < bytes.size();) {
        const std::size_t start = at;
        next_point(bytes, at);
        for (; steps > 0 && from.end < span.end; steps--) {
            from.begin = from.end;
            next_point(part.text, from.end);
        }
        steps = start == 0 && n_given > n_made ? 1 + n_given - n_made : 1;
        out.append(bytes.substr(start, at - start), part.origin_of(from));
    }
}

// `changed`, which came of `part`: what both begin and end with stands for itself, the rest for what lies between, in
// turn where `part` is a character with its marks.
void append_changed(const AlignedText& part, std::string_view changed, bool is_in_turn, AlignedText& out) {
    const std::string_view text = part.text;
    const std::size_t start = common_start(text, changed);
    const std::size_t rest = common_end(text.substr(start), changed.substr(start));
    out.append(part.part({0, start}));
    Span middle{start, text.size() - rest};
    if (middle.begin == middle.end && rest > 0) {  // put in: it stands for the character behind it
        middle.end += length_of(static_cast<unsigned char>(text[middle.begin]));
    } else if (middle.begin == middle.end && start > 0) {
        middle.begin = previous_start(text, start);
    }
    const std::string_view bytes = changed.substr(start, changed.size() - rest - start);
    if (is_in_turn) {
        append_in_turn(part, middle, bytes, out);
    } else if (!bytes.empty() && middle.begin < middle.end) {
        out.append(bytes, part.origin_of(middle));
    }
    out.append(part.part({text.size() - rest, text.size()}));
}

}  // namespace

AlignedText AlignedText::of(std::string_view given, std::size_t start) {
    AlignedText made;
    for (std::size_t at = 0; at < given.size();) {
        const std::size_t first = at;
        next_point(given, at);
        made.append(given.substr(first, at - first), {start + first, start + at});
    }
    return made;
}

AlignedText AlignedText::part(const Span& span) const {
    const auto place = [&](std::size_t at) { return origin.begin() + static_cast<std::ptrdiff_t>(at); };
    return {text.substr(span.begin, span.end - span.begin), {place(span.begin), place(span.end)}};
}

void AlignedText::append(std::string_view bytes, const Span& from) {
    text += bytes;
    origin.resize(text.size(), from);
}

void AlignedText::append(const AlignedText& other) {
    text += other.text;
    origin.insert(origin.end(), other.origin.begin(), other.origin.end());
}

AlignedText realign(const AlignedText& text, const Change& change) {
    const std::string whole = change(text.text);
    constexpr std::pair<Border, bool> ways[] = {
        {[](char32_t /*before*/, char32_t /*here*/) { return true; }, true},
        {[](char32_t /*before*/, char32_t here) { return !is_mark(here); }, true},
        {[](char32_t before, char32_t here) { return is_white_space(before) && !is_white_space(here); }, false},
    };
    for (const auto& [border, is_in_turn] : ways) {
        AlignedText made;
        for (const Span& span : split(text.text, border)) {
            const std::string_view part = std::string_view(text.text).substr(span.begin, span.end - span.begin);
            append_changed(text.part(span), change(part), is_in_turn, made);
            if (whole.compare(0, made.text.size(), made.text) != 0) break;
        }
        if (made.text == whole) return made;
    }
    AlignedText made;
    append_changed(text, whole, false, made);
    return made;
}

}  // namespace edgelora::tokenizer
