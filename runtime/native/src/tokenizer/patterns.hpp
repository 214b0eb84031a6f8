// A pattern of a tokenizer.json: {"String": text} or {"Regex": pattern}.
//
// Knows nothing about what is done with its matches, but for the plainest: putting another text in their place.
#pragma once

#include <string>

#include "fields.hpp"
#include "regex.hpp"

namespace edgelora::tokenizer {

Regex read_pattern(const Fields& fields);

// Rules of a file can make a text longer at each step; beyond this many bytes it is refused.
constexpr std::size_t kLongestResult = 32 * 1048576;
void check_length(std::size_t length);

// `text` with `content` in the place of every match.
std::string replace_matches(const Regex& pattern, std::string_view content, std::string_view text, Scratch& scratch);

}  // namespace edgelora::tokenizer
