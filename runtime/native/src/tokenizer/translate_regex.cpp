#include "translate_regex.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <vector>

#include "../errors.hpp"
#include "../parse_json.hpp"
#include "code_points.hpp"
#include "regex_classes.hpp"

namespace edgelora::tokenizer {
namespace {

constexpr int kDeepestGroup = 50;
constexpr std::size_t kNone = std::string::npos;
constexpr char32_t kLastPoint = 0x10ffff;

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string write_point(char32_t point) {
    if (point < 0x80 && (is_letter(static_cast<char>(point)) || is_digit(static_cast<char>(point)))) {
        return std::string(1, static_cast<char>(point));
    }
    char text[16];
    std::snprintf(text, sizeof text, "\\x{%x}", static_cast<unsigned>(point));
    return text;
}

// One character of a class, or a set that stands in it.
struct Item {
    char32_t point = 0;
    std::optional<CharacterSet> set;
    bool is_negated = false;
};

class Translator {
  public:
    explicit Translator(std::string_view pattern) : pattern_(pattern) {}

    std::string translate() {
        read_branches(0, false);
        if (at_ < pattern_.size()) refuse("a ) too many");
        return std::move(out_);
    }

  private:
    [[noreturn]] void refuse(const std::string& what) const {
        throw Error(Code::unsupported, "the regular expression " + show(pattern_) + " has " + what);
    }

    bool is_at_end() const { return at_ >= pattern_.size(); }
    bool starts_with(std::string_view text) const { return pattern_.substr(at_, text.size()) == text; }

    bool take(std::string_view text) {
        if (!starts_with(text)) return false;
        at_ += text.size();
        return true;
    }

    char32_t take_point() {
        if (is_at_end()) refuse("an end too early");
        return next_point(pattern_, at_);
    }

    // What stands up to the next ) that closes this level.
    void read_branches(int depth, bool is_caseless) {
        if (depth > kDeepestGroup) refuse("groups nested more than " + std::to_string(kDeepestGroup) + " deep");
        atom_ = kNone;
        letter_ = 0;
        while (!is_at_end() && pattern_[at_] != ')') {
            if (take("|")) {
                out_ += '|';
                atom_ = kNone;
                letter_ = 0;
            } else {
                read_atom(depth, is_caseless);
            }
        }
    }

    void read_atom(int depth, bool is_caseless) {
        const char c = pattern_[at_];
        if (c == '*' || c == '+' || c == '?' || (c == '{' && is_interval())) return read_quantifier();
        const std::size_t start = out_.size();
        if (c == '(') {
            letter_ = 0;
            read_group(depth, is_caseless);
        } else if (c == '[') {
            letter_ = 0;
            at_++;
            read_class(is_caseless);
        } else if (c == '\\') {
            at_++;
            read_escape(is_caseless);
        } else if (c == '.' || c == '^' || c == '$') {
            letter_ = 0;
            at_++;
            out_ += c;
        } else {
            write_literal(take_point(), is_caseless);
        }
        atom_ = start;
    }

    // Without regard to case Oniguruma takes some letters for two others, which PCRE2 does not.
    void write_literal(char32_t point, bool is_caseless) {
        if (is_caseless) {
            const char32_t small = point >= 'A' && point <= 'Z' ? point + 0x20 : point;
            if (point >= 0x80) refuse("letters beyond ASCII in a part that disregards case");
            for (const std::string_view pair : {"ss", "st", "ff", "fi", "fl"}) {
                if (letter_ == static_cast<char32_t>(pair[0]) && small == static_cast<char32_t>(pair[1])) {
                    refuse(show(pair) + " in a part that disregards case");
                }
            }
            letter_ = small;
        }
        out_ += write_point(point);
    }

    void read_group(int depth, bool is_caseless) {
        at_++;
        bool is_inner_caseless = is_caseless;
        std::size_t name_end = kNone;
        if (!starts_with("?")) {
            out_ += "(?:";
        } else if (take("?:")) {
            out_ += "(?:";
        } else if (starts_with("?=") || starts_with("?!") || starts_with("?>")) {
            out_.append("(").append(pattern_.substr(at_, 2));
            at_ += 2;
        } else if (starts_with("?<=") || starts_with("?<!")) {
            out_.append("(").append(pattern_.substr(at_, 3));
            at_ += 3;
        } else if (starts_with("?<") && (name_end = pattern_.find('>', at_)) != kNone) {
            at_ = name_end + 1;
            out_ += "(?:";
        } else {
            read_options(is_inner_caseless);
            if (take(")")) {
                // Oniguruma takes all that follows in the group, branches too, for a group of its own.
                read_branches(depth + 1, is_inner_caseless);
                out_ += ')';
                return;
            }
            if (!take(":")) refuse("the group " + show(pattern_.substr(at_ - 1, 8)));
        }
        read_branches(depth + 1, is_inner_caseless);
        if (!take(")")) refuse("a ( that is not closed");
        out_ += ')';
    }

    // (?i-m: or (?i-m), as far as its end; writes the beginning of the group.
    void read_options(bool& is_caseless) {
        const std::size_t start = at_;
        at_++;
        std::string on, off;
        bool is_off = false;
        while (!is_at_end() && pattern_[at_] != ':' && pattern_[at_] != ')') {
            const char option = pattern_[at_++];
            if (option == '-' && !is_off) {
                is_off = true;
            } else if (option == 'i' || option == 'm') {
                (is_off ? off : on) += option == 'm' ? 's' : 'i';
                if (option == 'i') is_caseless = !is_off;
            } else {
                refuse("the group (" + std::string(pattern_.substr(start, 8)));
            }
        }
        out_.append("(?").append(on).append(off.empty() ? "" : "-").append(off).append(":");
    }

    // {n}, {n,}, {,m} or {n,m} at `at_`; any other { is a character.
    bool is_interval() const {
        std::size_t at = at_ + 1;
        std::size_t digits = 0;
        while (at < pattern_.size() && is_digit(pattern_[at])) at++, digits++;
        if (at < pattern_.size() && pattern_[at] == ',') {
            at++;
            while (at < pattern_.size() && is_digit(pattern_[at])) at++, digits++;
        }
        return digits > 0 && at < pattern_.size() && pattern_[at] == '}';
    }

    void read_quantifier() {
        if (atom_ == kNone) refuse("a quantifier with nothing before it");
        if (quantified_end_ == out_.size()) wrap();
        letter_ = 0;
        if (pattern_[at_] != '{') {
            out_ += pattern_[at_++];
            if (starts_with("?") || starts_with("+")) out_ += pattern_[at_++];
        } else {
            const std::size_t end = pattern_.find('}', at_);
            std::string inner(pattern_.substr(at_ + 1, end - at_ - 1));
            if (inner[0] == ',') inner.insert(0, "0");
            at_ = end + 1;
            out_ += "{" + inner + "}";
            // In Oniguruma a + behind it is no possessive one, and a ? behind {n} is no lazy one.
            if (starts_with("+") || (starts_with("?") && inner.find(',') == kNone)) {
                wrap();
                out_ += pattern_[at_++];
            } else if (take("?")) {
                out_ += '?';
            }
        }
        quantified_end_ = out_.size();
    }

    void wrap() {
        out_.insert(atom_, "(?:");
        out_ += ')';
    }

    void write_set(const CharacterSet& set, bool is_negated, bool is_caseless) {
        if (is_caseless && set.depends_on_case) refuse("a set of one case in a part that disregards case");
        if (!is_negated) {
            out_.append("[").append(set.items).append("]");
        } else if (!set.complement.empty()) {
            out_.append("[").append(set.complement).append("]");
        } else {
            out_.append("[^").append(set.items).append("]");
        }
    }

    void read_escape(bool is_caseless) {
        const char letter = is_at_end() ? '\0' : pattern_[at_];
        const std::string word = "[" + std::string(kWordItems) + "]";
        if (letter == 'A' || letter == 'z' || letter == 'Z') {
            out_.append("\\").append(1, letter);
        } else if (letter == 'b') {
            out_ += "(?:(?<=" + word + ")(?!" + word + ")|(?<!" + word + ")(?=" + word + "))";
        } else if (letter == 'B') {
            out_ += "(?:(?<=" + word + ")(?=" + word + ")|(?<!" + word + ")(?!" + word + "))";
        } else if (letter == 'R') {
            out_ += R"((?>\x{d}\x{a}|[\x{a}-\x{d}\x{85}\x{2028}\x{2029}]))";
        } else {
            const Item item = read_escaped(false);
            if (!item.set) return write_literal(item.point, is_caseless);
            write_set(*item.set, item.is_negated, is_caseless);
            at_--;
        }
        letter_ = 0;
        at_++;
    }

    // A character or a set behind a backslash, in a class or out of it.
    Item read_escaped(bool is_in_class) {
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
        const auto set = find_escape_set(is_upper ? static_cast<char>(letter - 'A' + 'a') : letter);
        if (set) return {0, set, is_upper};
        if (is_letter(letter) || is_digit(letter)) {
            refuse("\\" + std::string(pattern_.substr(start, 1)));
        }
        return {point, {}, false};
    }

    char32_t read_number() {
        if (!take("{")) {
            const char32_t point = read_digits(1, 2);
            if (point >= 0x80) refuse("\\x of a byte beyond ASCII");
            return point;
        }
        const char32_t point = read_digits(1, 8);
        if (!take("}")) refuse("\\x{ that is not closed");
        return point;
    }

    char32_t read_digits(int fewest, int most) {
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

    Item read_property(bool is_negated) {
        const std::size_t end = pattern_.find('}', at_);
        if (!take("{") || end == kNone) refuse("\\p without {name}");
        if (take("^")) is_negated = !is_negated;
        const std::string_view name = pattern_.substr(at_, end - at_);
        const auto set = find_property(name, false);
        if (!set) refuse("\\p{" + std::string(name.substr(0, 40)) + "}");
        at_ = end + 1;
        return {0, set, is_negated};
    }

    void read_class(bool is_caseless) {
        const bool is_negated = take("^");
        if (starts_with("]")) refuse("a class that is empty or begins with ]");
        std::string items;
        std::vector<std::string> others;  // sets that only the negation of a class can say
        while (!take("]")) {
            if (starts_with("&&")) refuse("&& in a class");
            const Item item = read_class_item();
            if (item.set) {
                if (is_caseless && item.set->depends_on_case) {
                    refuse("a set of one case in a part that disregards case");
                }
                if (!item.is_negated) {
                    items += item.set->items;
                } else if (!item.set->complement.empty()) {
                    items += item.set->complement;
                } else {
                    others.push_back("[^" + item.set->items + "]");
                }
                continue;
            }
            char32_t last = item.point;
            if (starts_with("-") && !starts_with("-]")) {
                at_++;
                const Item end = read_class_item();
                if (end.set || end.point < item.point) refuse("a range in a class that has no end");
                last = end.point;
            }
            if (is_caseless && last >= 0x80) refuse("letters beyond ASCII in a part that disregards case");
            items += write_point(item.point);
            if (last != item.point) items += "-" + write_point(last);
        }
        write_class(items, others, is_negated);
    }

    Item read_class_item() {
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
        if (starts_with("[")) refuse("a class in a class");
        return {take_point(), {}, false};
    }

    void write_class(const std::string& items, const std::vector<std::string>& others, bool is_negated) {
        if (others.empty()) {
            out_.append(is_negated ? "[^" : "[").append(items).append("]");
            return;
        }
        std::string branches = items.empty() ? "" : "[" + items + "]";
        for (const std::string& other : others) branches.append(branches.empty() ? "" : "|").append(other);
        out_ += is_negated ? "(?:(?!" + branches + ")(?s:.))" : "(?:" + branches + ")";
    }

    std::string_view pattern_;
    std::size_t at_ = 0;
    std::string out_;
    std::size_t atom_ = kNone;  // where in `out_` the atom begins that a quantifier would repeat
    char32_t letter_ = 0;       // the literal before, in a part that disregards case
    std::size_t quantified_end_ = 0;  // where in `out_` the last quantifier ends
};

}  // namespace

std::string translate_regex(std::string_view pattern) {
    if (pattern.size() > kLongestPattern) {
        throw Error(Code::unsupported, "a regular expression of " + std::to_string(pattern.size()) + " bytes");
    }
    return Translator(pattern).translate();
}

}  // namespace edgelora::tokenizer
