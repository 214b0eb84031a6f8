// Sixteen floats with AVX-512.
//
// A vector type `V` for the kernels of one instruction set; nothing of it is seen outside of the file that includes it.
#pragma once

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC 12 takes what its own header leaves undefined for a fault here
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include <cstddef>

namespace edgelora::ops {
namespace {

struct V {
  static constexpr size_t lanes = 16;
  __m512 n;

  static V zero() { return {_mm512_setzero_ps()}; }
  static V all(float value) { return {_mm512_set1_ps(value)}; }
  static V load(const float* from) { return {_mm512_loadu_ps(from)}; }
  template <class Half>
  static V load(const Half* from) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)))};
  }
  static V load(const signed char* from) {
    return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))))};
  }
  static void store(float* to, V value) { _mm512_storeu_ps(to, value.n); }
  static V fma(V a, V b, V c) { return {_mm512_fmadd_ps(a.n, b.n, c.n)}; }
  static V add(V a, V b) { return {_mm512_add_ps(a.n, b.n)}; }
  static V subtract(V a, V b) { return {_mm512_sub_ps(a.n, b.n)}; }
  static V multiply(V a, V b) { return {_mm512_mul_ps(a.n, b.n)}; }
  static V largest(V a, V b) { return {_mm512_max_ps(a.n, b.n)}; }
  // `a` where `x` is not below `least`, else 0.
  static V keep(V a, V x, float least) {
    return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x.n, _mm512_set1_ps(least), _CMP_NLT_UQ), a.n)};
  }
  // The lowest bits as an exponent with its bias.
  static V power(V a) { return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(a.n), 23))}; }
  static V divide(V a, V b) { return {_mm512_div_ps(a.n, b.n)}; }
  // NaN stays what it is: both instructions give their second operand then.
  static V limit(V a, float most) {
    return {_mm512_max_ps(_mm512_set1_ps(-most), _mm512_min_ps(_mm512_set1_ps(most), a.n))};
  }
  template <int N>
  static void sum(const V (&sums)[N], float* to) {
    __m256 v[8];
    for (int i = 0; i < 8; ++i) v[i] = i < N ? halve(sums[i < N ? i : 0].n) : _mm256_setzero_ps();
    const __m256 low = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
    const __m256 high = _mm256_hadd_ps(_mm256_hadd_ps(v[4], v[5]), _mm256_hadd_ps(v[6], v[7]));
    const __m256 all =
        _mm256_add_ps(_mm256_permute2f128_ps(low, high, 0x20), _mm256_permute2f128_ps(low, high, 0x31));
    _mm256_mask_storeu_ps(to, static_cast<__mmask8>((1u << N) - 1), all);
  }
  static __m256 halve(__m512 value) {
    return _mm256_add_ps(_mm512_castps512_ps256(value), _mm512_extractf32x8_ps(value, 1));
  }
};

}  // namespace
}  // namespace edgelora::ops
