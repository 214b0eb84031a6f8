// The two products with AVX2, FMA and F16C.
#include <immintrin.h>

#include "low_rank_path.hpp"

namespace edgelora::ops {
namespace {

struct V {
  static constexpr size_t lanes = 8;
  static constexpr bool pairs_tokens = false;  // sixteen sums and what they are made of do not fit into the registers
  static constexpr int up_tokens = 4;
  static constexpr int up_lanes = 1;
  static constexpr size_t held = 8;  // factors that stay in registers
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

#include "low_rank_kernels.hpp"

namespace edgelora::ops {
const Path avx2_path{"avx2", down, up, scale, gelu};
}  // namespace edgelora::ops
