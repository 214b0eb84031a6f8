// Eight floats with AVX2, FMA and F16C.
//
// A vector type `V` for the kernels of one instruction set; nothing of it is seen outside of the file that includes it.
#pragma once

#include <immintrin.h>

#include <cstddef>

namespace edgelora::ops {
namespace {

struct V {
  static constexpr size_t lanes = 8;
  __m256 n;

  static V zero() { return {_mm256_setzero_ps()}; }
  static V all(float value) { return {_mm256_set1_ps(value)}; }
  static V load(const float* from) { return {_mm256_loadu_ps(from)}; }
  template <class Half>
  static V load(const Half* from) {
    return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)))};
  }
  static V load(const signed char* from) {
    return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))))};
  }
  static void store(float* to, V value) { _mm256_storeu_ps(to, value.n); }
  static V fma(V a, V b, V c) { return {_mm256_fmadd_ps(a.n, b.n, c.n)}; }
  static V add(V a, V b) { return {_mm256_add_ps(a.n, b.n)}; }
  static V subtract(V a, V b) { return {_mm256_sub_ps(a.n, b.n)}; }
  static V multiply(V a, V b) { return {_mm256_mul_ps(a.n, b.n)}; }
  static V largest(V a, V b) { return {_mm256_max_ps(a.n, b.n)}; }
  // `a` where `x` is not below `least`, else 0.
  static V keep(V a, V x, float least) {
    return {_mm256_and_ps(a.n, _mm256_cmp_ps(x.n, _mm256_set1_ps(least), _CMP_NLT_UQ))};
  }
  // The lowest bits as an exponent with its bias.
  static V power(V a) { return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(a.n), 23))}; }
  static V divide(V a, V b) { return {_mm256_div_ps(a.n, b.n)}; }
  // NaN stays what it is: both instructions give their second operand then.
  static V limit(V a, float most) {
    return {_mm256_max_ps(_mm256_set1_ps(-most), _mm256_min_ps(_mm256_set1_ps(most), a.n))};
  }
  template <int N>
  static void sum(const V (&sums)[N], float* to) {
    __m256 v[8];
    for (int i = 0; i < 8; ++i) v[i] = i < N ? sums[i < N ? i : 0].n : _mm256_setzero_ps();
    const __m256 low = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
    const __m256 high = _mm256_hadd_ps(_mm256_hadd_ps(v[4], v[5]), _mm256_hadd_ps(v[6], v[7]));
    const __m256 all =
        _mm256_add_ps(_mm256_permute2f128_ps(low, high, 0x20), _mm256_permute2f128_ps(low, high, 0x31));
    if (N == 8) return _mm256_storeu_ps(to, all);
    float found[8];
    _mm256_storeu_ps(found, all);
    for (int i = 0; i < N; ++i) to[i] = found[i];
  }
};

}  // namespace
}  // namespace edgelora::ops
