// Four floats with NEON, as every aarch64 has it.
//
// A vector type `V` for the kernels of one instruction set; nothing of it is seen outside of the file that includes it.
#pragma once

#include <arm_neon.h>

#include <cstddef>

namespace edgelora::ops {
namespace {

struct V {
  static constexpr size_t lanes = 4;
  float32x4_t n;

  static V zero() { return {vdupq_n_f32(0.0f)}; }
  static V all(float value) { return {vdupq_n_f32(value)}; }
  static V load(const float* from) { return {vld1q_f32(from)}; }
  template <class Half>
  static V load(const Half* from) {
    return {vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(reinterpret_cast<const unsigned short*>(from))))};
  }
  static V load(const signed char* from) {
    unsigned int four;
    __builtin_memcpy(&four, from, sizeof four);
    const int8x8_t codes = vreinterpret_s8_u32(vdup_n_u32(four));
    return {vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(codes))))};
  }
  static void store(float* to, V value) { vst1q_f32(to, value.n); }
  static V fma(V a, V b, V c) { return {vfmaq_f32(c.n, a.n, b.n)}; }
  static V add(V a, V b) { return {vaddq_f32(a.n, b.n)}; }
  static V subtract(V a, V b) { return {vsubq_f32(a.n, b.n)}; }
  static V multiply(V a, V b) { return {vmulq_f32(a.n, b.n)}; }
  static V largest(V a, V b) { return {vmaxq_f32(a.n, b.n)}; }
  // `a` where `x` is not below `least`, else 0.
  static V keep(V a, V x, float least) {
    return {vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(a.n), vcltq_f32(x.n, vdupq_n_f32(least))))};
  }
  // The lowest bits as an exponent with its bias.
  static V power(V a) { return {vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(a.n), 23))}; }
  static V divide(V a, V b) { return {vdivq_f32(a.n, b.n)}; }
  static V limit(V a, float most) {
    return {vmaxq_f32(vdupq_n_f32(-most), vminq_f32(vdupq_n_f32(most), a.n))};
  }
  template <int N>
  static void sum(const V (&sums)[N], float* to) {
    for (int i = 0; i < N; ++i) to[i] = vaddvq_f32(sums[i].n);
  }
};

}  // namespace
}  // namespace edgelora::ops
