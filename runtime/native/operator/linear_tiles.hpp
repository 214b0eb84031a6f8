// Many tokens: rows are unpacked once, to bytes that lie as they are multiplied, and then met with every token.
//
// A vector of an instruction set (V) -> products of some rows. See linear_block.hpp on names.
#pragma once

#include "linear_block.hpp"

namespace edgelora::ops::in_place {
namespace {

// A tile is V::groups vectors of V::lanes rows. Of each block it holds, group by group:
template <class V>
struct Tile {
  static constexpr int rows = V::groups * V::lanes;
  int8_t* weights;  // (columns / 4, groups, lanes, 4): code - zero point; 8 bits: code - 128
  float* scales;    // (blocks, groups, lanes)
  int32_t* starts;  // (blocks, groups, lanes): what makes up for `V::flip` added to every activation
  float* shifts;    // (blocks, groups, lanes): scale * (zero point - 128), for 8 bits with zero points

  Tile(const Matrix& m, uint8_t* scratch) {
    weights = reinterpret_cast<int8_t*>(scratch);
    scales = reinterpret_cast<float*>(scratch + m.blocks * m.block_size * rows);
    starts = reinterpret_cast<int32_t*>(scales + m.blocks * rows);
    shifts = reinterpret_cast<float*>(starts + m.blocks * rows);
  }
  static size_t bytes(const Matrix& m) { return static_cast<size_t>(m.blocks * rows * (m.block_size + 12)); }
};

template <class V, int bits>
void unpack(const Matrix& m, int64_t row, int64_t last, const Tile<V>& tile) {
  constexpr int lanes = V::lanes, quads = 8 / bits, in_lane = 32 / bits, stretch = 16;  // lanes of codes turned at once
  alignas(64) uint32_t turned[stretch][lanes];
  alignas(64) uint32_t zero[lanes];
  const int64_t bytes = row_bytes(m), blob = block_bytes(m);
  for (int g = 0; g < V::groups; ++g) {
    int64_t at[lanes];  // rows beyond the last are those of the last again, and nobody reads what they give
    for (int l = 0; l < lanes; ++l) at[l] = least(row + g * lanes + l, last - 1);
    for (int64_t b = 0; b < m.blocks; ++b) {
      const int64_t place = (b * V::groups + g) * lanes;
      for (int l = 0; l < lanes; ++l) {
        const float scale = scale_of(m, at[l], b);
        const int point = zero_of(m, at[l], b);
        tile.scales[place + l] = scale;
        zero[l] = static_cast<uint32_t>(bits == 8 ? 128 : point) * 0x01010101u;
        if (bits == 8) tile.shifts[place + l] = scale * static_cast<float>(point - 128);
      }
      const auto points = V::load_lanes(zero);
      auto total = V::zero();
      int8_t* out = tile.weights + (b * m.block_size / 4 * V::groups + g) * 4 * lanes;
      for (int first = 0; first < blob / 4; first += stretch) {
        const int n = static_cast<int>(least(stretch, blob / 4 - first));
        for (int l = 0; l < lanes; ++l) {
          const uint8_t* codes = m.codes + at[l] * bytes + b * blob + first * 4;
          for (int j = 0; j < n; ++j) std::memcpy(&turned[j][l], codes + j * 4, 4);
        }
        for (int j = 0; j < n; ++j) {
          for (int p = 0; p < quads; ++p) {
            const auto weights = V::less(V::template codes_of<bits>(V::load_lanes(turned[j]), p), points);
            V::store_lanes(out, weights);
            if (V::template flip<bits> != 0) total = V::add_bytes(total, weights);
            out += V::groups * 4 * lanes;
          }
        }
      }
      if (V::template flip<bits> != 0) V::store_starts(tile.starts + place, total, V::template flip<bits>);
    }
  }
  (void)in_lane;
}

template <class V, int bits, bool shifted, int T>
void some_tokens(const Matrix& m, const Tile<V>& tile, const Tokens& t, int64_t token, float* y) {
  constexpr int G = V::groups, lanes = V::lanes;
  typename V::Floats sum[T][G];
  const int8_t* values[T];
  const float* x_scales[T];
  const float* x_sums[T];
  for (int k = 0; k < T; ++k) {
    for (int g = 0; g < G; ++g) sum[k][g] = V::floats(0.0f);
    values[k] = t.values + (token + k) * t.value_stride;
    x_scales[k] = t.scales + (token + k) * t.scale_stride;
    x_sums[k] = t.sums + (token + k) * t.scale_stride;
  }
  const int8_t* weights = tile.weights;
  const int quads = m.block_size / 4;
  for (int64_t b = 0; b < m.blocks; ++b) {
    typename V::Sums dots[T][G];
    for (int g = 0; g < G; ++g) {
      const auto start = V::template flip<bits> != 0 ? V::starts(tile.starts + (b * G + g) * lanes) : V::no_sums();
      for (int k = 0; k < T; ++k) dots[k][g] = start;
    }
    const int64_t at = b * m.block_size;
    for (int q = 0; q < quads; ++q) {
      typename V::Bytes w[G];
      for (int g = 0; g < G; ++g, weights += 4 * lanes) w[g] = V::load_bytes(weights);
      for (int k = 0; k < T; ++k) {
        const auto x = V::repeat(values[k] + at + q * 4);
        for (int g = 0; g < G; ++g) dots[k][g] = V::template dot_tile<bits>(dots[k][g], x, w[g]);
      }
    }
    for (int g = 0; g < G; ++g) {
      const auto scale = V::load(tile.scales + (b * G + g) * lanes);
      for (int k = 0; k < T; ++k) {
        sum[k][g] = V::plus_times(sum[k][g], V::to_floats(dots[k][g]), V::times(scale, V::floats(x_scales[k][b])));
      }
      if (shifted) {
        const auto shift = V::load(tile.shifts + (b * G + g) * lanes);
        for (int k = 0; k < T; ++k) sum[k][g] = V::minus_times(sum[k][g], shift, V::floats(x_sums[k][b]));
      }
    }
  }
  for (int k = 0; k < T; ++k) {
    for (int g = 0; g < G; ++g) V::store(y + (k * G + g) * lanes, sum[k][g]);
  }
}

template <class V, int bits, bool shifted, int T>
void few_tokens(const Matrix& m, const Tile<V>& tile, const Tokens& t, int64_t token, int64_t count, float* y) {
  if (count == T) {
    some_tokens<V, bits, shifted, T>(m, tile, t, token, y);
  } else if constexpr (T > 1) {
    few_tokens<V, bits, shifted, T - 1>(m, tile, t, token, count, y);
  }
}

template <class V, int bits, bool shifted>
void tiles_of(const Matrix& m, const Tokens& t, const Part& part, uint8_t* scratch) {
  const Tile<V> tile(m, scratch);
  alignas(64) float y[V::tokens_at_once * Tile<V>::rows];
  for (int64_t row = part.first; row < part.last; row += Tile<V>::rows) {
    unpack<V, bits>(m, row, part.last, tile);
    const int64_t rows = least(Tile<V>::rows, part.last - row);
    for (int64_t token = 0; token < t.count; token += V::tokens_at_once) {
      const int64_t count = least(V::tokens_at_once, t.count - token);
      few_tokens<V, bits, shifted, V::tokens_at_once>(m, tile, t, token, count, y);
      for (int64_t k = 0; k < count; ++k) {
        float* out = part.y + (token + k) * m.rows + row;
        const float* from = y + k * Tile<V>::rows;
        for (int64_t r = 0; r < rows; ++r) out[r] = part.bias == nullptr ? from[r] : from[r] + part.bias[row + r];
      }
    }
  }
}

template <class V>
void tiles(const Matrix& m, const Tokens& t, const Part& part, uint8_t* scratch) {
  if (m.bits == 2) return tiles_of<V, 2, false>(m, t, part, scratch);
  if (m.bits == 4) return tiles_of<V, 4, false>(m, t, part, scratch);
  (m.zeros ? tiles_of<V, 8, true> : tiles_of<V, 8, false>)(m, t, part, scratch);
}

}  // namespace
}  // namespace edgelora::ops::in_place
