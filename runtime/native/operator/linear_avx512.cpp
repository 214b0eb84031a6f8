// The linear with AVX-512 and VNNI: bytes without a sign meet bytes with one, four to a lane.
#if defined(__AVX512VNNI__)
#include <immintrin.h>

#include "linear_table.hpp"

namespace edgelora::ops::in_place {
namespace {

struct Avx512 {
  static constexpr int lanes = 16, groups = 2, tokens_at_once = 6, least_tiled = 3;
  template <int bits>
  static constexpr int base = 0;
  template <int bits>
  static constexpr int quads_in_sums = 0;
  static constexpr bool is_packed = true;  // parting codes takes less than storing and loading them

  using Floats = __m512;
  using Sums = __m512i;
  using Bytes = __m512i;
  using Place = __m512i;

  static __mmask16 first(int n) { return static_cast<__mmask16>((1u << n) - 1); }
  static Floats floats(float x) { return _mm512_set1_ps(x); }
  static Floats load(const float* p) { return _mm512_loadu_ps(p); }
  static Floats load(const float* p, int n) { return _mm512_maskz_loadu_ps(first(n), p); }
  static Floats halves(const uint16_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
  static Floats halves(const uint16_t* p, int n) { return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first(n), p)); }
  template <int bits>
  static Floats zeros(const uint8_t* p, int n) {
    const __m128i raw = _mm_maskz_loadu_epi8(first((n * bits + 7) / 8), p);
    if constexpr (bits == 8) return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(raw));
    const __m128i mask = _mm_set1_epi8(static_cast<char>((1 << bits) - 1));
    __m128i each = raw;
    if constexpr (bits == 2) each = _mm_unpacklo_epi8(raw, _mm_srli_epi16(raw, 4));  // bytes with two points below bit 4
    const __m128i low = _mm_and_si128(each, mask), high = _mm_and_si128(_mm_srli_epi16(each, bits), mask);
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_unpacklo_epi8(low, high)));
  }
  static void store(float* p, Floats a) { _mm512_storeu_ps(p, a); }
  static Floats times(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
  static Floats plus_times(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(b, c, a); }
  static Floats minus_times(Floats a, Floats b, Floats c) { return _mm512_fnmadd_ps(b, c, a); }
  template <int bits>
  static Floats to_floats(Sums a) { return _mm512_cvtepi32_ps(a); }
  static Place place(const int32_t* p) { return _mm512_loadu_si512(p); }

  static float largest(const float* x, int n) {
    __m512i most = _mm512_setzero_si512();  // compared as integers, where what is no number is the largest
    for (int i = 0; i < n; i += lanes) most = _mm512_max_epi32(most, _mm512_castps_si512(_mm512_abs_ps(load(x + i))));
    return as_float(static_cast<uint32_t>(_mm512_reduce_max_epi32(most)));
  }
  static int round(const float* x, int n, float inverse, int8_t* q) {
    __m512i total = _mm512_setzero_si512();
    for (int i = 0; i < n; i += lanes) {
      const __m512i value = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + i), _mm512_set1_ps(inverse)));
      total = _mm512_add_epi32(total, value);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(q + i), _mm512_cvtepi32_epi8(value));
    }
    return _mm512_reduce_add_epi32(total);
  }
  static void arrange(const int8_t* q, const uint8_t* order, int flip, int8_t* out) {
    const __m128i all = _mm_loadu_si128(reinterpret_cast<const __m128i*>(q));
    const __m128i turned = _mm_shuffle_epi8(all, _mm_loadu_si128(reinterpret_cast<const __m128i*>(order)));
    const __m128i flips = _mm_set1_epi8(static_cast<char>(flip));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_xor_si128(turned, flips));
  }

  template <int bits>
  static Bytes codes_of(Bytes a, int plane) {
    if constexpr (bits == 8) return a;
    return _mm512_and_si512(_mm512_srli_epi16(a, static_cast<unsigned>(plane * bits)), _mm512_set1_epi8(static_cast<char>((1 << bits) - 1)));
  }
  template <int bits>
  static void dot_row(Bytes codes, const Bytes* x, Place place, Floats scale, Floats& sum) {
    __m512i dot = _mm512_setzero_si512();
    for (int p = 0; p < 8 / bits; ++p) {
      dot = _mm512_dpbusd_epi32(dot, codes_of<bits>(codes, p), x[p]);
    }
    sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), _mm512_permutexvar_ps(place, scale), sum);
  }
  static void add_up(const Floats (&sum)[4], float* y) {  // turned as they are added: two lanes of each row, then one
    const __m512 a = _mm512_add_ps(_mm512_unpacklo_ps(sum[0], sum[1]), _mm512_unpackhi_ps(sum[0], sum[1]));
    const __m512 b = _mm512_add_ps(_mm512_unpacklo_ps(sum[2], sum[3]), _mm512_unpackhi_ps(sum[2], sum[3]));
    const __m512 all = _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xee));
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
    _mm_storeu_ps(y, _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
  }

  // The first columns are taken as rows, those behind them may be: quarters of vectors are loaded where they belong, then
  // pairs and fours change places.
  template <class Take>
  static void turn(const uint8_t* const (&from)[lanes], int count, const Take& take) {
    const auto quarter = [](const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); };
    for (int i = 0; i < count; i += 4) {
      __m512i v[4];
      for (int l = 0; l < 4; ++l) {
        v[l] = _mm512_castsi128_si512(quarter(from[l] + 4 * i));
        v[l] = _mm512_mask_broadcast_i32x4(v[l], 0x00f0, quarter(from[l + 4] + 4 * i));
        v[l] = _mm512_mask_broadcast_i32x4(v[l], 0x0f00, quarter(from[l + 8] + 4 * i));
        v[l] = _mm512_mask_broadcast_i32x4(v[l], 0xf000, quarter(from[l + 12] + 4 * i));
      }
      const __m512i a = _mm512_unpacklo_epi32(v[0], v[1]), b = _mm512_unpacklo_epi32(v[2], v[3]);
      const __m512i c = _mm512_unpackhi_epi32(v[0], v[1]), d = _mm512_unpackhi_epi32(v[2], v[3]);
      take(i, _mm512_unpacklo_epi64(a, b));
      take(i + 1, _mm512_unpackhi_epi64(a, b));
      take(i + 2, _mm512_unpacklo_epi64(c, d));
      take(i + 3, _mm512_unpackhi_epi64(c, d));
    }
  }
  static Floats floats_in(Bytes a) { return _mm512_castsi512_ps(a); }
  template <int bits>
  static Floats points(const uint32_t* words, int shift) {
    const __m512i shifted = _mm512_srl_epi32(_mm512_loadu_si512(words), _mm_cvtsi32_si128(shift));
    return _mm512_cvtepi32_ps(_mm512_and_si512(shifted, _mm512_set1_epi32((1 << bits) - 1)));
  }
  static Bytes load_codes(const uint8_t* p) { return _mm512_loadu_si512(p); }
  static Bytes load_codes(const uint8_t* p, int n) { return _mm512_maskz_loadu_epi8((__mmask64{1} << n) - 1, p); }
  static Bytes load_bytes(const int8_t* p) { return _mm512_loadu_si512(p); }
  static void store_bytes(int8_t* p, Bytes a) { _mm512_storeu_si512(p, a); }
  static Sums no_sums() { return _mm512_setzero_si512(); }
  static Sums sums(const int32_t* p) { return _mm512_set1_epi32(*p); }
  static Bytes repeat(const int8_t* p) {
    int32_t quad;
    std::memcpy(&quad, p, 4);
    return _mm512_set1_epi32(quad);
  }
  template <int bits>
  static Sums dot_tile(Sums a, Bytes x, Bytes w) {
    return _mm512_dpbusd_epi32(a, w, x);
  }
};

}  // namespace

const Path linear_avx512 = path<Avx512>("avx512");

}  // namespace edgelora::ops::in_place
#endif
