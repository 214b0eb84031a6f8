// A pattern that finds its matches in a text one after the other, as Oniguruma's callers do.
//
// Knows nothing about tokens; a Regex never changes, what a search needs beside it is its Scratch.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "word_pattern.hpp"

namespace edgelora::tokenizer {

struct Span {
    std::size_t begin;
    std::size_t end;
};

// What searches write to. One for each thread; it grows with use.
class Scratch {
  public:
    Scratch();
    ~Scratch();
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

  private:
    friend class Regex;
    struct State;
    std::unique_ptr<State> state_;
};

class Regex {
  public:
    // A regular expression in the words of Oniguruma, or a plain text that is to be found; throws Error(unsupported).
    static Regex from_pattern(std::string_view pattern);
    static Regex from_text(std::string_view text);
    // An expression of our own, in the words of PCRE2.
    static Regex from_pcre(const std::string& pattern);

    // All matches in valid UTF-8, from left to right. Throws Error(invalid_input) where a search takes too many steps.
    void find_all(std::string_view text, std::vector<Span>& found, Scratch& scratch) const;

  private:
    struct Code;
    bool find(std::string_view text, std::size_t start, Span& found, Scratch& scratch) const;

    std::string text_;
    std::shared_ptr<const Code> code_;  // none for a plain text
    std::optional<WordPattern> words_;  // finds most of what `code_` does, and faster
};

}  // namespace edgelora::tokenizer
