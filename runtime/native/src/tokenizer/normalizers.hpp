// What a tokenizer does to a text before it takes it apart.
//
// Knows nothing about tokens.
#pragma once

#include <memory>
#include <string>

#include "../parse_json.hpp"
#include "alignment.hpp"
#include "regex.hpp"

namespace edgelora::tokenizer {

class Normalizer {
  public:
    virtual ~Normalizer() = default;
    virtual void apply(std::string& text, Scratch& scratch) const = 0;  // valid UTF-8 before and after
    // The same, with what each part stands for.
    virtual void apply(AlignedText& text, Scratch& scratch) const;
};

// The normalizer of a tokenizer.json; throws Error(unsupported) for one that is not known.
std::unique_ptr<const Normalizer> read_normalizer(const Json& value, int depth = 0);

}  // namespace edgelora::tokenizer
