// Finds the first of many texts in a text, the longest where several begin at one place, in one pass over it.
//
// Knows nothing about what the texts are.
#pragma once

#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "regex.hpp"

namespace edgelora::tokenizer {

class TextFinder {
  public:
    // `number` is what a match tells; the first of two equal texts counts. None is empty.
    void add(std::string_view text, std::size_t number);
    void finish();  // after the last one

    struct Match {
        Span span;
        std::size_t number;
    };
    // From left to right, each behind the one before it.
    std::vector<Match> find_all(std::string_view text) const;

  private:
    // The automaton of Aho and Corasick over the texts read backwards, run from the end of a text to its beginning:
    // where it stands at a place knows the longest text that begins there.
    struct Node {
        std::uint32_t failure = 0;
        std::uint32_t parent = 0;
        std::uint32_t length = 0;   // of the longest text that ends (begins, forwards) here; 0: none does
        std::size_t number = 0;
        unsigned char byte = 0;
    };
    std::uint32_t child(std::uint32_t node, unsigned char byte) const;

    std::vector<Node> nodes_{Node{}};
    std::unordered_map<std::uint64_t, std::uint32_t> children_;
    std::vector<std::uint32_t> roots_ = std::vector<std::uint32_t>(256, 0);
};

}  // namespace edgelora::tokenizer
