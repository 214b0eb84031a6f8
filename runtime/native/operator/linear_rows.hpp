// One token at a time: codes are read in their order, once, and nothing is kept.
//
// A vector of an instruction set (V) -> products of some rows. See linear_block.hpp on names.
#pragma once

#include "linear_block.hpp"

namespace edgelora::ops::in_place {
namespace {

constexpr int64_t ahead = 4096;  // bytes of codes that are asked for beforehand: processors stop at the end of a page

// R rows side by side. Four bytes of codes never belong to two blocks, so that a lane of 32 bits has one scale. A stretch
// is V::lanes blocks, whose scales are read at once; `places` says which of them each lane of each vector of codes takes.
template <class V, int bits, bool half, bool has_zeros, int R>
void some_rows(const Matrix& m, const int32_t* places, const Tokens& t, int64_t token, int64_t row, bool at_end,
               typename V::Floats* sum) {
  constexpr int lanes = V::lanes, width = 4 * lanes, planes = 8 / bits;  // of a vector: bytes, values of a byte
  const int64_t block = block_bytes(m), plane = plane_bytes(m), bytes = row_bytes(m), bytes_of_zeros = zero_bytes(m);
  const uint8_t* codes = m.codes + row * bytes;
  const uint8_t* zeros = has_zeros ? m.zeros + row * bytes_of_zeros : nullptr;
  const int8_t* values = t.values + token * t.value_stride;
  const float* x_scales = t.scales + token * t.scale_stride;
  const float* x_sums = t.sums + token * t.scale_stride;
  typename V::Floats scale[R];
  typename V::Floats other[R];  // each addition to a sum waits for the one before: two of them take turns
  for (int r = 0; r < R; ++r) sum[r] = other[r] = V::floats(0.0f);
  auto zero = V::floats(static_cast<float>((1 << (bits - 1)) - V::template base<bits>));
  for (int64_t b = 0; b < m.blocks; b += lanes) {
    const int count = static_cast<int>(least(lanes, m.blocks - b));
    const bool partly = at_end && count < lanes;
    const auto x_scale = V::load(x_scales + b), x_sum = V::load(x_sums + b);
    for (int r = 0; r < R; ++r) {
      typename V::Floats own;
      if constexpr (half) {
        const uint16_t* from = static_cast<const uint16_t*>(m.scales) + (row + r) * m.blocks + b;
        own = partly ? V::halves(from, count) : V::halves(from);
      } else {
        const float* from = static_cast<const float*>(m.scales) + (row + r) * m.blocks + b;
        own = partly ? V::load(from, count) : V::load(from);
      }
      if constexpr (has_zeros) {
        zero = V::template zeros<bits>(zeros + r * bytes_of_zeros + b * bits / 8, partly ? count : lanes);
      }
      sum[r] = V::minus_times(sum[r], V::times(own, zero), x_sum);
      scale[r] = V::times(own, x_scale);
    }
    const int64_t stop = (b + count) * block;
    const int32_t* place = places;
    int64_t at = b * block;
    const auto meet = [&](typename V::Floats* into, bool is_cut) {
      typename V::Bytes x[planes];
      for (int p = 0; p < planes; ++p) x[p] = V::load_bytes(values + p * plane + at);
      for (int r = 0; r < R; ++r) {
        const uint8_t* from = codes + r * bytes + at;
        __builtin_prefetch(from + ahead, 0, 2);
        const auto own = is_cut ? V::load_codes(from, static_cast<int>(stop - at)) : V::load_codes(from);
        V::template dot_row<bits>(own, x, V::place(place), scale[r], into[r]);
      }
      at += width, place += lanes;
    };
    while (at + 2 * width <= stop) {
      meet(sum, false);
      meet(other, false);
    }
    while (at < stop) meet(sum, at_end && at + width > stop);
  }
  for (int r = 0; r < R; ++r) sum[r] = V::plus_times(sum[r], other[r], V::floats(1.0f));
}

// Rows that lie close together share what is read of the token. Long ones go one after another: side by side they are
// a pattern that processors do not fetch ahead of.
template <class V, int bits, bool half, bool has_zeros>
void rows_of(const Matrix& m, const int32_t* places, const Tokens& t, const Part& part) {
  constexpr int R = 4;
  constexpr int64_t close = 1280;  // bytes of R rows
  const bool side_by_side = R * row_bytes(m) <= close;
  for (int64_t row = part.first; row < part.last; row += R) {
    const int count = static_cast<int>(least(R, part.last - row));
    const bool at_end = row + R + reach(m) > m.rows;
    for (int64_t token = 0; token < t.count; ++token) {
      typename V::Floats sum[R];
      if (side_by_side && count == R) {
        some_rows<V, bits, half, has_zeros, R>(m, places, t, token, row, at_end, sum);
      } else {
        for (int r = 0; r < R; ++r) {  // beyond the last row: that one again
          some_rows<V, bits, half, has_zeros, 1>(m, places, t, token, row + least(r, count - 1), at_end, sum + r);
        }
      }
      float y[R];
      V::add_up(sum, y);
      float* out = part.y + token * m.rows + row;
      for (int r = 0; r < count; ++r) out[r] = part.bias == nullptr ? y[r] : y[r] + part.bias[row + r];
    }
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
