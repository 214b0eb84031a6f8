// Factors as slot inputs: packed, blended, stacked; `docs/format.md` ("Slots") is the definition.
//
// Knows nothing about files or sessions: numbers alone.
#pragma once

#include <utility>
#include <vector>

#include "adapter.hpp"
#include "manifest.hpp"
#include "memory.hpp"

namespace edgelora {

// The inputs of every slot in one block of memory, each from a cache line on.
class Packed {
  public:
    // Zeros, `ranks` of each slot in their order, for one adapter (`rows` 1) or one for each row.
    Packed(const std::vector<Slot>& slots, std::vector<size_t> ranks, size_t rows = 1);

    size_t rows() const { return rows_; }
    size_t rank(size_t slot) const { return ranks_[slot]; }
    // Whether every slot has rank 0.
    bool is_none() const { return memory_.n_bytes() == 0; }
    size_t n_bytes() const { return memory_.n_bytes(); }

    // (rows, in_features, rank)
    float* a(size_t slot) { return memory_.as<float>() + starts_[2 * slot]; }
    const float* a(size_t slot) const { return memory_.as<float>() + starts_[2 * slot]; }
    // (rows, rank, out_features)
    float* b(size_t slot) { return memory_.as<float>() + starts_[2 * slot + 1]; }
    const float* b(size_t slot) const { return memory_.as<float>() + starts_[2 * slot + 1]; }

  private:
    size_t rows_;
    std::vector<size_t> ranks_;
    std::vector<size_t> starts_;  // floats before a and b of each slot in turn
    Memory memory_;
};

// The slot inputs of an adapter; a slot that it does not touch gets rank 0.
Packed pack_adapter(const Adapter& adapter, const std::vector<Slot>& slots);

// Packed adapters side by side along the rank axis, each times its weight; no parts give rank 0.
Packed blend_packed(const std::vector<std::pair<const Packed*, double>>& parts, const std::vector<Slot>& slots);

// One adapter for each row of a batch, zeros up to the largest rank.
Packed stack_packed(const std::vector<const Packed*>& rows, const std::vector<Slot>& slots);

}  // namespace edgelora
