// What NEON does with and without its dot product of bytes; the file of each says how it multiplies.
//
// `Dot` has quads(sums, bytes, bytes) -> sums of four products a lane; see linear_block.hpp on names.
#pragma once

#include <arm_neon.h>

#include "linear_table.hpp"

namespace edgelora::ops::in_place {
namespace {

template <class Dot>
struct Neon {
  static constexpr int lanes = 4, groups = 4, tokens_at_once = 3, least_tiled = 5;
  template <int bits>
  static constexpr int base = bits == 8 ? 128 : 0;  // both sides of a product have a sign
  template <int bits>
  static constexpr int quads_in_sums = 0;
  static constexpr bool is_packed = false;

  using Floats = float32x4_t;
  using Sums = int32x4_t;
  using Bytes = int8x16_t;
  using Place = uint8x16_t;  // the bytes of the four floats

  static Floats floats(float x) { return vdupq_n_f32(x); }
  static Floats load(const float* p) { return vld1q_f32(p); }
  static Floats load(const float* p, int n) {
    float own[lanes] = {};
    std::memcpy(own, p, static_cast<size_t>(n) * 4);
    return vld1q_f32(own);
  }
  static Floats halves(const uint16_t* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
  static Floats halves(const uint16_t* p, int n) {
    uint16_t own[lanes] = {};
    std::memcpy(own, p, static_cast<size_t>(n) * 2);
    return halves(own);
  }
  template <int bits>
  static Floats zeros(const uint8_t* p, int n) {
    uint32_t raw = 0;
    if (n == lanes) {
      std::memcpy(&raw, p, bits * lanes / 8);
    } else {
      std::memcpy(&raw, p, static_cast<size_t>((n * bits + 7) / 8));
    }
    const int32x4_t shift = {0, -bits, -2 * bits, -3 * bits};
    const uint32x4_t each = vandq_u32(vshlq_u32(vdupq_n_u32(raw), shift), vdupq_n_u32((1u << bits) - 1));
    return vcvtq_f32_s32(vsubq_s32(vreinterpretq_s32_u32(each), vdupq_n_s32(base<bits>)));
  }
  static void store(float* p, Floats a) { vst1q_f32(p, a); }
  static Floats times(Floats a, Floats b) { return vmulq_f32(a, b); }
  static Floats plus_times(Floats a, Floats b, Floats c) { return vfmaq_f32(a, b, c); }
  static Floats minus_times(Floats a, Floats b, Floats c) { return vfmsq_f32(a, b, c); }
  template <int bits>
  static Floats to_floats(Sums a) { return vcvtq_f32_s32(a); }
  static Place place(const int32_t* p) {
    const uint32x4_t first = vmulq_n_u32(vreinterpretq_u32_s32(vld1q_s32(p)), 0x04040404u);
    return vreinterpretq_u8_u32(vaddq_u32(first, vdupq_n_u32(0x03020100u)));
  }
  static Floats choose(Floats a, Place place) {
    return vreinterpretq_f32_u8(vqtbl1q_u8(vreinterpretq_u8_f32(a), place));
  }

  static float largest(const float* x, int n) {
    Floats most = vdupq_n_f32(0.0f);
    for (int i = 0; i < n; i += lanes) most = vmaxq_f32(most, vabsq_f32(vld1q_f32(x + i)));
    return vmaxvq_f32(most);
  }
  static int round(const float* x, int n, float inverse, int8_t* q) {
    Sums total = vdupq_n_s32(0);
    for (int i = 0; i < n; i += 2 * lanes) {
      const Sums a = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + i), inverse));
      const Sums b = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + i + lanes), inverse));
      total = vaddq_s32(total, vaddq_s32(a, b));
      vst1_s8(q + i, vqmovn_s16(vcombine_s16(vqmovn_s32(a), vqmovn_s32(b))));
    }
    return vaddvq_s32(total);
  }
  static void arrange(const int8_t* q, const uint8_t* order, int flip, int8_t* out) {
    const int8x16_t turned = vqtbl1q_s8(vld1q_s8(q), vld1q_u8(order));
    vst1q_s8(out, veorq_s8(turned, vdupq_n_s8(static_cast<int8_t>(flip))));
  }

  template <int bits>
  static Bytes codes_of(Bytes a, int plane) {
    if constexpr (bits == 8) return a;
    const uint8x16_t down = vshlq_u8(vreinterpretq_u8_s8(a), vdupq_n_s8(static_cast<int8_t>(-plane * bits)));
    return vreinterpretq_s8_u8(vandq_u8(down, vdupq_n_u8((1 << bits) - 1)));
  }
  template <int bits>
  static void dot_row(Bytes codes, const Bytes* x, Place place, Floats scale, Floats& sum) {
    if constexpr (bits == 8) codes = less_128(codes);
    Sums dot = vdupq_n_s32(0);
    for (int p = 0; p < 8 / bits; ++p) dot = Dot::quads(dot, codes_of<bits>(codes, p), x[p]);
    sum = vfmaq_f32(sum, vcvtq_f32_s32(dot), choose(scale, place));
  }
  static void add_up(const Floats (&sum)[4], float* y) {
    vst1q_f32(y, vpaddq_f32(vpaddq_f32(sum[0], sum[1]), vpaddq_f32(sum[2], sum[3])));
  }

  // The first columns are taken as rows, those behind them may be.
  template <class Take>
  static void turn(const uint8_t* const (&from)[lanes], int, const Take& take) {
    Floats v[lanes];
    for (int i = 0; i < lanes; ++i) v[i] = vreinterpretq_f32_u8(vld1q_u8(from[i]));
    const float32x4_t a = vtrn1q_f32(v[0], v[1]), b = vtrn2q_f32(v[0], v[1]);
    const float32x4_t c = vtrn1q_f32(v[2], v[3]), d = vtrn2q_f32(v[2], v[3]);
    take(0, vreinterpretq_s8_f32(vcombine_f32(vget_low_f32(a), vget_low_f32(c))));
    take(1, vreinterpretq_s8_f32(vcombine_f32(vget_low_f32(b), vget_low_f32(d))));
    take(2, vreinterpretq_s8_f32(vcombine_f32(vget_high_f32(a), vget_high_f32(c))));
    take(3, vreinterpretq_s8_f32(vcombine_f32(vget_high_f32(b), vget_high_f32(d))));
  }
  static Floats floats_in(Bytes a) { return vreinterpretq_f32_s8(a); }
  template <int bits>
  static Floats points(const uint32_t* words, int shift) {
    const uint32x4_t each = vandq_u32(vshlq_u32(vld1q_u32(words), vdupq_n_s32(-shift)), vdupq_n_u32((1u << bits) - 1));
    return vcvtq_f32_s32(vsubq_s32(vreinterpretq_s32_u32(each), vdupq_n_s32(base<bits>)));
  }
  static Bytes load_codes(const uint8_t* p) { return vreinterpretq_s8_u8(vld1q_u8(p)); }
  static Bytes load_codes(const uint8_t* p, int n) {
    uint8_t own[4 * lanes] = {};
    std::memcpy(own, p, static_cast<size_t>(n));
    return load_codes(own);
  }
  static Bytes load_bytes(const int8_t* p) { return vld1q_s8(p); }
  static void store_bytes(int8_t* p, Bytes a) { vst1q_s8(p, a); }
  static Bytes less_128(Bytes a) { return veorq_s8(a, vdupq_n_s8(-128)); }
  static Sums no_sums() { return vdupq_n_s32(0); }
  static Sums sums(const int32_t* p) { return vld1q_dup_s32(p); }
  static Bytes repeat(const int8_t* p) {
    int32_t quad;
    std::memcpy(&quad, p, 4);
    return vreinterpretq_s8_s32(vdupq_n_s32(quad));
  }
  template <int bits>
  static Sums dot_tile(Sums a, Bytes x, Bytes w) {
    return Dot::quads(a, w, x);
  }
};

}  // namespace
}  // namespace edgelora::ops::in_place
