// The two products with NEON, as every aarch64 has it.
#include <arm_neon.h>

#include "low_rank_path.hpp"

namespace edgelora::ops {
namespace {

struct V {
  static constexpr size_t lanes = 4;
  static constexpr bool pairs_tokens = true;
  static constexpr int up_tokens = 4;
  static constexpr int up_lanes = 1;
  static constexpr size_t held = 8;  // factors that stay in registers
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

#include "low_rank_kernels.hpp"

namespace edgelora::ops {
const Path neon_path{"neon", down, up, scale, gelu};
}  // namespace edgelora::ops
