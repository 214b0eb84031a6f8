#include "sha256_blocks.hpp"

#if defined(__GNUC__) && defined(__x86_64__)
#define EDGELORA_SHA256_X86
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__GNUC__) && defined(__aarch64__) && (defined(__linux__) || defined(__APPLE__))
#define EDGELORA_SHA256_ARM
#include <arm_neon.h>
#if defined(__linux__)
#include <sys/auxv.h>
#endif
#endif

namespace edgelora {

#if defined(EDGELORA_SHA256_X86)
namespace {

// The instructions want the words as (a, b, e, f) and (c, d, g, h), the first of each in the highest place.
__attribute__((target("sha,sse4.1"))) void take_blocks(std::uint32_t* state, const unsigned char* data,
                                                       std::size_t n_blocks) {
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);  // bytes of each word
    auto* words = reinterpret_cast<__m128i*>(state);
    const __m128i cdab = _mm_shuffle_epi32(_mm_loadu_si128(words), 0xb1);
    const __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128(words + 1), 0x1b);
    __m128i abef = _mm_alignr_epi8(cdab, efgh, 8);
    __m128i cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);
    for (; n_blocks > 0; n_blocks--, data += 64) {
        const __m128i first = abef, second = cdgh;
        __m128i w[4];
        for (int index = 0; index < 4; index++) {
            w[index] = _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(data) + index), swap);
        }
#pragma GCC unroll 16
        for (int index = 0; index < 16; index++) {
            const auto* round = reinterpret_cast<const __m128i*>(kSha256Round) + index;
            const __m128i sum = _mm_add_epi32(w[index % 4], _mm_loadu_si128(round));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0e));
            if (index >= 12) continue;
            const __m128i last = w[(index + 3) % 4];
            const __m128i mixed = _mm_sha256msg1_epu32(w[index % 4], w[(index + 1) % 4]);
            const __m128i moved = _mm_alignr_epi8(last, w[(index + 2) % 4], 4);
            w[index % 4] = _mm_sha256msg2_epu32(_mm_add_epi32(mixed, moved), last);
        }
        abef = _mm_add_epi32(abef, first);
        cdgh = _mm_add_epi32(cdgh, second);
    }
    const __m128i feba = _mm_shuffle_epi32(abef, 0x1b);
    const __m128i dchg = _mm_shuffle_epi32(cdgh, 0xb1);
    _mm_storeu_si128(words, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128(words + 1, _mm_alignr_epi8(dchg, feba, 8));
}

bool has_instructions() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    constexpr unsigned sha = 1u << 29, sse41 = 1u << 19, ssse3 = 1u << 9;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (b & sha) == 0) return false;
    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & sse41) != 0 && (c & ssse3) != 0;
}

}  // namespace
#elif defined(EDGELORA_SHA256_ARM)
namespace {

#if defined(__clang__)
#define EDGELORA_SHA256_TARGET __attribute__((target("sha2")))
#else
#define EDGELORA_SHA256_TARGET __attribute__((target("+crypto")))
#endif

EDGELORA_SHA256_TARGET void take_blocks(std::uint32_t* state, const unsigned char* data, std::size_t n_blocks) {
    uint32x4_t abcd = vld1q_u32(state), efgh = vld1q_u32(state + 4);
    for (; n_blocks > 0; n_blocks--, data += 64) {
        const uint32x4_t first = abcd, second = efgh;
        uint32x4_t w[4];
        for (int index = 0; index < 4; index++) {
            w[index] = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(data + 16 * index)));
        }
#pragma GCC unroll 16
        for (int index = 0; index < 16; index++) {
            const uint32x4_t sum = vaddq_u32(w[index % 4], vld1q_u32(kSha256Round + 4 * index));
            const uint32x4_t before = abcd;
            abcd = vsha256hq_u32(abcd, efgh, sum);
            efgh = vsha256h2q_u32(efgh, before, sum);
            if (index >= 12) continue;
            const uint32x4_t mixed = vsha256su0q_u32(w[index % 4], w[(index + 1) % 4]);
            w[index % 4] = vsha256su1q_u32(mixed, w[(index + 2) % 4], w[(index + 3) % 4]);
        }
        abcd = vaddq_u32(abcd, first);
        efgh = vaddq_u32(efgh, second);
    }
    vst1q_u32(state, abcd);
    vst1q_u32(state + 4, efgh);
}

bool has_instructions() {
#if defined(__linux__)
    constexpr unsigned long sha2 = 1ul << 6;  // HWCAP_SHA2
    return (getauxval(AT_HWCAP) & sha2) != 0;
#else
    return true;
#endif
}

}  // namespace
#endif

TakeBlocks find_sha256_instructions() {
#if defined(EDGELORA_SHA256_X86) || defined(EDGELORA_SHA256_ARM)
    return has_instructions() ? take_blocks : nullptr;
#else
    return nullptr;
#endif
}

}  // namespace edgelora
