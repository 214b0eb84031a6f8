// The linear with AVX2: pairs of products in 16 bits, which must not overflow.
#if defined(__AVX2__)
#include <immintrin.h>

#include "linear_table.hpp"

namespace edgelora::ops::in_place {
namespace {

struct Avx2 {
  static constexpr int lanes = 8, groups = 2, tokens_at_once = 4, least_tiled = 3;
  template <int bits>
  static constexpr int base = bits == 8 ? 128 : 0;
  // Products of codes below 16 and bytes stay below 2 ** 15, eight pairs of them added up as well. Two products of 8 bits
  // do only where one side has its sign moved to the other, at most 128 * 127 * 2.
  template <int bits>
  static constexpr int quads_in_sums = bits == 8 ? 0 : 8;
  static constexpr bool is_packed = false;

  using Floats = __m256;
  using Sums = __m256i;
  using Bytes = __m256i;
  using Place = __m256i;

  static __m256i whole(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  static __m256i part(const void* p, int bytes) {
    alignas(32) uint8_t own[32] = {};
    std::memcpy(own, p, static_cast<size_t>(bytes));
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(own));
  }
  static Floats floats(float x) { return _mm256_set1_ps(x); }
  static Floats load(const float* p) { return _mm256_loadu_ps(p); }
  static Floats load(const float* p, int n) { return _mm256_castsi256_ps(part(p, 4 * n)); }
  static Floats halves(const uint16_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
  static Floats halves(const uint16_t* p, int n) { return _mm256_cvtph_ps(_mm256_castsi256_si128(part(p, 2 * n))); }
  template <int bits>
  static Floats zeros(const uint8_t* p, int n) {
    uint64_t raw = 0;
    if (n == lanes) {
      std::memcpy(&raw, p, bits);  // of eight points
    } else {
      std::memcpy(&raw, p, static_cast<size_t>((n * bits + 7) / 8));
    }
    const __m128i bytes = _mm_cvtsi64_si128(static_cast<int64_t>(raw));
    if constexpr (bits == 8) return _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_cvtepu8_epi32(bytes), _mm256_set1_epi32(128)));
    const __m256i each = _mm256_set1_epi32(static_cast<int32_t>(raw));
    const __m256i shift = _mm256_mullo_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(bits));
    return _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srlv_epi32(each, shift), _mm256_set1_epi32((1 << bits) - 1)));
  }
  static void store(float* p, Floats a) { _mm256_storeu_ps(p, a); }
  static Floats times(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
  static Floats plus_times(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(b, c, a); }
  static Floats minus_times(Floats a, Floats b, Floats c) { return _mm256_fnmadd_ps(b, c, a); }
  template <int bits>
  static Floats to_floats(Sums a) { return _mm256_cvtepi32_ps(quads_in_sums<bits> == 0 ? a : widen_pairs(a)); }
  static Place place(const int32_t* p) { return whole(p); }

  static float largest(const float* x, int n) {
    __m256i most = _mm256_setzero_si256();  // compared as integers, where what is no number is the largest
    const __m256 sign = _mm256_set1_ps(-0.0f);
    for (int i = 0; i < n; i += lanes) {
      most = _mm256_max_epi32(most, _mm256_castps_si256(_mm256_andnot_ps(sign, load(x + i))));
    }
    __m128i half = _mm_max_epi32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
    half = _mm_max_epi32(half, _mm_shuffle_epi32(half, 0x4e));
    return as_float(static_cast<uint32_t>(_mm_cvtsi128_si32(_mm_max_epi32(half, _mm_shuffle_epi32(half, 0xb1)))));
  }
  static int round(const float* x, int n, float inverse, int8_t* q) {
    __m256i total = _mm256_setzero_si256();
    for (int i = 0; i < n; i += 2 * lanes) {
      const __m256i a = _mm256_cvtps_epi32(_mm256_mul_ps(load(x + i), _mm256_set1_ps(inverse)));
      const __m256i b = _mm256_cvtps_epi32(_mm256_mul_ps(load(x + i + lanes), _mm256_set1_ps(inverse)));
      total = _mm256_add_epi32(total, _mm256_add_epi32(a, b));
      const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);  // in order again
      const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(q + i), bytes);
    }
    __m128i half = _mm_add_epi32(_mm256_castsi256_si128(total), _mm256_extracti128_si256(total, 1));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1)));
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
    return _mm256_and_si256(_mm256_srli_epi16(a, plane * bits), _mm256_set1_epi8(static_cast<char>((1 << bits) - 1)));
  }
  static __m256i signed_products(__m256i x, __m256i w) { return _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w)); }
  static __m256i widen_pairs(__m256i pairs) { return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)); }

  template <int bits>
  static void dot_row(Bytes codes, const Bytes* x, Place place, Floats scale, Floats& sum) {
    __m256i pairs;
    if constexpr (bits == 8) {
      pairs = signed_products(x[0], less_128(codes));
    } else {
      pairs = _mm256_maddubs_epi16(codes_of<bits>(codes, 0), x[0]);
      for (int p = 1; p < 8 / bits; ++p) {
        pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(codes_of<bits>(codes, p), x[p]));
      }
    }
    sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(widen_pairs(pairs)), _mm256_permutevar8x32_ps(scale, place), sum);
  }
  static void add_up(const Floats (&sum)[4], float* y) {
    const __m256 all = _mm256_hadd_ps(_mm256_hadd_ps(sum[0], sum[1]), _mm256_hadd_ps(sum[2], sum[3]));
    _mm_storeu_ps(y, _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1)));
  }

  // The first columns are taken as rows, those behind them may be: halves of vectors are loaded where they belong, then
  // pairs and fours change places.
  template <class Take>
  static void turn(const uint8_t* const (&from)[lanes], int count, const Take& take) {
    const auto half = [](const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); };
    for (int i = 0; i < count; i += 4) {
      __m256i v[4];
      for (int l = 0; l < 4; ++l) v[l] = _mm256_setr_m128i(half(from[l] + 4 * i), half(from[l + 4] + 4 * i));
      const __m256i a = _mm256_unpacklo_epi32(v[0], v[1]), b = _mm256_unpacklo_epi32(v[2], v[3]);
      const __m256i c = _mm256_unpackhi_epi32(v[0], v[1]), d = _mm256_unpackhi_epi32(v[2], v[3]);
      take(i, _mm256_unpacklo_epi64(a, b));
      take(i + 1, _mm256_unpackhi_epi64(a, b));
      take(i + 2, _mm256_unpacklo_epi64(c, d));
      take(i + 3, _mm256_unpackhi_epi64(c, d));
    }
  }
  static Floats floats_in(Bytes a) { return _mm256_castsi256_ps(a); }
  template <int bits>
  static Floats points(const uint32_t* words, int shift) {
    const __m256i shifted = _mm256_srl_epi32(whole(words), _mm_cvtsi32_si128(shift));
    const __m256i each = _mm256_and_si256(shifted, _mm256_set1_epi32((1 << bits) - 1));
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(each, _mm256_set1_epi32(base<bits>)));
  }
  static Bytes load_codes(const uint8_t* p) { return whole(p); }
  static Bytes load_codes(const uint8_t* p, int n) { return part(p, n); }
  static Bytes load_bytes(const int8_t* p) { return whole(p); }
  static void store_bytes(int8_t* p, Bytes a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a); }
  static Bytes less_128(Bytes a) { return _mm256_xor_si256(a, _mm256_set1_epi8(-128)); }
  static Sums no_sums() { return _mm256_setzero_si256(); }
  static Sums sums(const int32_t* p) { return _mm256_set1_epi32(*p); }
  static Bytes repeat(const int8_t* p) {
    int32_t quad;
    std::memcpy(&quad, p, 4);
    return _mm256_set1_epi32(quad);
  }
  template <int bits>
  static Sums dot_tile(Sums a, Bytes x, Bytes w) {
    if constexpr (bits == 8) return _mm256_add_epi32(a, widen_pairs(signed_products(x, w)));
    return _mm256_add_epi16(a, _mm256_maddubs_epi16(w, x));
  }
};

}  // namespace

const Path linear_avx2 = path<Avx2>("avx2");

}  // namespace edgelora::ops::in_place
#endif
