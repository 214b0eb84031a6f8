// The special tokens that a tokenizer puts around a text.
//
// Knows nothing about the text; pairs of texts are not encoded.
#pragma once

#include <cstdint>
#include <vector>

#include "../parse_json.hpp"

namespace edgelora::tokenizer {

class PostProcessor {
  public:
    // The post-processor of a tokenizer.json; throws Error(unsupported) for one that is not known.
    static PostProcessor read(const Json& value);

    // `ids` with what stands around them, and without where `has_special` is false.
    std::vector<std::int32_t> apply(std::vector<std::int32_t> ids, bool has_special) const;
    // The special tokens before and behind a text; throws Error(unsupported) where it stands twice.
    void around(std::vector<std::int32_t>& before, std::vector<std::int32_t>& after) const;

  private:
    struct Part {
        bool is_text;
        std::vector<std::int32_t> ids;  // of special tokens
    };

    void read_part(const Json& value, int depth);
    void read_template(const Json& value);

    std::vector<Part> parts_;  // none: the text alone
};

}  // namespace edgelora::tokenizer
