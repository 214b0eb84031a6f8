#include "template/lexer.hpp"

#include <cmath>

#include "template/letters.hpp"

namespace edgelora::jinja {

void refuse(int line, const std::string& reason) {
    throw Error(Code::artifact, "line " + std::to_string(line) + ": " + reason);
}

void not_known(int line, const std::string& construct) {
    throw Error(Code::unsupported, "line " + std::to_string(line) + ": " + construct + " is not known here");
}

namespace {

const char* const signs[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
                             "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name(char c) { return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

// Line breaks become "\n", and one at the end goes.
std::string with_plain_breaks(std::string_view source) {
    std::string plain;
    for (size_t at = 0; at < source.size(); ++at) {
        const bool is_break = source[at] == '\r';
        if (is_break && at + 1 < source.size() && source[at + 1] == '\n') ++at;
        plain += is_break ? '\n' : source[at];
    }
    if (!plain.empty() && plain.back() == '\n') plain.pop_back();
    return plain;
}

size_t without_space(std::string_view text) {  // the length that str.rstrip leaves
    size_t length = 0;
    for (size_t at = 0; at < text.size();) {
        if (!is_space(decode(text, at))) length = at;
    }
    return length;
}

class Lexer {
   public:
    explicit Lexer(std::string_view source) : source_(with_plain_breaks(source)) {}

    std::vector<Lexeme> run() {
        while (at_ < source_.size()) root();
        add(Token::end, "");
        return std::move(found_);
    }

   private:
    bool starts(std::string_view text) const { return source_.compare(at_, text.size(), text) == 0; }

    void add(Token token, std::string text, Value number = Value()) {
        found_.push_back({token, std::move(text), std::move(number), line_});
    }

    void advance(size_t count) {
        for (; count > 0; --count) line_ += source_[at_++] == '\n';
    }

    void skip_space() {
        while (at_ < source_.size()) {
            size_t behind = at_;
            if (!is_space(decode(source_, behind))) return;
            advance(behind - at_);
        }
    }

    // Text in front of a tag whose sign is "-", "+" or none, with what the tag takes away from it.
    void add_data(size_t stop, char sign, bool is_variable) {
        std::string_view text(source_);
        text = text.substr(at_, stop - at_);
        size_t length = text.size();
        if (sign == '-') {
            length = without_space(text);
        } else if (sign != '+' && !is_variable) {
            const size_t line_break = text.rfind('\n');
            const size_t start = line_break == text.npos ? 0 : line_break + 1;
            const bool begins_line = start > 0 || at_ == 0 || source_[at_ - 1] == '\n';
            if (begins_line && without_space(text.substr(start)) == 0) length = start;
        }
        if (length > 0) add(Token::data, std::string(text.substr(0, length)));
        advance(stop - at_);
    }

    char sign_at(size_t place) const {
        const char c = place < source_.size() ? source_[place] : ' ';
        return c == '-' || c == '+' ? c : ' ';
    }

    void root() {
        size_t open = source_.find('{', at_);
        while (open != source_.npos &&
               (open + 1 >= source_.size() ||
                (source_[open + 1] != '%' && source_[open + 1] != '{' && source_[open + 1] != '#'))) {
            open = source_.find('{', open + 1);
        }
        if (open == source_.npos) {
            add(Token::data, source_.substr(at_));
            advance(source_.size() - at_);
            return;
        }
        const char kind = source_[open + 1];
        const char sign = sign_at(open + 2);
        add_data(open, sign, kind == '{');
        advance(sign == ' ' ? 2 : 3);
        if (kind == '#') {
            comment();
        } else if (kind == '{') {
            add(Token::variable_begin, "");
            inside(Token::variable_end);
        } else if (!raw()) {
            add(Token::block_begin, "");
            inside(Token::block_end);
        }
    }

    // The end of a tag: "-" takes white space behind it, a tag or comment one line break.
    bool close(std::string_view end) {
        const bool trims = end != "}}";
        if (starts("-" + std::string(end))) {
            advance(1 + end.size());
            skip_space();
        } else if (trims && starts("+" + std::string(end))) {
            advance(1 + end.size());
        } else if (starts(end)) {
            advance(end.size());
            if (trims && starts("\n")) advance(1);
        } else {
            return false;
        }
        return true;
    }

    void comment() {
        if (at_ == source_.size()) return;  // as jinja2 has it
        const size_t end = source_.find("#}", at_);
        if (end == source_.npos) refuse(line_, "a comment without end");
        const char before = end > at_ ? source_[end - 1] : ' ';
        advance(end - at_ - (before == '-' || before == '+' ? 1 : 0));
        close("#}");
    }

    bool raw() {
        const size_t start = at_;
        const int line = line_;
        skip_space();
        if (starts("raw")) {
            advance(3);
            skip_space();
            const bool strips = starts("-%}");
            if (strips || starts("%}")) {
                advance(strips ? 3 : 2);
                if (strips) skip_space();
                end_raw();
                return true;
            }
        }
        at_ = start;
        line_ = line;
        return false;
    }

    void end_raw() {
        for (size_t open = source_.find("{%", at_); open != source_.npos; open = source_.find("{%", open + 1)) {
            const size_t start = at_;
            const int line = line_;
            const char sign = sign_at(open + 2);
            at_ = open + (sign == ' ' ? 2 : 3);
            skip_space();
            if (starts("endraw")) {
                at_ += 6;
                skip_space();
                if (starts("%}") || starts("-%}") || starts("+%}")) {
                    const size_t end = at_;
                    at_ = start;
                    line_ = line;
                    add_data(open, sign, false);
                    advance(end - at_);
                    close("%}");
                    return;
                }
            }
            at_ = start;
            line_ = line;
        }
        if (at_ < source_.size()) refuse(line_, "a raw block without end");
    }

    void inside(Token end) {
        std::string open;  // brackets
        while (at_ < source_.size()) {
            if (open.empty() && close(end == Token::block_end ? "%}" : "}}")) {
                add(end, "");
                return;
            }
            const char c = source_[at_];
            size_t behind = at_;
            const char32_t character = decode(source_, behind);
            if (is_space(character)) {
                advance(behind - at_);
            } else if (is_digit(c)) {
                number();
            } else if (is_name(c)) {
                while (behind < source_.size() && is_name(source_[behind])) ++behind;
                add(Token::name, source_.substr(at_, behind - at_));
                advance(behind - at_);
                if (at_ < source_.size() && static_cast<unsigned char>(source_[at_]) > 0x7f) {
                    size_t next = at_;
                    if (is_word(decode(source_, next))) not_known(line_, "a name with letters beyond ASCII");
                }
            } else if (c == '\'' || c == '"') {
                string(c);
            } else {
                sign(open);
            }
        }
        refuse(line_, "it ends inside of a tag");
    }

    void sign(std::string& open) {
        for (const char* const sign : signs) {
            if (!starts(sign)) continue;
            const char c = sign[0];
            if (c == '{' || c == '(' || c == '[') {
                open += c == '{' ? '}' : c == '(' ? ')' : ']';
            } else if (c == '}' || c == ')' || c == ']') {
                if (open.empty() || open.back() != c) refuse(line_, std::string("unexpected '") + c + "'");
                open.pop_back();
            }
            add(Token::sign, sign);
            advance(std::string_view(sign).size());
            return;
        }
        size_t behind = at_;
        if (is_word(decode(source_, behind))) not_known(line_, "a name with letters beyond ASCII");
        refuse(line_, "unexpected character " + repr_text(std::string_view(source_).substr(at_, behind - at_)));
    }

    size_t digits(size_t at) const {  // behind (\d+_)*\d+ from `at` on
        const size_t start = at;
        while (at < source_.size() &&
               (is_digit(source_[at]) || (source_[at] == '_' && at > start && is_digit(source_[at - 1]) &&
                                          at + 1 < source_.size() && is_digit(source_[at + 1])))) {
            ++at;
        }
        return at;
    }

    void number() {
        size_t end = digits(at_);
        bool is_float = false;
        if (at_ == 0 || source_[at_ - 1] != '.') {
            const size_t whole = end;
            if (end < source_.size() && source_[end] == '.' && digits(end + 1) > end + 1) {
                end = digits(end + 1);
                is_float = true;
            }
            if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
                const size_t power =
                    end + 1 + (end + 1 < source_.size() && (source_[end + 1] == '+' || source_[end + 1] == '-'));
                if (digits(power) > power) {
                    end = digits(power);
                    is_float = true;
                }
            }
            if (!is_float) end = whole;
        }
        if (is_float) {
            double value = 0;
            if (!read_float(std::string_view(source_).substr(at_, end - at_), value) || std::isinf(value)) {
                not_known(line_, "a number of this size");
            }
            add(Token::number, "", Value(value));
            advance(end - at_);
            return;
        }
        int base = 10;
        if (source_[at_] == '0') {
            const char letter = at_ + 1 < source_.size() ? static_cast<char>(source_[at_ + 1] | 0x20) : ' ';
            const int other = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 10;
            const auto of_base = [&](size_t place) {
                const char c = place < source_.size() ? source_[place] : ' ';
                const int digit = is_digit(c)                              ? c - '0'
                                  : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                                           : 99;
                return digit < other;
            };
            size_t next = at_ + 2;
            while (other != 10 &&
                   (of_base(next) || (next < source_.size() && source_[next] == '_' && of_base(next + 1))))
                ++next;
            if (next > at_ + 2 && other != 10) {
                base = other;
                end = next;
            } else {  // zeros alone; what follows is another token
                for (end = at_ + 1; end < source_.size() &&
                                    (source_[end] == '0' ||
                                     (source_[end] == '_' && end + 1 < source_.size() && source_[end + 1] == '0'));) {
                    ++end;
                }
            }
        }
        int64_t value = 0;
        for (size_t at = at_ + (base == 10 ? 0 : 2); at < end; ++at) {
            const char c = source_[at];
            if (c == '_') continue;
            const int digit = is_digit(c) ? c - '0' : (c | 0x20) - 'a' + 10;
            if (__builtin_mul_overflow(value, base, &value) || __builtin_add_overflow(value, digit, &value)) {
                not_known(line_, "a whole number of this size");
            }
        }
        add(Token::number, source_.substr(at_, end - at_), Value(value));
        advance(end - at_);
    }

    void string(char quote) {
        size_t end = at_ + 1;
        while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
        if (end >= source_.size()) refuse(line_, std::string("unexpected character ") + quote + ": a text without end");
        const std::string_view inner = std::string_view(source_).substr(at_ + 1, end - at_ - 1);
        std::string text;
        for (size_t at = 0; at < inner.size();) {
            if (inner[at] != '\\') {
                text += inner[at++];
            } else {
                escape(inner, ++at, text);
            }
        }
        add(Token::text, std::move(text));
        advance(end + 1 - at_);
    }

    // What stands behind a backslash, as Python's codec "unicode-escape" reads it.
    void escape(std::string_view inner, size_t& at, std::string& text) {
        static const std::string letters = "\\'\"abfnrtv", meant = "\\'\"\a\b\f\n\r\t\v";
        const char c = inner[at];
        if (c == '\n') {
            ++at;
        } else if (const size_t place = letters.find(c); place != letters.npos) {
            text += meant[place];
            ++at;
        } else if (c >= '0' && c <= '7') {
            char32_t code = 0;
            for (int count = 0; count < 3 && at < inner.size() && inner[at] >= '0' && inner[at] <= '7'; ++count) {
                code = code * 8 + static_cast<char32_t>(inner[at++] - '0');
            }
            append(text, code);
        } else if (c == 'x' || c == 'u' || c == 'U') {
            const size_t count = c == 'x' ? 2 : c == 'u' ? 4 : 8;
            char32_t code = 0;
            for (size_t place = at + 1; place <= at + count; ++place) {
                const char digit = place < inner.size() ? static_cast<char>(inner[place]) : ' ';
                const bool is_letter = (digit | 0x20) >= 'a' && (digit | 0x20) <= 'f';
                if (!is_digit(digit) && !is_letter) refuse(line_, std::string("truncated \\") + c + " escape");
                code = code * 16 + static_cast<char32_t>(is_digit(digit) ? digit - '0' : (digit | 0x20) - 'a' + 10);
            }
            if (code > 0x10ffff) refuse(line_, "illegal Unicode character");
            if (code >= 0xd800 && code < 0xe000) not_known(line_, "half of a surrogate pair");
            append(text, code);
            at += count + 1;
        } else if (c == 'N') {
            not_known(line_, "a character by its name");
        } else if (static_cast<unsigned char>(c) >
                   0x7f) {  // jinja2 has escaped it before, and a backslash that is escaped stays
            const char32_t code = decode(inner, at);
            char shown[16];
            std::snprintf(shown, sizeof shown,
                          code < 0x100     ? "x%02x"
                          : code < 0x10000 ? "u%04x"
                                           : "U%08x",
                          static_cast<unsigned>(code));
            text += std::string("\\") + shown;
        } else {
            text += '\\';
            text += c;
            ++at;
        }
    }

    std::string source_;
    size_t at_ = 0;
    int line_ = 1;
    std::vector<Lexeme> found_;
};

}  // namespace

std::vector<Lexeme> cut(std::string_view source) { return Lexer(source).run(); }

}  // namespace edgelora::jinja
