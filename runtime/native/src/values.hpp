// The tensors of a step, over memory of the caller, which must outlive them.
//
// Knows nothing about graphs or what is computed; `docs/format.md` ("The graph") says what the inputs are.
#pragma once

#include <cstdint>
#include <vector>

#include "graph.hpp"
#include "packed.hpp"

namespace edgelora {

// `input_ids` and `logits_positions`, each (n_rows, any).
SharedValues step_values(const Ort& ort, const std::vector<std::int64_t>& ids,
                         const std::vector<std::int64_t>& positions, std::size_t n_rows);

// `logits` (n_rows, n_positions, vocab_size).
SharedValues logits_value(const Ort& ort, float* logits, std::size_t n_rows, std::size_t n_positions,
                          std::size_t vocab_size);

// `seqlens_k` (n_rows,) and `total_sequence_length`.
SharedValues length_values(const Ort& ort, std::int32_t* seqlens, std::size_t n_rows, std::int32_t* total);

// The inputs of a packed adapter for `count` of its rows from `first` on, in order.
SharedValues packed_values(const Ort& ort, const Packed& packed, std::size_t first, std::size_t count);

}  // namespace edgelora
