// The linear in C++ alone, for every processor.
#include "linear_table.hpp"

namespace edgelora::ops::in_place {
namespace {

struct Plain {
  static constexpr int lanes = 4, groups = 4, tokens_at_once = 2, least_tiled = 5;
  template <int bits>
  static constexpr int base = bits == 8 ? 128 : 0;  // taken off every code before it is multiplied
  template <int bits>
  static constexpr int quads_in_sums = 0;  // that `Sums` has room for; 0: those of any block
  static constexpr bool is_packed = false;  // a tile holds codes as they come, parted only where they are multiplied

  struct Floats {
    float v[lanes];
  };
  struct Sums {
    int32_t v[lanes];
  };
  struct Bytes {
    int8_t v[4 * lanes];
  };
  using Place = const int32_t*;

  static Floats floats(float x) { return {{x, x, x, x}}; }
  static Floats load(const float* p, int n = lanes) {
    Floats out = {};
    for (int i = 0; i < n; ++i) out.v[i] = p[i];
    return out;
  }
  static Floats halves(const uint16_t* p, int n = lanes) {
    Floats out = {};
    for (int i = 0; i < n; ++i) out.v[i] = from_half(p[i]);
    return out;
  }
  template <int bits>
  static Floats zeros(const uint8_t* p, int n) {
    Floats out = {};
    for (int i = 0; i < n; ++i) {
      out.v[i] = static_cast<float>((p[i * bits / 8] >> (i * bits % 8) & ((1 << bits) - 1)) - base<bits>);
    }
    return out;
  }
  static void store(float* p, Floats a) { std::memcpy(p, a.v, sizeof a.v); }
  static Floats times(Floats a, Floats b) {
    for (int i = 0; i < lanes; ++i) a.v[i] *= b.v[i];
    return a;
  }
  static Floats plus_times(Floats a, Floats b, Floats c) {
    for (int i = 0; i < lanes; ++i) a.v[i] += b.v[i] * c.v[i];
    return a;
  }
  static Floats minus_times(Floats a, Floats b, Floats c) {
    for (int i = 0; i < lanes; ++i) a.v[i] -= b.v[i] * c.v[i];
    return a;
  }
  template <int bits>
  static Floats to_floats(Sums a) {
    Floats out;
    for (int i = 0; i < lanes; ++i) out.v[i] = static_cast<float>(a.v[i]);
    return out;
  }
  static Place place(const int32_t* p) { return p; }
  template <int bits>
  static void dot_row(Bytes codes, const Bytes* x, Place place, const Floats& scale, Floats& sum) {
    if constexpr (bits == 8) codes = less_128(codes);
    Sums dot = {};
    for (int p = 0; p < 8 / bits; ++p) {
      const Bytes own = codes_of<bits>(codes, p);
      for (int i = 0; i < 4 * lanes; ++i) dot.v[i / 4] += own.v[i] * x[p].v[i];
    }
    for (int l = 0; l < lanes; ++l) sum.v[l] += static_cast<float>(dot.v[l]) * scale.v[place[l]];
  }
  static void add_up(const Floats (&sum)[4], float* y) {
    for (int r = 0; r < 4; ++r) y[r] = (sum[r].v[0] + sum[r].v[2]) + (sum[r].v[1] + sum[r].v[3]);
  }

  static float largest(const float* x, int n) {
    uint32_t most = 0;  // compared as integers, where what is no number is the largest
    for (int i = 0; i < n; ++i) {
      const uint32_t magnitude = as_bits(x[i]) & 0x7fffffffu;
      most = magnitude > most ? magnitude : most;
    }
    return as_float(most);
  }
  static int round(const float* x, int n, float inverse, int8_t* q) {
    constexpr float shift = 12582912.0f;  // 1.5 * 2 ** 23: adding it rounds to an integer, half to even
    int total = 0;
    for (int i = 0; i < n; ++i) {
      const auto value = static_cast<int32_t>(as_bits(x[i] * inverse + shift) - as_bits(shift));
      total += value;
      q[i] = static_cast<int8_t>(value);
    }
    return total;
  }
  static void arrange(const int8_t* q, const uint8_t* order, int flip, int8_t* out) {
    for (int i = 0; i < 16; ++i) out[i] = static_cast<int8_t>(q[order[i]] ^ flip);
  }

  // The first columns are taken as rows.
  template <class Take>
  static void turn(const uint8_t* const (&from)[lanes], int count, const Take& take) {
    for (int j = 0; j < count; ++j) {
      Bytes column;
      for (int i = 0; i < lanes; ++i) std::memcpy(column.v + 4 * i, from[i] + 4 * j, 4);
      take(j, column);
    }
  }
  static Floats floats_in(const Bytes& a) {
    Floats out;
    std::memcpy(out.v, a.v, sizeof out.v);
    return out;
  }
  template <int bits>
  static Floats points(const uint32_t* words, int shift) {
    Floats out;
    for (int i = 0; i < lanes; ++i) {
      out.v[i] = static_cast<float>(static_cast<int>(words[i] >> shift & ((1 << bits) - 1)) - base<bits>);
    }
    return out;
  }
  static Bytes load_codes(const uint8_t* p, int n = 4 * lanes) {
    Bytes out = {};
    std::memcpy(out.v, p, static_cast<size_t>(n));
    return out;
  }
  static Bytes load_bytes(const int8_t* p) { return load_codes(reinterpret_cast<const uint8_t*>(p)); }
  static void store_bytes(int8_t* p, Bytes a) { std::memcpy(p, a.v, sizeof a.v); }
  template <int bits>
  static Bytes codes_of(Bytes a, int plane) {
    if constexpr (bits == 8) return a;
    for (int i = 0; i < 4 * lanes; ++i) {
      a.v[i] = static_cast<int8_t>(static_cast<uint8_t>(a.v[i]) >> (plane * bits) & ((1 << bits) - 1));
    }
    return a;
  }
  static Bytes less_128(Bytes a) {
    for (int i = 0; i < 4 * lanes; ++i) a.v[i] = static_cast<int8_t>(a.v[i] ^ -128);
    return a;
  }
  static Sums no_sums() { return {}; }
  static Sums sums(const int32_t* p) { return {{*p, *p, *p, *p}}; }
  static const int8_t* repeat(const int8_t* p) { return p; }
  template <int bits>
  static Sums dot_tile(Sums a, const int8_t* x, Bytes w) {
    for (int l = 0; l < lanes; ++l) {
      for (int i = 0; i < 4; ++i) a.v[l] += x[i] * w.v[4 * l + i];
    }
    return a;
  }
};

}  // namespace

const Path linear_plain = path<Plain>("plain");

}  // namespace edgelora::ops::in_place
