#include "pattern_reader.hpp"

#include <cstdio>

#include "../errors.hpp"
#include "../parse_json.hpp"
#include "code_points.hpp"

namespace edgelora::tokenizer {
namespace {

constexpr char32_t kLastPoint = 0x10ffff;
constexpr int kDeepestClass = 10;
constexpr std::size_t kNone = std::string_view::npos;

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

std::string write_point(char32_t point) {
    if (point < 0x80 && (is_letter(static_cast<char>(point)) || is_digit(static_cast<char>(point)))) {
        return std::string(1, static_cast<char>(point));
    }
    char text[16];
    std::snprintf(text, sizeof text, "\\x{%x}", static_cast<unsigned>(point));
    return text;
}

void PatternReader::refuse(const std::string& what) const {
    throw Error(Code::unsupported, "the regular expression " + show(pattern_) + " has " + what);
}

bool PatternReader::take(std::string_view text) {
    if (!starts_with(text)) return false;
    at_ += text.size();
    return true;
}

char32_t PatternReader::take_point() {
    if (is_at_end()) refuse("an end too early");
    return next_point(pattern_, at_);
}

// A character or a set behind a backslash, in a class or out of it.
Item PatternReader::read_escaped(bool is_in_class) {
    const std::size_t start = at_;
    const char32_t point = take_point();
    const char letter = point < 0x80 ? static_cast<char>(point) : '\0';
    switch (letter) {
        case 'n': return {'\n', {}, false};
        case 'r': return {'\r', {}, false};
        case 't': return {'\t', {}, false};
        case 'f': return {'\f', {}, false};
        case 'v': return {'\v', {}, false};
        case 'a': return {'\a', {}, false};
        case 'e': return {0x1b, {}, false};
        case 'x': return {read_number(), {}, false};
        case 'u': return {read_digits(4, 4), {}, false};
        case 'p':
        case 'P': return read_property(letter == 'P');
        default: break;
    }
    if (is_in_class && letter == 'b') return {'\b', {}, false};
    const bool is_upper = letter >= 'A' && letter <= 'Z';
    const auto set = find_escape_set(is_upper ? static_cast<char>(letter - 'A' + 'a') : letter, is_in_class);
    if (set) return {0, set, is_upper};
    if (is_letter(letter) || is_digit(letter)) {
        refuse("\\" + std::string(pattern_.substr(start, 1)));
    }
    return {point, {}, false};
}

char32_t PatternReader::read_number() {
    if (!take("{")) {
        const char32_t point = read_digits(1, 2);
        if (point >= 0x80) refuse("\\x of a byte beyond ASCII");
        return point;
    }
    const char32_t point = read_digits(1, 8);
    if (!take("}")) refuse("\\x{ that is not closed");
    return point;
}

char32_t PatternReader::read_digits(int fewest, int most) {
    char32_t value = 0;
    int count = 0;
    for (; count < most && !is_at_end(); count++, at_++) {
        const char c = pattern_[at_];
        if (is_digit(c)) {
            value = value * 16 + static_cast<char32_t>(c - '0');
        } else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')) {
            value = value * 16 + static_cast<char32_t>((c | 0x20) - 'a' + 10);
        } else {
            break;
        }
    }
    if (count < fewest || value > kLastPoint || (value >= 0xd800 && value < 0xe000)) {
        refuse("a number that is no character");
    }
    return value;
}

Item PatternReader::read_property(bool is_negated) {
    const std::size_t end = pattern_.find('}', at_);
    if (!take("{") || end == kNone) refuse("\\p without {name}");
    if (take("^")) is_negated = !is_negated;
    const std::string_view name = pattern_.substr(at_, end - at_);
    const auto set = find_property(name, false);
    if (!set) refuse("\\p{" + std::string(name.substr(0, 40)) + "}");
    at_ = end + 1;
    return {0, set, is_negated};
}

Item PatternReader::read_class_item() {
    if (take("\\")) return read_escaped(true);
    if (take("[:")) {
        const std::size_t end = pattern_.find(":]", at_);
        if (end == kNone) refuse("[: in a class");
        const bool is_negated = take("^");
        const std::string_view name = pattern_.substr(at_, end - at_);
        const auto set = find_property(name, true);
        if (!set) refuse("[:" + std::string(name.substr(0, 40)) + ":]");
        at_ = end + 2;
        return {0, set, is_negated};
    }
    return {take_point(), {}, false};
}

std::string PatternReader::read_class(bool is_caseless, int depth) {
    if (depth > kDeepestClass) refuse("classes nested more than " + std::to_string(kDeepestClass) + " deep");
    const bool is_negated = take("^");
    if (starts_with("]")) refuse("a class that is empty or begins with ]");
    std::vector<Part> parts(1);
    while (!take("]")) {
        if (take("&&")) {
            parts.emplace_back();
        } else {
            read_part(parts.back(), is_caseless, depth);
        }
    }
    for (const Part& part : parts) {
        if (part.items.empty() && part.others.empty()) refuse("&& in a class with nothing beside it");
    }
    if (parts.size() == 1 && parts[0].others.empty()) return (is_negated ? "[^" : "[") + parts[0].items + "]";
    std::string all;
    for (std::size_t index = 1; index < parts.size(); index++) all += "(?=" + write_part(parts[index]) + ")";
    all += write_part(parts[0]);
    return is_negated ? "(?:(?!" + all + ")(?s:.))" : "(?:" + all + ")";
}

// One character, range, set or class of a class.
void PatternReader::read_part(Part& part, bool is_caseless, int depth) {
    if (starts_with("[") && !starts_with("[:")) {
        at_++;
        part.others.push_back(read_class(is_caseless, depth + 1));
        return;
    }
    const Item item = read_class_item();
    if (item.set) {
        if (is_caseless && item.set->depends_on_case) refuse("a set of one case in a part that disregards case");
        if (!item.is_negated) {
            part.items += item.set->items;
        } else if (!item.set->complement.empty()) {
            part.items += item.set->complement;
        } else {
            part.others.push_back("[^" + item.set->items + "]");
        }
        return;
    }
    char32_t last = item.point;
    if (starts_with("-") && !starts_with("-]")) {
        at_++;
        if (starts_with("[") && !starts_with("[:")) refuse("a range in a class that has no end");
        const Item end = read_class_item();
        if (end.set || end.point < item.point) refuse("a range in a class that has no end");
        last = end.point;
    }
    if (is_caseless && last >= 0x80) refuse("letters beyond ASCII in a part that disregards case");
    part.items += write_point(item.point);
    if (last != item.point) part.items += "-" + write_point(last);
}

std::string PatternReader::write_part(const Part& part) {
    std::string branches = part.items.empty() ? "" : "[" + part.items + "]";
    for (const std::string& other : part.others) branches.append(branches.empty() ? "" : "|").append(other);
    return part.others.empty() ? branches : "(?:" + branches + ")";
}

}  // namespace edgelora::tokenizer
