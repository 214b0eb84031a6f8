// Four floats in plain C++, for processors that no other file knows.
//
// A vector type `V` for the kernels of one instruction set; nothing of it is seen outside of the file that includes it.
#pragma once

#include <cstddef>
#include <cstring>

namespace edgelora::ops {
namespace {

// Of finite numbers, which is what factors are: a shift into a float's place, then the step between the two exponents'
// biases; numbers below float16's normal ones come out right as well.
inline float widen_half(unsigned short bits) {
  const unsigned shifted = (bits & 0x7fffu) << 13;
  float value;
  std::memcpy(&value, &shifted, sizeof value);
  value *= 5192296858534827628530496329220096.0f;  // 2^112
  return bits & 0x8000u ? -value : value;
}

struct V {
  static constexpr size_t lanes = 4;
  float n[lanes];

  static V zero() { return all(0.0f); }
  static V all(float value) { return {{value, value, value, value}}; }
  static V load(const float* from) { return {{from[0], from[1], from[2], from[3]}}; }
  template <class Half>
  static V load(const Half* from) {
    return {{widen_half(from[0].bits), widen_half(from[1].bits), widen_half(from[2].bits), widen_half(from[3].bits)}};
  }
  static V load(const signed char* from) {
    return {{static_cast<float>(from[0]), static_cast<float>(from[1]), static_cast<float>(from[2]),
             static_cast<float>(from[3])}};
  }
  static void store(float* to, V value) { std::memcpy(to, value.n, sizeof value.n); }
  static V fma(V a, V b, V c) {
    V found;
    for (size_t i = 0; i < lanes; ++i) found.n[i] = a.n[i] * b.n[i] + c.n[i];
    return found;
  }
  static V add(V a, V b) { return {{a.n[0] + b.n[0], a.n[1] + b.n[1], a.n[2] + b.n[2], a.n[3] + b.n[3]}}; }
  static V subtract(V a, V b) { return {{a.n[0] - b.n[0], a.n[1] - b.n[1], a.n[2] - b.n[2], a.n[3] - b.n[3]}}; }
  static V multiply(V a, V b) { return {{a.n[0] * b.n[0], a.n[1] * b.n[1], a.n[2] * b.n[2], a.n[3] * b.n[3]}}; }
  static V largest(V a, V b) {
    for (size_t i = 0; i < lanes; ++i) a.n[i] = a.n[i] > b.n[i] ? a.n[i] : b.n[i];
    return a;
  }
  // `a` where `x` is not below `least`, else 0.
  static V keep(V a, V x, float least) {
    for (size_t i = 0; i < lanes; ++i) a.n[i] = x.n[i] < least ? 0.0f : a.n[i];
    return a;
  }
  // The lowest bits as an exponent with its bias.
  static V power(V a) {
    unsigned bits[lanes];
    std::memcpy(bits, a.n, sizeof bits);
    for (unsigned& one : bits) one <<= 23;
    std::memcpy(a.n, bits, sizeof bits);
    return a;
  }
  static V divide(V a, V b) { return {{a.n[0] / b.n[0], a.n[1] / b.n[1], a.n[2] / b.n[2], a.n[3] / b.n[3]}}; }
  static V limit(V a, float most) {
    for (float& value : a.n) value = value > most ? most : value < -most ? -most : value;
    return a;
  }
  template <int N>
  static void sum(const V (&sums)[N], float* to) {
    for (int i = 0; i < N; ++i) to[i] = (sums[i].n[0] + sums[i].n[1]) + (sums[i].n[2] + sums[i].n[3]);
  }
};

}  // namespace
}  // namespace edgelora::ops
