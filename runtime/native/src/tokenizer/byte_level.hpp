// The characters that byte-level tokenizers write bytes as: printable ones, so that a vocabulary is text.
//
// Knows nothing about tokens.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace edgelora::tokenizer {

void append_byte_characters(std::string_view bytes, std::string& out);

// The bytes that `text` writes, put behind `out`; false, and nothing added, where a character of it writes none.
bool append_bytes(std::string_view text, std::string& out);

}  // namespace edgelora::tokenizer
