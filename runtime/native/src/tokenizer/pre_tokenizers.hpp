// How a tokenizer cuts a text into words, before its model sees them.
//
// Knows nothing about vocabularies.
#pragma once

#include <memory>

#include "../parse_json.hpp"
#include "pieces.hpp"

namespace edgelora::tokenizer {

class PreTokenizer {
  public:
    virtual ~PreTokenizer() = default;
    virtual void apply(Pieces& pieces, Scratch& scratch) const = 0;
};

// The pre-tokenizer of a tokenizer.json; throws Error(unsupported) for one that is not known.
std::unique_ptr<const PreTokenizer> read_pre_tokenizer(const Json& value, int depth = 0);

// Metaspace stands in decoders, too: what it puts for a blank, and where it puts one in front.
enum class PrependScheme { always, first, never };
struct MetaspaceOptions {
    std::string replacement;
    PrependScheme scheme;
    bool is_split;
};
class Fields;
MetaspaceOptions read_metaspace(const Fields& fields);

}  // namespace edgelora::tokenizer
