// The sets of characters that a regular expression names: `\s`, `\p{L}`, `[:alpha:]`.
//
// Knows nothing about where they stand in a pattern.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace edgelora::tokenizer {

struct CharacterSet {
    std::string items;       // what stands between [ and ] for its characters
    std::string complement;  // the same for all other characters; empty where no such items can say it
    bool depends_on_case = false;
};

// `\s`, `\d`, `\w` and `\h` of Oniguruma by their letter. Its `\w` has superscript digits and fractions of Latin-1, but
// not in a class.
std::optional<CharacterSet> find_escape_set(char letter, bool is_in_class);

// `\p{name}`, or `[:name:]` where `is_bracket`; nothing for a name that is not known.
std::optional<CharacterSet> find_property(std::string_view name, bool is_bracket);

}  // namespace edgelora::tokenizer
