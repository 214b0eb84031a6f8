// The options and token ids of one call, checked together.
//
// Knows nothing about answering: ranges and what excludes what.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "manifest.hpp"
#include "sampling.hpp"

namespace edgelora {

struct Request {
    SamplingOptions sampling;
    std::int64_t max_new_tokens = 128;
    std::vector<std::string> stops;
    std::optional<std::vector<std::string>> choices;
};

// Throw one Error{invalid_input} that names what is wrong.
void check_request(const Request& request);

// Throw Error{invalid_input} for ids that the model cannot take.
void check_ids(const std::vector<std::int32_t>& ids, const ModelInfo& info);

}  // namespace edgelora
