// Accuracy level 0: rows are widened to floats, a few at a time, and met with every token.
//
// Plain loops that a compiler turns into vectors -> products of some rows. See linear_block.hpp on names.
#pragma once

#include "linear_block.hpp"

namespace edgelora::ops::in_place {
namespace {

constexpr int float_rows = 4;     // widened together
constexpr int partial_sums = 16;  // of one product, so that their order is the same on every path

inline int64_t float_columns(const Matrix& m) { return m.blocks * m.block_size; }

template <int bits>
void widen_row(const Matrix& m, int64_t row, float* out) {
  const uint8_t* codes = m.codes + row * row_bytes(m);
  constexpr int in_byte = 8 / bits, mask = (1 << bits) - 1;
  for (int64_t b = 0; b < m.blocks; ++b) {
    const float scale = scale_of(m, row, b);
    const int zero = zero_of(m, row, b);
    for (int i = 0; i < m.block_size / in_byte; ++i) {
      const int byte = *codes++;
      for (int p = 0; p < in_byte; ++p) *out++ = static_cast<float>((byte >> (p * bits) & mask) - zero) * scale;
    }
  }
}

inline void widen_whole(const Matrix& m, int64_t row, float* out) {
  (m.bits == 2 ? widen_row<2> : m.bits == 4 ? widen_row<4> : widen_row<8>)(m, row, out);
}

// One row of a table, without what fills its last block.
inline void widen(const Matrix& m, int64_t row, float* out) {
  if (float_columns(m) == m.columns) return widen_whole(m, row, out);
  const uint8_t* codes = m.codes + row * row_bytes(m);
  for (int64_t i = 0; i < m.columns; ++i) {
    const int64_t b = i / m.block_size;
    out[i] = static_cast<float>(code_of(m, codes, i) - zero_of(m, row, b)) * scale_of(m, row, b);
  }
}

inline void float_products(const float* rows, int64_t stride, const float* x, int64_t n, float* y) {
  float sum[float_rows][partial_sums] = {};
  int64_t i = 0;
  for (; i + partial_sums <= n; i += partial_sums) {
    for (int r = 0; r < float_rows; ++r) {
      for (int l = 0; l < partial_sums; ++l) sum[r][l] += rows[r * stride + i + l] * x[i + l];
    }
  }
  for (int r = 0; r < float_rows; ++r) {
    for (int64_t l = 0; l < n - i; ++l) sum[r][l] += rows[r * stride + i + l] * x[i + l];
    for (int half = partial_sums / 2; half > 0; half /= 2) {
      for (int l = 0; l < half; ++l) sum[r][l] += sum[r][l + half];
    }
    y[r] = sum[r][0];
  }
}

inline void floats(const Matrix& m, const float* x, int64_t tokens, const Part& part, uint8_t* scratch) {
  float* wide = reinterpret_cast<float*>(scratch);
  const int64_t stride = float_columns(m);
  float y[float_rows];
  for (int64_t row = part.first; row < part.last; row += float_rows) {
    const int64_t rows = least(float_rows, part.last - row);
    for (int64_t r = 0; r < float_rows; ++r) widen_whole(m, row + least(r, rows - 1), wide + r * stride);
    for (int64_t token = 0; token < tokens; ++token) {
      float_products(wide, stride, x + token * m.columns, m.columns, y);
      float* out = part.y + token * m.rows + row;
      for (int64_t r = 0; r < rows; ++r) out[r] = part.bias == nullptr ? y[r] : y[r] + part.bias[row + r];
    }
  }
}

}  // namespace
}  // namespace edgelora::ops::in_place
