// Characters as a tokenizer asks about them: decoding step by step, and the classes that its rules name.
//
// Knows nothing about rules. The classes are those of the `tokenizers` library, each of its own version of Unicode.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace edgelora::tokenizer {

// Bytes of the character that begins with `lead`, in valid UTF-8.
inline std::size_t length_of(unsigned char lead) { return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4; }

// The character at `at`, which moves behind it; `text` is valid UTF-8 and `at` lies in it.
inline char32_t next_point(std::string_view text, std::size_t& at) {
    const auto byte = [&](std::size_t offset) { return static_cast<unsigned char>(text[at + offset]); };
    const unsigned char lead = byte(0);
    char32_t point = lead;
    const std::size_t length = length_of(lead);
    if (length == 2) point = (lead & 0x1fU) << 6 | (byte(1) & 0x3fU);
    if (length == 3) point = (lead & 0x0fU) << 12 | (byte(1) & 0x3fU) << 6 | (byte(2) & 0x3fU);
    if (length == 4) {
        point = (lead & 0x07U) << 18 | (byte(1) & 0x3fU) << 12 | (byte(2) & 0x3fU) << 6 | (byte(3) & 0x3fU);
    }
    at += length;
    return point;
}

// Where the character in front of `at` begins; `at` is not 0.
inline std::size_t previous_start(std::string_view text, std::size_t at) {
    do at--;
    while ((static_cast<unsigned char>(text[at]) & 0xc0U) == 0x80);
    return at;
}

bool is_ascii(std::string_view text);

bool is_white_space(char32_t point);
bool is_numeric(char32_t point);
bool is_punctuation(char32_t point);
bool is_mark(char32_t point);
bool is_nonspacing_mark(char32_t point);
bool is_control(char32_t point);  // without tab, line feed and carriage return
bool is_chinese(char32_t point);

// `point` in lower case, behind `out`.
void append_lower(char32_t point, std::string& out);

// The length of the white space that `text` begins or ends with.
std::size_t white_space_in_front(std::string_view text);
std::size_t white_space_behind(std::string_view text);

// Any bytes as UTF-8: what is no character becomes U+FFFD, one for each beginning of a character that breaks off.
std::string replace_bad_utf8(std::string bytes);

}  // namespace edgelora::tokenizer
