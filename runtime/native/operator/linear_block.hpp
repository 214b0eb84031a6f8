// What every path does with blocks: sizes, scales and zero points one by one.
//
// Included by the file of each instruction set and compiled with its flags, hence without names outside of that file:
// the linker must not take one file's copy of a function for all.
#pragma once

#include <cstdint>
#include <cstring>

#include "linear_path.hpp"

namespace edgelora::ops::in_place {
namespace {

inline int64_t block_bytes(const Matrix& m) { return int64_t{m.block_size} * m.bits / 8; }
inline int64_t row_bytes(const Matrix& m) { return m.blocks * block_bytes(m); }
inline int64_t zero_bytes(const Matrix& m) { return (m.blocks * m.bits + 7) / 8; }
inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// Whole vectors may reach beyond a row: into the next ones, whose codes meet activations of 0, but not beyond the last.
// Rows behind a row that are enough for it.
inline int64_t reach(const Matrix& m) { return 64 / least(64, m.blocks) + 1; }

inline float as_float(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

inline uint32_t as_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}

inline float from_half(uint16_t half) {
  const uint32_t magnitude = uint32_t{half} & 0x7fffu;
  const float value = magnitude >= 0x7c00u ? as_float(0x7f800000u | magnitude << 13)
                                           : as_float(magnitude << 13) * as_float(0x77800000u);  // 2 ** 112
  return as_float(as_bits(value) | (uint32_t{half} & 0x8000u) << 16);
}

inline float scale_of(const Matrix& m, int64_t row, int64_t block) {
  const int64_t at = row * m.blocks + block;
  if (!m.half) return static_cast<const float*>(m.scales)[at];
  return from_half(static_cast<const uint16_t*>(m.scales)[at]);
}

inline int zero_of(const Matrix& m, int64_t row, int64_t block) {
  if (m.zeros == nullptr) return 1 << (m.bits - 1);
  const uint8_t byte = m.zeros[row * zero_bytes(m) + block * m.bits / 8];
  return byte >> (block * m.bits % 8) & ((1 << m.bits) - 1);
}

inline int code_of(const Matrix& m, const uint8_t* codes, int64_t column) {
  return codes[column * m.bits / 8] >> (column * m.bits % 8) & ((1 << m.bits) - 1);
}

// Planes of values begin on lines of the cache, with room behind them, so that a vector may read over their end.
inline int64_t plane_bytes(const Matrix& m) { return (m.blocks * block_bytes(m) + 127) / 64 * 64; }

}  // namespace
}  // namespace edgelora::ops::in_place
