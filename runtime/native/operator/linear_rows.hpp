// One token at a time: codes are read in their order, once, and nothing is kept.
//
// A vector of an instruction set (V) -> products of some rows. See linear_block.hpp on names.
#pragma once

#include "linear_block.hpp"

namespace edgelora::ops::in_place {
namespace {

// Four bytes of codes never belong to two blocks, so that a lane of 32 bits has one scale. A stretch is V::lanes blocks,
// whose scales are read at once; `places` says which of them each lane of each vector of codes takes.
template <class V, int bits, bool half, bool has_zeros, int R>
void some_rows(const Matrix& m, const int32_t* places, const Tokens& t, int64_t token, int64_t row, bool at_end, float* y) {
  constexpr int lanes = V::lanes, width = 4 * lanes;  // of a vector, in bytes
  const int64_t bytes = row_bytes(m), block = block_bytes(m), zeros_of_row = zero_bytes(m), plane = plane_bytes(m);
  const uint8_t* codes = m.codes + row * bytes;
  const uint8_t* zeros = has_zeros ? m.zeros + row * zeros_of_row : nullptr;
  const int8_t* values = t.values + token * t.value_stride;
  const float* x_scales = t.scales + token * t.scale_stride;
  const float* x_sums = t.sums + token * t.scale_stride;
  typename V::Floats sum[R], scale[R];
  for (int r = 0; r < R; ++r) sum[r] = V::floats(0.0f);
  const auto middle = V::floats(static_cast<float>((1 << (bits - 1)) - V::template base<bits>));
  for (int64_t b = 0; b < m.blocks; b += lanes) {
    const int64_t count = least(lanes, m.blocks - b);
    const bool partly = at_end && count < lanes;
    const auto x_scale = V::load(x_scales + b), x_sum = V::load(x_sums + b);
    for (int r = 0; r < R; ++r) {
      const int64_t at = (row + r) * m.blocks + b;
      typename V::Floats own;
      if constexpr (half) {
        const uint16_t* from = static_cast<const uint16_t*>(m.scales) + at;
        own = partly ? V::halves(from, static_cast<int>(count)) : V::halves(from);
      } else {
        const float* from = static_cast<const float*>(m.scales) + at;
        own = partly ? V::load(from, static_cast<int>(count)) : V::load(from);
      }
      scale[r] = V::times(own, x_scale);
      auto zero = middle;
      if constexpr (has_zeros) {
        zero = V::template zeros<bits>(zeros + r * zeros_of_row + b * bits / 8, partly ? static_cast<int>(count) : lanes);
      }
      sum[r] = V::minus_times(sum[r], V::times(own, zero), x_sum);
    }
    const int64_t stop = (b + count) * block;
    const int32_t* place = places;
    int64_t at = b * block;
    for (; at + width <= stop; at += width, place += lanes) {
      V::template dot_rows<bits, R>(codes + at, bytes, values + at, plane, V::place(place), scale, sum);
    }
    if (at < stop) {
      V::template dot_rows<bits, R>(codes + at, bytes, values + at, plane, V::place(place), scale, sum,
                                    at_end ? static_cast<int>(stop - at) : width);
    }
  }
  V::template add_up<R>(sum, y);
}

template <class V, int bits, bool half, bool has_zeros>
void rows_of(const Matrix& m, const int32_t* places, const Tokens& t, const Part& part) {
  constexpr int R = V::rows_at_once;
  float y[R];
  int64_t row = part.first;
  while (row < part.last) {
    const bool many = row + R <= part.last;
    const bool at_end = row + (many ? R : 1) + reach(m) > m.rows;
    for (int64_t token = 0; token < t.count; ++token) {
      float* out = part.y + token * m.rows + row;
      if (many) {
        some_rows<V, bits, half, has_zeros, R>(m, places, t, token, row, at_end, y);
      } else {
        some_rows<V, bits, half, has_zeros, 1>(m, places, t, token, row, at_end, y);
      }
      for (int r = 0; r < (many ? R : 1); ++r) out[r] = part.bias == nullptr ? y[r] : y[r] + part.bias[row + r];
    }
    row += many ? R : 1;
  }
}

template <class V, int bits>
void rows_of_bits(const Matrix& m, const int32_t* places, const Tokens& t, const Part& part) {
  if (m.half) {
    (m.zeros ? rows_of<V, bits, true, true> : rows_of<V, bits, true, false>)(m, places, t, part);
  } else {
    (m.zeros ? rows_of<V, bits, false, true> : rows_of<V, bits, false, false>)(m, places, t, part);
  }
}

template <class V>
void rows(const Matrix& m, const int32_t* places, const Tokens& t, const Part& part) {
  (m.bits == 2 ? rows_of_bits<V, 2> : m.bits == 4 ? rows_of_bits<V, 4> : rows_of_bits<V, 8>)(m, places, t, part);
}

template <class V>
void places(const Matrix& m, int32_t* out) {
  const int lanes = V::lanes, in_lane = 32 / m.bits;
  for (int i = 0; i < m.block_size / in_lane * lanes; ++i) out[i] = i * in_lane / m.block_size;
}

}  // namespace
}  // namespace edgelora::ops::in_place
