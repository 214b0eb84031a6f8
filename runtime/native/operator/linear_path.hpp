// What a linear multiplies with, and the ways in which a processor can do it.
//
// Weights as MatMulNBits has them -> a Path, chosen when the library is loaded.
#pragma once

#include <cstddef>
#include <cstdint>

namespace edgelora::ops::in_place {

// Codes, scales and zero points of MatMulNBits, where they lie. A block's weight is (code - zero point) * scale.
struct Matrix {
  const uint8_t* codes;  // (rows, blocks, block_size * bits / 8), the first code in the lowest bits
  const void* scales;    // (rows, blocks)
  bool half;             // scales are float16, else float32
  const uint8_t* zeros;  // (rows, ceil(blocks * bits / 8)), or null: 2 ** (bits - 1) everywhere
  int64_t rows;
  int64_t columns;
  int64_t blocks;  // of a row
  int bits;        // 2, 4 or 8
  int block_size;  // 16, 32, 64, 128 or 256
};

// One or more tokens in 8 bits a block, in memory of the caller.
struct Tokens {
  int8_t* values;        // (tokens, value_stride), in the order that a path wants
  float* scales;         // (tokens, scale_stride), 0 after the last block
  float* sums;           // (tokens, scale_stride): scale * sum of a block's values
  int32_t* starts;       // (tokens, scale_stride): what takes the middle of the codes off the products of a block
  int64_t value_stride;  // bytes of one token
  int64_t scale_stride;  // floats, or starts, of one token
  int64_t count;
};

// Rows of the matrix for which a call is made, and where their products go.
struct Part {
  int64_t first, last;  // rows
  const float* bias;    // (rows) or null
  float* y;             // (tokens, rows)
};

// One instruction set's way. Functions take pointers that need no alignment, but for `scratch` (64 bytes).
struct Path {
  const char* name;
  int lanes;        // blocks that are scaled at once
  int tile_rows;    // that are unpacked together
  int least_tiled;  // tokens from which on unpacking rows costs less than reading their codes again
  // Where the codes of a row meet the scales: for each vector of a stretch of `lanes` blocks, the block of each lane.
  void (*places)(const Matrix&, int32_t* out);  // (block_size * bits / 32, lanes)
  // Rounds token `token` of x (tokens, columns); `tiled` as `tiles` wants it, else as `rows` does.
  void (*quantize)(const Matrix&, const float* x, bool tiled, const Tokens&, int64_t token);
  void (*rows)(const Matrix&, const int32_t* places, const Tokens&, const Part&);
  size_t (*scratch_bytes)(const Matrix&, bool in_floats);
  void (*tiles)(const Matrix&, const Tokens&, const Part&, uint8_t* scratch);
  // Accuracy level 0: x (tokens, columns) stays float.
  void (*floats)(const Matrix&, const float* x, int64_t tokens, const Part&, uint8_t* scratch);
  // Rows of a table, as floats: out (columns).
  void (*widen)(const Matrix&, int64_t row, float* out);
  // Rounds x (columns) to bytes around 128; what each step of them is worth.
  float (*round_row)(const float* x, int64_t columns, uint8_t* codes);
};

// The best that this processor has.
const Path& linear_path();

// `name` is plain, avx2, avx512, neon or neon_dot; null if this processor lacks it.
const Path* linear_path_named(const char* name);

extern const Path linear_plain;
#if defined(__x86_64__) || defined(__i386__)
extern const Path linear_avx2;
extern const Path linear_avx512;
#elif defined(__aarch64__)
extern const Path linear_neon;
extern const Path linear_neon_dot;
#endif

}  // namespace edgelora::ops::in_place
