// A place in a regular expression of Oniguruma that moves on: characters, escapes and classes of characters.
//
// Knows nothing about groups and quantifiers.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "regex_classes.hpp"

namespace edgelora::tokenizer {

// A character as PCRE2 reads it in any place of a pattern.
std::string write_point(char32_t point);

// One character, or a set of them.
struct Item {
    char32_t point = 0;
    std::optional<CharacterSet> set;
    bool is_negated = false;
};

class PatternReader {
  public:
    explicit PatternReader(std::string_view pattern) : pattern_(pattern) {}

  protected:
    [[noreturn]] void refuse(const std::string& what) const;

    bool is_at_end() const { return at_ >= pattern_.size(); }
    bool starts_with(std::string_view text) const { return pattern_.substr(at_, text.size()) == text; }
    bool take(std::string_view text);  // moves behind `text` where it stands here
    char32_t take_point();

    // A character or a set behind a backslash, in a class or out of it.
    Item read_escaped(bool is_in_class);

    // A class behind its [, as PCRE2 reads it.
    std::string read_class(bool is_caseless, int depth = 0);

    std::string_view pattern_;
    std::size_t at_ = 0;

  private:
    // What lies between two && of a class.
    struct Part {
        std::string items;                // of a class for PCRE2
        std::vector<std::string> others;  // patterns for one character each, which no items can say
    };

    char32_t read_number();
    char32_t read_digits(int fewest, int most);
    Item read_property(bool is_negated);
    Item read_class_item();
    void read_part(Part& part, bool is_caseless, int depth);
    static std::string write_part(const Part& part);
};

}  // namespace edgelora::tokenizer
