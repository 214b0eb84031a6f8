// What every path does with blocks: sizes, scales and zero points one by one, and rounding activations.
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

// Scale, sum and values of one block of n floats, as accuracy level 4 of onnxruntime rounds: to the nearest of 255.
inline void round_block(const float* x, int64_t n, int block_size, int8_t* q, float& scale, float& sum) {
  uint32_t most = 0;  // the bits of a positive float are in its order
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t magnitude = as_bits(x[i]) & 0x7fffffffu;
    most = magnitude > most ? magnitude : most;
  }
  scale = as_float(most) / 127.0f;
  const float inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
  constexpr float shift = 12582912.0f;  // 1.5 * 2 ** 23: adding it rounds to an integer, half to even
  int32_t total = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int32_t value =
        static_cast<int32_t>(as_bits(x[i] * inverse + shift)) - static_cast<int32_t>(as_bits(shift));
    total += value;
    q[i] = static_cast<int8_t>(value);
  }
  for (int64_t i = n; i < block_size; ++i) q[i] = 0;
  sum = scale * static_cast<float>(total);
}

// Puts a block's values where codes of `bits` meet them. Four bytes of codes hold 32 / bits values: the lowest bits of
// the four make the first quad of bytes, the next bits the second. Quad p of four bytes j goes to out + p * step_p + j * step_j.
inline void spread(const int8_t* q, int block_size, int bits, int8_t* out, int64_t step_p, int64_t step_j, uint8_t flip) {
  const int quads = 8 / bits;
  const uint32_t flips = flip * 0x01010101u;
  for (int j = 0; j < block_size / (4 * quads); ++j) {
    for (int p = 0; p < quads; ++p) {
      uint32_t quad = 0;
      if (bits == 8) {
        std::memcpy(&quad, q + j * 4, 4);
      } else if (bits == 4) {
        uint64_t eight;
        std::memcpy(&eight, q + j * 8, 8);
        eight = eight >> (8 * p) & 0x00ff00ff00ff00ffu;
        eight = (eight | eight >> 8) & 0x0000ffff0000ffffu;
        quad = static_cast<uint32_t>(eight | eight >> 16);
      } else {
        for (int i = 0; i < 4; ++i) quad |= static_cast<uint32_t>(static_cast<uint8_t>(q[j * 16 + i * 4 + p])) << (8 * i);
      }
      quad ^= flips;
      std::memcpy(out + p * step_p + j * step_j, &quad, 4);
    }
  }
}

// Planes of values begin on lines of the cache, with room behind them, so that a vector may read over their end.
inline int64_t plane_bytes(const Matrix& m) { return (m.blocks * block_bytes(m) + 127) / 64 * 64; }

inline void round_token(const Matrix& m, const float* x, bool tiled, uint8_t flip, const Tokens& t, int64_t token) {
  alignas(64) int8_t q[256];
  int8_t* values = t.values + token * t.value_stride;
  const int64_t bytes = block_bytes(m);
  const int64_t step_p = tiled ? 4 : plane_bytes(m), step_j = tiled ? 32 / m.bits : 4;
  for (int64_t b = 0; b < m.blocks; ++b) {
    float& scale = t.scales[token * t.scale_stride + b];
    float& sum = t.sums[token * t.scale_stride + b];
    const int64_t first = b * m.block_size;
    round_block(x + first, least(m.block_size, m.columns - first), m.block_size, q, scale, sum);
    spread(q, m.block_size, m.bits, values + (tiled ? first : b * bytes), step_p, step_j, flip);
  }
  for (int64_t b = m.blocks; b < t.scale_stride; ++b) {
    t.scales[token * t.scale_stride + b] = 0;
    t.sums[token * t.scale_stride + b] = 0;
  }
  if (tiled) return;
  const int64_t used = m.blocks * bytes;
  for (int p = 0; p < 8 / m.bits; ++p) std::memset(values + p * step_p + used, 0, static_cast<size_t>(step_p - used));
}

}  // namespace
}  // namespace edgelora::ops::in_place
