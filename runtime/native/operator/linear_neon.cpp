// The linear with NEON as every aarch64 processor has it: products of bytes in 16 bits.
#if defined(__aarch64__)
#include "linear_neon.hpp"

namespace edgelora::ops::in_place {
namespace {

struct Pairs {
  // At most 128 * 127 each, and two of them are added before they are widened.
  static int32x4_t quads(int32x4_t sums, int8x16_t a, int8x16_t b) {
    const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(a), vget_low_s8(b)));
    const int32x4_t high = vpaddlq_s16(vmull_high_s8(a, b));
    return vaddq_s32(sums, vpaddq_s32(low, high));
  }
};

}  // namespace

const Path linear_neon = path<Neon<Pairs>>("neon");

}  // namespace edgelora::ops::in_place
#endif
