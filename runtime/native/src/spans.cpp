#include "spans.hpp"

#include <utf8proc.h>

#include <algorithm>

#include "characters.hpp"

namespace edgelora {
namespace {

constexpr std::string_view kOutside = "O";

// Letters, marks and digits.
bool is_of_word(char32_t point) {
    const utf8proc_category_t category = utf8proc_category(static_cast<utf8proc_int32_t>(point));
    return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NO;
}

// Where words are written without blanks between them: Han, kana and what belongs to them.
bool is_unspaced(char32_t point) {
    return (point >= 0x2E80 && point <= 0x9FFF) || (point >= 0xF900 && point <= 0xFAFF) ||
           (point >= 0x20000 && point <= 0x3FFFF);
}

// Whether no word ends before the character at `place`.
bool is_joined(std::u32string_view text, std::size_t place) {
    if (place == 0) return false;
    const char32_t before = text[place - 1], here = text[place];
    return is_of_word(before) && is_of_word(here) && !is_unspaced(before) && !is_unspaced(here);
}

struct Kind {
    std::string_view prefix;
    std::string_view name;
};

Kind kind_of(const std::string& label) {
    const std::string_view text = label;
    const std::string_view prefix = text.substr(0, 2);
    if (text.size() > 2 && (prefix == "B-" || prefix == "I-")) return {prefix, text.substr(2)};
    return {"", text};
}

}  // namespace

std::vector<Word> find_words(std::u32string_view text, const std::vector<Offset>& offsets) {
    std::vector<Word> words;
    for (std::size_t token = 0; token < offsets.size(); token++) {
        auto [start, end] = offsets[token];
        end = std::min(end, text.size());
        while (start < end && is_blank(text[start])) start++;
        while (start < end && is_blank(text[end - 1])) end--;
        if (start >= end) continue;
        if (!words.empty() && (start < words.back().end || is_joined(text, start))) {
            words.back().end = std::max(words.back().end, end);
        } else {
            words.push_back({token, start, end});
        }
    }
    return words;
}

std::vector<TagSpan> find_spans(std::u32string_view text, const std::vector<Word>& words,
                                const std::vector<std::string>& labels, const std::vector<double>& scores) {
    std::vector<TagSpan> spans;
    std::vector<std::size_t> counts;  // words of each
    bool is_open = false;
    for (std::size_t index = 0; index < words.size(); index++) {
        const Kind kind = kind_of(labels[index]);
        if (kind.name == kOutside && kind.prefix.empty()) {
            is_open = false;
            continue;
        }
        if (!is_open || kind.prefix == "B-" || spans.back().label != kind.name) {
            spans.push_back({words[index].start, 0, std::string(kind.name), 0, ""});
            counts.push_back(0);
        }
        is_open = true;
        spans.back().end = words[index].end;
        spans.back().score += scores[index];
        counts.back()++;
    }
    for (std::size_t index = 0; index < spans.size(); index++) {
        TagSpan& span = spans[index];
        span.score /= static_cast<double>(counts[index]);
        span.text = encode_utf8(text.substr(span.start, span.end - span.start));
    }
    return spans;
}

}  // namespace edgelora
