// Letters as Python sees them: their kinds, upper and lower case, `repr`, and what `float` reads and prints.
//
// Knows nothing about templates. Bytes that are no UTF-8 count as U+FFFD, so that nothing reads past an end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "characters.hpp"

namespace edgelora::jinja {

char32_t decode(std::string_view text, size_t& at);  // the character at byte `at`, which moves behind it
inline void append(std::string& text, char32_t character) { append_utf8(character, text); }

bool is_space(char32_t character);    // str.isspace
bool is_letter(char32_t character);   // str.isalpha
bool is_word(char32_t character);     // \w of Python's re, and str.isalnum, but for "_"
bool is_decimal(char32_t character);  // str.isdecimal
bool is_digit(char32_t character);    // str.isdigit

// Upper, lower, title: which case a character has. `unknown` where Unicode has more to say than the table at hand.
enum class Case { none, upper, lower, title, unknown };
Case case_of(char32_t character);

std::string to_upper(std::string_view text);
std::string to_lower(std::string_view text);
std::string to_title(std::string_view text);        // str.title
std::string to_capitalized(std::string_view text);  // str.capitalize
std::string swap_case(std::string_view text);

std::string repr_text(std::string_view text);  // repr() of a text

// A number as Python prints it.
std::string repr(double number);

// The number that a text is, as `float` reads it; false where it is none.
bool read_float(std::string_view text, double& number);

}  // namespace edgelora::jinja
