// What makes a text of tokens again.
//
// Knows nothing about ids.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "../parse_json.hpp"
#include "regex.hpp"

namespace edgelora::tokenizer {

class Decoder {
  public:
    virtual ~Decoder() = default;
    virtual void apply(std::vector<std::string>& tokens, Scratch& scratch) const = 0;
};

// The decoder of a tokenizer.json; throws Error(unsupported) for one that is not known.
std::unique_ptr<const Decoder> read_decoder(const Json& value, int depth = 0);

}  // namespace edgelora::tokenizer
