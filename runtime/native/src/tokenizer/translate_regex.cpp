#include "translate_regex.hpp"

#include <utility>

#include "../errors.hpp"
#include "../parse_json.hpp"
#include "pattern_reader.hpp"

namespace edgelora::tokenizer {
namespace {

constexpr int kDeepestGroup = 50;
constexpr std::size_t kNone = std::string::npos;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

class Translator : private PatternReader {
  public:
    explicit Translator(std::string_view pattern) : PatternReader(pattern) {}

    std::string translate() {
        read_branches(0, false);
        if (at_ < pattern_.size()) refuse("a ) too many");
        return std::move(out_);
    }

  private:
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
            out_ += read_class(is_caseless);
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
