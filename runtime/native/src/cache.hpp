// The KV cache: memory for the keys and values of every layer, which a graph reads as its past and writes as present.
//
// Knows nothing about tokens or graphs.
#pragma once

#include <memory>
#include <vector>

#include "graph.hpp"
#include "memory.hpp"

namespace edgelora {

// What a layer keeps of a token.
struct CacheShape {
    std::size_t n_parts = 0;  // keys and values of each layer in turn
    std::size_t n_heads = 0;
    std::size_t width = 0;  // of a head
    bool is_int8 = false;   // else float32

    std::size_t number_bytes() const { return is_int8 ? 1 : sizeof(float); }
    std::size_t bytes_per_token() const { return n_parts * n_heads * width * number_bytes(); }
};

class Cache {
  public:
    Cache(std::shared_ptr<const Ort> ort, CacheShape shape);

    std::size_t rows() const { return rows_; }
    // Tokens for which each row has memory.
    std::size_t capacity() const { return capacity_; }
    const CacheShape& shape() const { return shape_; }

    // Let go of all memory; there are `rows` rows without room for anything now.
    void clear(std::size_t rows);
    // Make room for `capacity` tokens in every row, keeping the first `n_kept` of each. What was bound must be bound
    // anew. Throws Error{memory} and leaves all as it was.
    void grow(std::size_t capacity, std::size_t n_kept);

    // Every part as a value over all rows.
    const SharedValues& values() const { return values_; }
    // Every part as a value over `count` rows from `first` on.
    SharedValues values_of(std::size_t first, std::size_t count) const;

    // The first `n_tokens` of the first row of every part, one part after the other, copied.
    Memory copy_row(std::size_t n_tokens) const;
    // Put the first `n_tokens` of such a copy of `n_copied` tokens into the first row.
    void fill_row(const Memory& copy, std::size_t n_copied, std::size_t n_tokens);

  private:
    std::shared_ptr<const Ort> ort_;
    CacheShape shape_;
    std::size_t rows_ = 0;
    std::size_t capacity_ = 0;
    mutable std::vector<Memory> parts_;  // each (rows, n_heads, capacity, width); values are made over them
    SharedValues values_;
};

}  // namespace edgelora
