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
  int8_t* weights;  // (columns / 4, groups, lanes, 4): code - zero point; 8 bits: code - 128; `V::quads_in_sums`: code
  float* scales;    // (blocks, groups, lanes)
  int32_t* starts;  // (blocks, groups, lanes): what makes up for `V::flip` added to every activation
  float* shifts;    // (blocks, groups, lanes): scale * what a weight has too much, for 8 bits and `V::quads_in_sums`

  Tile(const Matrix& m, uint8_t* scratch) {
    weights = reinterpret_cast<int8_t*>(scratch);
    scales = reinterpret_cast<float*>(scratch + m.blocks * m.block_size * rows);
    starts = reinterpret_cast<int32_t*>(scales + m.blocks * rows);
    shifts = reinterpret_cast<float*>(starts + m.blocks * rows);
  }
  static size_t bytes(const Matrix& m) { return static_cast<size_t>(m.blocks * rows * (m.block_size + 12)); }
};

// Scales and zero points of a stretch of V::lanes blocks of V::lanes rows, turned: a vector for each block.
template <class V, int bits>
struct Turned {
  typename V::Floats scales[V::lanes];
  typename V::Floats zeros[V::lanes];

  Turned(const Matrix& m, const int64_t* rows, int64_t block, int count, bool at_end) {
    for (int l = 0; l < V::lanes; ++l) {
      const int64_t at = rows[l] * m.blocks + block;
      if (m.half) {
        const uint16_t* from = static_cast<const uint16_t*>(m.scales) + at;
        scales[l] = at_end ? V::halves(from, count) : V::halves(from);
      } else {
        const float* from = static_cast<const float*>(m.scales) + at;
        scales[l] = at_end ? V::load(from, count) : V::load(from);
      }
      zeros[l] = m.zeros == nullptr ? V::floats(static_cast<float>((1 << (bits - 1)) - V::template base<bits>))
                                    : V::template zeros<bits>(m.zeros + rows[l] * zero_bytes(m) + block * bits / 8,
                                                              at_end ? count : V::lanes);
    }
    V::turn(scales);
    V::turn(zeros);
  }
};

template <class V, int bits>
void unpack(const Matrix& m, int64_t row, int64_t last, const Tile<V>& tile) {
  constexpr int lanes = V::lanes, width = 4 * lanes, step = V::groups * width;
  const int64_t bytes = row_bytes(m), blob = block_bytes(m);
  const int lanes_of_block = static_cast<int>(blob / 4);
  for (int g = 0; g < V::groups; ++g) {
    int64_t rows[lanes];  // those beyond the last are the last again, and nobody reads what they give
    for (int l = 0; l < lanes; ++l) rows[l] = least(row + g * lanes + l, last - 1);
    const bool at_end = rows[lanes - 1] + reach(m) >= m.rows;
    int8_t* out = tile.weights + g * width;
    for (int64_t b = 0; b < m.blocks; b += lanes) {
      const int count = static_cast<int>(least(lanes, m.blocks - b));
      const Turned<V, bits> turned(m, rows, b, count, at_end && count < lanes);
      typename V::Bytes points[lanes];
      for (int k = 0; k < count; ++k) {
        const int64_t place = ((b + k) * V::groups + g) * lanes;
        V::store(tile.scales + place, turned.scales[k]);
        if constexpr (bits == 8) {
          const auto shift = V::floats(static_cast<float>(128 - V::template base<bits>));
          const auto zero = V::minus_times(turned.zeros[k], shift, V::floats(1.0f));
          V::store(tile.shifts + place, V::times(turned.scales[k], zero));
        } else if constexpr (V::template quads_in_sums<bits> != 0) {
          V::store(tile.shifts + place, V::times(turned.scales[k], turned.zeros[k]));
        }
        points[k] = bits == 8 ? V::bytes_of(V::floats(128.0f)) : V::bytes_of(turned.zeros[k]);
      }
      const int n = count * lanes_of_block;  // lanes of codes of this stretch
      [[maybe_unused]] auto total = V::no_sums();
      for (int first = 0; first < n; first += lanes) {
        const int here = static_cast<int>(least(lanes, n - first));
        typename V::Bytes codes[lanes];
        for (int l = 0; l < lanes; ++l) {
          const uint8_t* from = m.codes + rows[l] * bytes + b * blob + first * 4;
          codes[l] = at_end && here < lanes ? V::load_codes(from, 4 * here) : V::load_codes(from);
        }
        V::turn(codes);
        for (int j = 0; j < here; ++j) {
          const int k = (first + j) / lanes_of_block;
          for (int p = 0; p < 8 / bits; ++p, out += step) {
            auto weights = V::template codes_of<bits>(codes[j], p);
            if constexpr (V::template quads_in_sums<bits> == 0) weights = V::less(weights, points[k]);
            V::store_bytes(out, weights);
            if constexpr (V::template flip<bits> != 0) total = V::add_bytes(total, weights);
          }
          if constexpr (V::template flip<bits> != 0) {
            if ((first + j + 1) % lanes_of_block != 0) continue;
            V::store_starts(tile.starts + ((b + k) * V::groups + g) * lanes, total, V::template flip<bits>);
            total = V::no_sums();
          }
        }
      }
    }
  }
}

// Products of a quad of each token and every row of a tile: `weights` is moved behind it.
template <class V, int bits, int T>
void add_quad(const int8_t*& weights, const int8_t* const (&values)[T], int64_t at, typename V::Sums (&dots)[T][V::groups]) {
  constexpr int G = V::groups;
  typename V::Bytes w[G];
  for (int g = 0; g < G; ++g, weights += 4 * V::lanes) w[g] = V::load_bytes(weights);
  for (int k = 0; k < T; ++k) {
    const auto x = V::repeat(values[k] + at);
    for (int g = 0; g < G; ++g) dots[k][g] = V::template dot_tile<bits>(dots[k][g], x, w[g]);
  }
}

// N quads. Were the loop unrolled, GCC would make trees of the sums, for which there are not enough registers.
template <class V, int bits, int T, int N>
void add_quads(const int8_t*& weights, const int8_t* const (&values)[T], int64_t at, typename V::Sums (&dots)[T][V::groups]) {
#pragma GCC unroll 1
  for (int q = 0; q < N; ++q) add_quad<V, bits, T>(weights, values, at + 4 * q, dots);
}

template <class V, int bits, bool shifted, int T>
void some_tokens(const Matrix& m, const Tile<V>& tile, const Tokens& t, int64_t token, float* y) {
  constexpr int G = V::groups, lanes = V::lanes, most_quads = V::template quads_in_sums<bits>;
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
    const int64_t stop = (b + 1) * m.block_size;
    int64_t at = b * m.block_size;
    do {
      typename V::Sums dots[T][G];
      for (int g = 0; g < G; ++g) {
        auto start = V::no_sums();
        if constexpr (V::template flip<bits> != 0) start = V::starts(tile.starts + (b * G + g) * lanes);
        for (int k = 0; k < T; ++k) dots[k][g] = start;
      }
      if constexpr (most_quads == 0) {
        for (int q = 0; q < quads; ++q) add_quad<V, bits, T>(weights, values, at + 4 * q, dots);
      } else if (quads < most_quads) {
        add_quads<V, bits, T, most_quads / 2>(weights, values, at, dots);
        at += 4 * (most_quads / 2);
      } else {
        add_quads<V, bits, T, most_quads>(weights, values, at, dots);
        at += 4 * most_quads;
      }
      for (int g = 0; g < G; ++g) {
        const auto scale = V::load(tile.scales + (b * G + g) * lanes);
        for (int k = 0; k < T; ++k) {
          const auto both = V::times(scale, V::floats(x_scales[k][b]));
          sum[k][g] = V::plus_times(sum[k][g], V::template to_floats<bits>(dots[k][g]), both);
        }
      }
    } while (most_quads != 0 && at < stop);
    if constexpr (shifted) {
      for (int g = 0; g < G; ++g) {
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

// Has the codes of some rows brought while others are multiplied: a few bytes of many rows at a time, as `unpack` reads
// them, are a pattern that processors do not fetch ahead of.
inline void fetch_ahead(const Matrix& m, int64_t row, int64_t last) {
  constexpr int64_t line = 64;
  const uint8_t* end = m.codes + last * row_bytes(m);
  for (const uint8_t* at = m.codes + row * row_bytes(m); at < end; at += line) __builtin_prefetch(at, 0, 2);
}

template <class V, int bits, bool shifted>
void tiles_of(const Matrix& m, const Tokens& t, const Part& part, uint8_t* scratch) {
  const Tile<V> tile(m, scratch);
  alignas(64) float y[V::tokens_at_once * Tile<V>::rows];
  for (int64_t row = part.first; row < part.last; row += Tile<V>::rows) {
    unpack<V, bits>(m, row, part.last, tile);
    const int64_t rows = least(Tile<V>::rows, part.last - row);
    fetch_ahead(m, row + rows, least(row + rows + Tile<V>::rows, part.last));
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
  if (m.bits == 2) return tiles_of<V, 2, V::template quads_in_sums<2> != 0>(m, t, part, scratch);
  if (m.bits == 4) return tiles_of<V, 4, V::template quads_in_sums<4> != 0>(m, t, part, scratch);
  (m.zeros ? tiles_of<V, 8, true> : tiles_of<V, 8, false>)(m, t, part, scratch);
}

}  // namespace
}  // namespace edgelora::ops::in_place
