// The normal forms of Unicode: NFC, NFD, NFKC and NFKD.
//
// Knows nothing about tokenizers, but for their version of Unicode: characters newer than that stay as they are.
#pragma once

#include <string>
#include <string_view>

namespace edgelora::tokenizer {

enum class Form { nfc, nfd, nfkc, nfkd };

// Valid UTF-8 in this form, in time that grows with its length alone.
std::string to_form(std::string_view text, Form form);

}  // namespace edgelora::tokenizer
