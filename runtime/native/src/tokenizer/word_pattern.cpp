#include "word_pattern.hpp"

#include <array>

namespace edgelora::tokenizer {
namespace {

// These two differ in how many digits they take at once.
constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+)"
    R"(|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+)"
    R"(|\s+(?!\S)|\s+)";

enum class Kind : unsigned char { other, letter, digit, blank, line, beyond, end };  // line: LF and CR

constexpr std::array<Kind, 256> make_kinds() {
    std::array<Kind, 256> kinds{};
    for (std::size_t byte = 0; byte < 256; byte++) {
        if (byte >= 0x80) kinds[byte] = Kind::beyond;
        else if (byte == '\n' || byte == '\r') kinds[byte] = Kind::line;
        else if (byte == ' ' || (byte >= 9 && byte <= 13)) kinds[byte] = Kind::blank;
        else if (byte >= '0' && byte <= '9') kinds[byte] = Kind::digit;
        else if ((byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z')) kinds[byte] = Kind::letter;
    }
    return kinds;
}

constexpr std::array<Kind, 256> kKinds = make_kinds();

Kind kind_at(std::string_view text, std::size_t at) {
    return at < text.size() ? kKinds[static_cast<unsigned char>(text[at])] : Kind::end;
}

bool is_space(Kind kind) { return kind == Kind::blank || kind == Kind::line; }

// The bytes of 's, 't, 're, 've, 'm, 'll or 'd at `start`, in capitals too where case is `ignored`; 0 for another text.
std::size_t short_form(std::string_view text, std::size_t start, bool ignored) {
    const auto letter = [&](std::size_t at) -> char {
        const bool is_capital = ignored && at < text.size() && text[at] >= 'A' && text[at] <= 'Z';
        return at >= text.size() ? '\0' : static_cast<char>(is_capital ? text[at] + ('a' - 'A') : text[at]);
    };
    const char first = letter(start + 1);
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
    const char second = letter(start + 2);
    if ((first == 'r' || first == 'v') && second == 'e') return 3;
    return first == 'l' && second == 'l' ? 3 : 0;
}

// The end of the characters of one kind from `at` on; npos where one beyond ASCII follows them.
std::size_t end_of_run(std::string_view text, std::size_t at) {
    const Kind kind = kind_at(text, at);
    while (kind_at(text, at) == kind) at++;
    return kind_at(text, at) == Kind::beyond ? text.npos : at;
}

// White space through its last line break where `lines` count and it has one; else all of it but the last before
// something else, or the only one.
std::size_t end_of_spaces(std::string_view text, std::size_t start, bool lines) {
    std::size_t at = start, line = start;
    for (; is_space(kind_at(text, at)); at++) {
        if (kind_at(text, at) == Kind::line) line = at + 1;
    }
    const Kind next = kind_at(text, at);
    if (next == Kind::beyond) return text.npos;
    if (lines && line > start) return line;
    return next == Kind::end || at == start + 1 ? at : at - 1;
}

}  // namespace

std::optional<WordPattern> WordPattern::find(std::string_view pattern) {
    if (pattern == kGpt2) return WordPattern(0);
    if (pattern == kLlama3) return WordPattern(3);
    if (pattern == kQwen2) return WordPattern(1);
    return std::nullopt;
}

std::size_t WordPattern::end_of(std::string_view text, std::size_t start) const {
    const bool is_gpt2 = most_digits_ == 0;
    const Kind first = kind_at(text, start);
    const Kind second = kind_at(text, start + 1);
    if (first == Kind::beyond || second == Kind::beyond) return text.npos;
    if (text[start] == '\'') {
        const std::size_t size = short_form(text, start, !is_gpt2);
        if (size > 0) return start + size;
    }
    const bool has_blank = text[start] == ' ';
    if (is_gpt2) {
        const std::size_t at = start + (has_blank && !is_space(second) && second != Kind::end ? 1 : 0);
        return is_space(kind_at(text, at)) ? end_of_spaces(text, start, false) : end_of_run(text, at);
    }
    if (first == Kind::letter) return end_of_run(text, start);
    if (first == Kind::digit) {
        std::size_t at = start + 1;
        while (at < start + most_digits_ && kind_at(text, at) == Kind::digit) at++;
        return at < start + most_digits_ && kind_at(text, at) == Kind::beyond ? text.npos : at;
    }
    if (first != Kind::line && second == Kind::letter) return end_of_run(text, start + 1);
    if (first == Kind::other || (has_blank && second == Kind::other)) {
        std::size_t at = end_of_run(text, start + (has_blank ? 1 : 0));
        while (kind_at(text, at) == Kind::line) at++;
        return at;
    }
    return end_of_spaces(text, start, true);
}

}  // namespace edgelora::tokenizer
