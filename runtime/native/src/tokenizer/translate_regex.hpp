// Regular expressions of tokenizers, which Oniguruma reads, written as PCRE2 reads them.
//
// Knows nothing about matching. What would mean something else, or is not known here, is refused by name.
#pragma once

#include <string>
#include <string_view>

namespace edgelora::tokenizer {

constexpr std::size_t kLongestPattern = 65536;  // bytes

// The pattern for PCRE2 with UTF, UCP, MULTILINE and LF as newline; throws Error(unsupported). Nothing is captured.
std::string translate_regex(std::string_view pattern);

// What `\w` is: the items of a class. In a class of Oniguruma it has some characters less than out of it, and words of
// Rust's crate `regex` have two joiners more.
constexpr const char* kWordItems = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{b2}\x{b3}\x{b9}\x{bc}-\x{be})";
constexpr const char* kClassWordItems = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";
constexpr const char* kRustWordItems = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200c}\x{200d})";

}  // namespace edgelora::tokenizer
