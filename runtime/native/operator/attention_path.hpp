// Softmax attention of some queries over the keys and values of one head, one implementation for each instruction set.
//
// q, keys, values -> for each query the sum of weighted values, the largest score and the sum of weights.
#pragma once

#include <cstddef>
#include <string>

namespace edgelora::ops {

constexpr size_t attend_rows = 48;   // queries of one job at most
constexpr size_t attend_keys = 64;   // that are met at once
constexpr size_t attend_align = 16;  // floats: `wide` is the next multiple from `size` on
constexpr float attend_least = -1e30f;  // what `most` begins with; `sum` and `out` begin with 0

// Of a row with several jobs each gives a part: `most`, `sum` and `out` go on from what they hold.
struct Attend {
  const float* q;     // (rows, wide): times scale and steps of keys; zeros from `size` on
  size_t rows, size, wide;
  const void* keys;   // (keys, size): float32, or codes of 8 bits
  const void* values;  // the same
  bool in_bytes;
  const size_t* first;  // (rows) the first key that a row reads
  const size_t* end;    // (rows) the one behind its last, above `first`
  float cap;            // scores become cap * tanh(score / cap); 0 for none
  float* most;          // (rows) largest score
  float* sum;           // (rows) of exp(score - most)
  float* out;           // (rows, wide): sum of exp(score - most) * value
  float* room;          // attend_room(wide) floats
  const void* next;     // what the caller reads soon, and how much of it
  size_t next_bytes;
};

constexpr size_t attend_room(size_t wide) { return attend_rows * attend_keys + (attend_rows + 2 * attend_keys) * wide; }

struct AttentionPath {
  const char* name;
  void (*attend)(const Attend&);
};

// The fastest path that this processor has, or the one of that name; throws std::invalid_argument for another name.
const AttentionPath& attention_path(const std::string& name);

extern const AttentionPath attention_plain;
#if defined(__x86_64__) || defined(__i386__)
extern const AttentionPath attention_avx2, attention_avx512;
#elif defined(__aarch64__)
extern const AttentionPath attention_neon;
#endif

}  // namespace edgelora::ops
