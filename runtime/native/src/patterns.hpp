// PEFT's patterns for module names, in the part of regular expressions that means the same everywhere.
//
// Knows nothing about adapters. A pattern is parsed into the few nodes that `docs/format.md` ("Patterns") names, and the
// ends that it can reach are followed all at once: no pattern takes long.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace edgelora {

// What a pattern has that is outside the part that every runtime reads alike.
struct PatternError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

class PatternNode;

class Pattern {
  public:
    // Throws PatternError naming the construct.
    static Pattern parse(std::string_view text);

    // `re.fullmatch(pattern, name)`, PEFT's rule for `target_modules` that is a text.
    bool matches_whole(std::string_view name) const;

    // `re.match("(.*\.)?(PATTERN)$", name)`, PEFT's rule for the keys of `rank_pattern`.
    bool matches_ending(std::string_view name) const;

  private:
    explicit Pattern(std::shared_ptr<const PatternNode> node) : node_(std::move(node)) {}

    std::u32string plain_;  // the pattern where only its dots stand for something else, as in a name; else empty
    std::shared_ptr<const PatternNode> node_;
};

}  // namespace edgelora
