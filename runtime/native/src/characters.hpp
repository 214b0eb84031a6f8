// UTF-8 taken apart into characters (code points), for readers that count, cut and show text.
//
// Knows nothing about what a text means; what leaves `decode_utf8` is valid, and all else here asks for valid text.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace edgelora {

// The place of the first byte that is no UTF-8, nothing where all of it is. Halves of surrogate pairs are none.
std::optional<std::size_t> find_bad_utf8(std::string_view bytes);

// The code points of valid UTF-8; what is not valid becomes U+FFFD, byte by byte.
std::u32string decode_utf8(std::string_view text);

// `point` as UTF-8, put behind `out`.
void append_utf8(char32_t point, std::string& out);

std::string encode_utf8(std::u32string_view points);

// How many characters valid UTF-8 has.
std::size_t count_characters(std::string_view text);

// The first `count` characters of valid UTF-8.
std::string_view first_characters(std::string_view text, std::size_t count);

// Whether a character shows as itself in a line: no control, no format character, no line break, no blank but ' '.
bool is_printable(char32_t point);

// Whether a character is white space, as Python's `str.isspace` has it.
bool is_blank(char32_t point);

// `text` without the blanks around it.
std::string_view strip_blanks(std::string_view text);

}  // namespace edgelora
