// Which rows of a list are computed together, so that neither their number nor their length takes memory without bound.
//
// Knows nothing about graphs or text: lengths go in, indices come out.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace edgelora {

constexpr size_t kMostRows = 16;                     // computed together; each has logits and slot inputs of its own
constexpr size_t kMostCacheBytes = size_t{512} << 20;  // of the KV cache of rows together; a single row may need more

// Indices into `lengths`, the tokens that each row may come to, in groups of rows that are about as long.
std::vector<std::vector<size_t>> group_rows(const std::vector<size_t>& lengths, size_t bytes_per_token);

// Neighbours, first to last and one beyond, that go through one call when padded to the longest: at most `most_tokens`;
// a longer row alone.
std::vector<std::pair<size_t, size_t>> split_rows(const std::vector<size_t>& lengths, size_t most_tokens);

// Indices of rows, each with a length and a SPEC, that go through a graph together; all of them if they fit one call.
// Otherwise each call has one SPEC, and rows that are about as long; always so where rows must share their adapter.
std::vector<std::vector<std::size_t>> plan_calls(const std::vector<std::size_t>& lengths,
                                                 const std::vector<std::string>& specs, std::size_t most_tokens,
                                                 bool shares_adapter);

}  // namespace edgelora
