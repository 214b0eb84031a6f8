// Many tokens: rows are turned once, so that they lie as they are multiplied, and then met with every token.
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
  int8_t* codes;   // (columns / 4, groups, lanes, 4), less V::base; as they come where V::is_packed, a byte for each else
  float* scales;   // (blocks, groups, lanes)
  float* shifts;   // (blocks, groups, lanes): scale * (zero point - V::base), what a code is too large by

  Tile(const Matrix& m, uint8_t* scratch) {
    codes = reinterpret_cast<int8_t*>(scratch);
    scales = reinterpret_cast<float*>(scratch + rows * bytes_of_codes(m));
    shifts = scales + m.blocks * rows;
  }
  static size_t bytes(const Matrix& m) { return static_cast<size_t>(rows * (bytes_of_codes(m) + 8 * m.blocks)); }

 private:
  static int64_t bytes_of_codes(const Matrix& m) { return V::is_packed ? row_bytes(m) : m.blocks * m.block_size; }
};

// V::lanes rows from `first` on; those beyond the last are the last again, and nobody reads what they give.
template <class V>
struct Rows {
  int64_t at[V::lanes];
  bool at_end;  // a vector at the end of a row may reach beyond the last one

  Rows(const Matrix& m, int64_t first, int64_t last) {
    for (int l = 0; l < V::lanes; ++l) at[l] = least(first + l, last - 1);
    at_end = at[V::lanes - 1] + reach(m) >= m.rows;
  }
};

// Scales and shifts of at most V::lanes blocks of some rows, at those of the first block.
template <class V, int bits>
void turn_scales(const Matrix& m, const Rows<V>& rows, int64_t block, int count, float* scales, float* shifts) {
  constexpr int lanes = V::lanes, step = V::groups * lanes;
  const bool is_cut = rows.at_end && count < lanes;
  alignas(64) float own[lanes][lanes];
  const uint8_t* from[lanes];
  for (int l = 0; l < lanes; ++l) {
    const int64_t at = rows.at[l] * m.blocks + block;
    if (m.half) {
      const uint16_t* halves = static_cast<const uint16_t*>(m.scales) + at;
      V::store(own[l], is_cut ? V::halves(halves, count) : V::halves(halves));
    } else {
      const float* floats = static_cast<const float*>(m.scales) + at;
      V::store(own[l], is_cut ? V::load(floats, count) : V::load(floats));
    }
    from[l] = reinterpret_cast<const uint8_t*>(own[l]);
  }
  const auto middle = V::floats(static_cast<float>((1 << (bits - 1)) - V::template base<bits>));
  V::turn(from, count, [&](int k, typename V::Bytes column) {
    if (k >= count) return;
    const auto scale = V::floats_in(column);
    V::store(scales + k * step, scale);
    V::store(shifts + k * step, V::times(scale, middle));
  });
  if (m.zeros == nullptr) return;
  constexpr int in_word = lanes < 32 / bits ? lanes : 32 / bits;  // blocks whose zero points are in four bytes
  const int64_t bytes = zero_bytes(m);
  for (int first = 0; first < count; first += in_word) {
    uint32_t words[lanes] = {};
    const int64_t at = (block + first) * bits / 8;
    for (int l = 0; l < lanes; ++l) {
      const uint8_t* zeros = m.zeros + rows.at[l] * bytes + at;
      if (rows.at_end && bytes - at < 4) {
        std::memcpy(words + l, zeros, static_cast<size_t>(bytes - at));
      } else {
        std::memcpy(words + l, zeros, 4);
      }
    }
    const int last = static_cast<int>(least(first + in_word, count));
    for (int k = first; k < last; ++k) {
      const auto scale = V::load(scales + k * step);
      V::store(shifts + k * step, V::times(scale, V::template points<bits>(words, (k - first) * bits)));
    }
  }
}

// Codes of a row that are in 32 bits become those of a lane, so that rows lie side by side where they are multiplied.
template <class V, int bits>
void turn_rows(const Matrix& m, int64_t row, int64_t last, const Tile<V>& tile) {
  constexpr int lanes = V::lanes, width = 4 * lanes, step = V::groups * width;
  constexpr int planes = V::is_packed ? 1 : 8 / bits;
  const int64_t bytes = row_bytes(m), n = bytes / 4;
  for (int g = 0; g < V::groups; ++g) {
    const Rows<V> rows(m, row + g * lanes, last);
    for (int64_t b = 0; b < m.blocks; b += lanes) {
      const int64_t place = (b * V::groups + g) * lanes;
      turn_scales<V, bits>(m, rows, b, static_cast<int>(least(lanes, m.blocks - b)), tile.scales + place,
                           tile.shifts + place);
    }
    for (int64_t first = 0; first < n; first += lanes) {
      const int count = static_cast<int>(least(lanes, n - first));
      int8_t* out = tile.codes + first * planes * step + g * width;
      const uint8_t* from[lanes];
      uint8_t own[lanes][width];
      for (int l = 0; l < lanes; ++l) from[l] = m.codes + rows.at[l] * bytes + first * 4;
      if (rows.at_end && count < lanes) {
        for (int l = 0; l < lanes; ++l) {
          std::memcpy(own[l], from[l], static_cast<size_t>(4 * count));
          from[l] = own[l];
        }
      }
      V::turn(from, count, [&](int k, typename V::Bytes column) {
        if (k >= count) return;
        if constexpr (bits == 8 && V::template base<bits> != 0) column = V::less_128(column);
        for (int p = 0; p < planes; ++p) {
          V::store_bytes(out + (k * planes + p) * step, planes > 1 ? V::template codes_of<bits>(column, p) : column);
        }
      });
    }
  }
}

// Products of a quad of each token and every row. The sums stay in registers only where the compiler knows them all.
template <class V, int bits, int T>
[[gnu::always_inline]] inline void add_quad(const typename V::Bytes (&codes)[V::groups],
                                            const int8_t* const (&values)[T], int64_t at,
                                            typename V::Sums (&dots)[T][V::groups]) {
  for (int k = 0; k < T; ++k) {
    const auto x = V::repeat(values[k] + at);
    for (int g = 0; g < V::groups; ++g) dots[k][g] = V::template dot_tile<bits>(dots[k][g], x, codes[g]);
  }
}

// The same of the quads whose codes are in a lane: `codes` is moved behind it. Were loops over quads unrolled, GCC would
// make trees of the sums, for which there are not enough registers.
template <class V, int bits, int T>
[[gnu::always_inline]] inline void add_lane(const int8_t*& codes, const int8_t* const (&values)[T], int64_t at,
                                            typename V::Sums (&dots)[T][V::groups]) {
  constexpr int G = V::groups, width = 4 * V::lanes;
  typename V::Bytes held[G], own[G];
  if constexpr (V::is_packed) {
    for (int g = 0; g < G; ++g, codes += width) held[g] = V::load_bytes(codes);
    for (int p = 0; p < 8 / bits; ++p) {
      for (int g = 0; g < G; ++g) own[g] = V::template codes_of<bits>(held[g], p);
      add_quad<V, bits, T>(own, values, at + 4 * p, dots);
    }
  } else {
#pragma GCC unroll 1
    for (int p = 0; p < 8 / bits; ++p) {
      for (int g = 0; g < G; ++g, codes += width) own[g] = V::load_bytes(codes);
      add_quad<V, bits, T>(own, values, at + 4 * p, dots);
    }
  }
}

// N lanes.
template <class V, int bits, int T, int N>
[[gnu::always_inline]] inline void add_lanes(const int8_t*& codes, const int8_t* const (&values)[T], int64_t at,
                                             typename V::Sums (&dots)[T][V::groups]) {
#pragma GCC unroll 1
  for (int i = 0; i < N; ++i) add_lane<V, bits, T>(codes, values, at + i * (32 / bits), dots);
}

// How zero points are taken off codes.
enum class Zero {
  none,    // all are V::base, which codes do not have any more
  middle,  // all are the middle of the codes: by what sums begin with
  own,     // by shifts
};

// `ahead`, if any, is where the codes lie that are turned next: they are brought while these are multiplied, a few lines
// of the cache at a time, because many at once would be waited for.
template <class V, int bits, Zero zero, int T>
void some_tokens(const Matrix& m, const Tile<V>& tile, const Tokens& t, int64_t token, const uint8_t* ahead, float* y) {
  constexpr int G = V::groups, lanes = V::lanes, most = V::template quads_in_sums<bits> * bits / 8;
  typename V::Floats sum[T][G];
  const int8_t* values[T];
  const float* x_scales[T];
  const float* x_sums[T];
  const int32_t* starts[T];
  for (int k = 0; k < T; ++k) {
    for (int g = 0; g < G; ++g) sum[k][g] = V::floats(0.0f);
    values[k] = t.values + (token + k) * t.value_stride;
    x_scales[k] = t.scales + (token + k) * t.scale_stride;
    x_sums[k] = t.sums + (token + k) * t.scale_stride;
    starts[k] = t.starts + (token + k) * t.scale_stride;
  }
  const int8_t* codes = tile.codes;
  const int of_block = m.block_size * bits / 32;
  for (int64_t b = 0; b < m.blocks; ++b) {
    const int64_t stop = (b + 1) * m.block_size;
    int64_t at = b * m.block_size;
    if (ahead != nullptr) {
      const uint8_t* end = ahead + Tile<V>::rows * block_bytes(m);
      for (; ahead < end; ahead += 64) __builtin_prefetch(ahead, 0, 2);
    }
    do {
      typename V::Sums dots[T][G];
      for (int k = 0; k < T; ++k) {
        for (int g = 0; g < G; ++g) dots[k][g] = zero == Zero::middle ? V::sums(starts[k] + b) : V::no_sums();
      }
      if constexpr (most == 0) {
        for (int i = 0; i < of_block; ++i) add_lane<V, bits, T>(codes, values, at + i * (32 / bits), dots);
      } else if (of_block < most) {
        add_lanes<V, bits, T, most / 2>(codes, values, at, dots);
        at += most / 2 * (32 / bits);
      } else {
        add_lanes<V, bits, T, most>(codes, values, at, dots);
        at += most * (32 / bits);
      }
      for (int g = 0; g < G; ++g) {
        const auto scale = V::load(tile.scales + (b * G + g) * lanes);
        for (int k = 0; k < T; ++k) {
          const auto both = V::times(scale, V::floats(x_scales[k][b]));
          sum[k][g] = V::plus_times(sum[k][g], V::template to_floats<bits>(dots[k][g]), both);
        }
      }
    } while (most != 0 && at < stop);
    if constexpr (zero == Zero::own) {
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

template <class V, int bits, Zero zero, int T>
void few_tokens(const Matrix& m, const Tile<V>& tile, const Tokens& t, int64_t token, int64_t count, const uint8_t* ahead,
                float* y) {
  if (count == T) {
    some_tokens<V, bits, zero, T>(m, tile, t, token, ahead, y);
  } else if constexpr (T > 1) {
    few_tokens<V, bits, zero, T - 1>(m, tile, t, token, count, ahead, y);
  }
}

template <class V, int bits, Zero zero>
void tiles_of(const Matrix& m, const Tokens& t, const Part& part, uint8_t* scratch) {
  const Tile<V> tile(m, scratch);
  alignas(64) float y[V::tokens_at_once * Tile<V>::rows];
  for (int64_t row = part.first; row < part.last; row += Tile<V>::rows) {
    turn_rows<V, bits>(m, row, part.last, tile);
    const int64_t rows = least(Tile<V>::rows, part.last - row);
    const uint8_t* next = m.codes + (row + rows) * row_bytes(m);
    for (int64_t token = 0, count; token < t.count; token += count) {
      const int64_t left = t.count - token, turns = (left + V::tokens_at_once - 1) / V::tokens_at_once;
      count = (left + turns - 1) / turns;  // 4 and 4 are less work than 6 and 2
      few_tokens<V, bits, zero, V::tokens_at_once>(m, tile, t, token, count, token == 0 ? next : nullptr, y);
      for (int64_t k = 0; k < count; ++k) {
        float* out = part.y + (token + k) * m.rows + row;
        const float* from = y + k * Tile<V>::rows;
        for (int64_t r = 0; r < rows; ++r) out[r] = part.bias == nullptr ? from[r] : from[r] + part.bias[row + r];
      }
    }
  }
}

template <class V, int bits>
void tiles_of_bits(const Matrix& m, const Tokens& t, const Part& part, uint8_t* scratch) {
  constexpr bool is_off = V::template base<bits> == 1 << (bits - 1);
  constexpr Zero middle = is_off ? Zero::none : V::template quads_in_sums<bits> == 0 ? Zero::middle : Zero::own;
  (m.zeros != nullptr ? tiles_of<V, bits, Zero::own> : tiles_of<V, bits, middle>)(m, t, part, scratch);
}

template <class V>
void tiles(const Matrix& m, const Tokens& t, const Part& part, uint8_t* scratch) {
  (m.bits == 2 ? tiles_of_bits<V, 2> : m.bits == 4 ? tiles_of_bits<V, 4> : tiles_of_bits<V, 8>)(m, t, part, scratch);
}

}  // namespace
}  // namespace edgelora::ops::in_place
