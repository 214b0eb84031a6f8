// Grouped-query attention over a KV cache: rotates, appends, and lets every query read the keys that it may.
//
// queries, keys and values of new tokens, the cache -> the cache with them, and what each query takes from it.
#pragma once

#include <cstddef>
#include <vector>

#include "attention_path.hpp"
#include "ort_kernel.hpp"

namespace edgelora::ops {

// What a node says of its heads; `heads` is a multiple of `kv_heads`.
struct Heads {
  size_t heads = 0, kv_heads = 0;
  float scale = 0;  // of scores; 0 for 1 / sqrt(size)
  float cap = 0;    // scores become cap * tanh(score / cap); 0 for none
  size_t window = 0;  // keys that a query reads at most, its own among them; 0 for all
  bool rotates = false;
  bool interleaved = false;  // a pair that is rotated lies side by side, else half of the rotated numbers apart

  size_t group() const { return heads / kv_heads; }
};

// Numbers of a token: `size` for each head, one head after another, `stride` from token to token.
struct Projected {
  const float* numbers = nullptr;
  size_t stride = 0;
};

// Keys, or values, of all rows: (rows, kv_heads, capacity, size), float32 or codes of 8 bits.
struct CacheSide {
  const void* past = nullptr;  // with a capacity of its own; may be `present`
  void* present = nullptr;
  const float* steps = nullptr;  // (kv_heads, size): what codes are multiplied with; null for floats
};

struct AttentionCall {
  size_t rows, tokens, size;
  Projected q, k, v;  // (rows, tokens, heads or kv_heads, size)
  CacheSide keys, values;
  size_t past_capacity, capacity;
  const float* cosines;  // (positions, half); 2 * half numbers of a head are rotated, the first ones
  const float* sines;
  size_t half;
  const float* sinks;           // (heads) scores that take a part of each query's weight, or null
  std::vector<size_t> lengths;  // (rows) tokens in the cache before this call
  float* y;                     // (rows, tokens, heads, size)
};

void attention(const Call& call, const AttentionPath& path, const Heads& heads, const AttentionCall& given);

}  // namespace edgelora::ops
