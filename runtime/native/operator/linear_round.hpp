// Activations in 8 bits a block, as accuracy level 4 of onnxruntime rounds them: to the nearest of 255 steps.
//
// A vector of an instruction set (V), floats of a token -> values where codes meet them, scales, sums. See linear_block.hpp
// on names.
#pragma once

#include "linear_block.hpp"

namespace edgelora::ops::in_place {
namespace {

// Four bytes of codes hold 32 / bits values: the lowest bits of the four make the first quad of bytes, the next bits the
// second. For each byte of the four quads in 16 values: its place in them.
template <int bits>
constexpr uint8_t quads_of[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
template <>
constexpr uint8_t quads_of<4>[16] = {0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15};
template <>
constexpr uint8_t quads_of<2>[16] = {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15};

// In the order of `tiles` quads follow one another; in that of `rows` each of a code's places has a plane of its own.
template <class V, int bits>
void spread(const int8_t* q, int block_size, bool tiled, int64_t plane, int8_t* out) {
  constexpr int planes = 8 / bits;
  for (int i = 0; i < block_size; i += 16) {
    alignas(16) int8_t quads[16];
    V::arrange(q + i, quads_of<bits>, 0, quads);
    if (tiled || planes == 1) {
      std::memcpy(out + i, quads, 16);
    } else {
      for (int k = 0; k < 4; ++k) std::memcpy(out + k % planes * plane + i / planes + k / planes * 4, quads + 4 * k, 4);
    }
  }
}

template <class V, int bits>
void round_token(const Matrix& m, const float* x, bool tiled, const Tokens& t, int64_t token) {
  alignas(64) int8_t q[256];
  alignas(64) float last[256] = {};
  int8_t* values = t.values + token * t.value_stride;
  float* scales = t.scales + token * t.scale_stride;
  float* sums = t.sums + token * t.scale_stride;
  int32_t* starts = t.starts + token * t.scale_stride;
  const int64_t bytes = block_bytes(m), plane = plane_bytes(m);
  for (int64_t b = 0; b < m.blocks; ++b) {
    const int64_t first = b * m.block_size;
    const float* from = x + first;
    if (first + m.block_size > m.columns) {
      std::memcpy(last, from, static_cast<size_t>(m.columns - first) * sizeof(float));
      from = last;
    }
    scales[b] = V::largest(from, m.block_size) / 127.0f;
    const float inverse = scales[b] != 0.0f ? 1.0f / scales[b] : 0.0f;
    const int total = V::round(from, m.block_size, inverse, q);
    sums[b] = scales[b] * static_cast<float>(total);
    starts[b] = (V::template base<bits> - (1 << (bits - 1))) * total;
    spread<V, bits>(q, m.block_size, tiled, plane, values + (tiled ? first : b * bytes));
  }
  for (int64_t b = m.blocks; b < t.scale_stride; ++b) scales[b] = sums[b] = 0;
  if (tiled) return;
  const int64_t used = m.blocks * bytes;
  for (int p = 0; p < 8 / bits; ++p) std::memset(values + p * plane + used, 0, static_cast<size_t>(plane - used));
}

// A whole row with one scale and no sign, 128 for 0, as encoders spell it; zeros have the scale of `least_reach`.
template <class V>
float round_row(const float* x, int64_t columns, uint8_t* codes) {
  constexpr float least_reach = 1e-30f;
  constexpr int64_t step = 256;
  alignas(64) int8_t q[step];
  alignas(64) float last[16] = {};
  const int64_t whole = columns / 16 * 16;
  const auto left = static_cast<size_t>(columns - whole);
  std::memcpy(last, x + whole, left * sizeof(float));
  const float most = V::largest(x, static_cast<int>(whole)), rest = V::largest(last, 16);
  const float reach = (most >= rest || most != most ? most : rest) + least_reach, inverse = 127.0f / reach;
  auto* out = reinterpret_cast<int8_t*>(codes);
  for (int64_t first = 0; first < whole; first += step) {
    const auto count = static_cast<int>(least(step, whole - first));
    V::round(x + first, count, inverse, q);
    for (int i = 0; i < count; i += 16) V::arrange(q + i, quads_of<8>, 128, out + first + i);
  }
  if (left > 0) {
    V::round(last, 16, inverse, q);
    V::arrange(q, quads_of<8>, 128, q);
    std::memcpy(out + whole, q, left);
  }
  return reach * (1.0f / 127.0f);
}

template <class V>
void quantize(const Matrix& m, const float* x, bool tiled, const Tokens& t, int64_t token) {
  (m.bits == 2 ? round_token<V, 2> : m.bits == 4 ? round_token<V, 4> : round_token<V, 8>)(m, x + token * m.columns, tiled, t,
                                                                                          token);
}

}  // namespace
}  // namespace edgelora::ops::in_place
