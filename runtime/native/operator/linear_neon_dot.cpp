// The linear with NEON's dot product of bytes.
#if defined(__aarch64__)
#include "linear_neon.hpp"

namespace edgelora::ops::in_place {
namespace {

struct Dots {
  static int32x4_t quads(int32x4_t sums, int8x16_t a, int8x16_t b) { return vdotq_s32(sums, a, b); }
};

}  // namespace

const Path linear_neon_dot = path<Neon<Dots>>("neon_dot");

}  // namespace edgelora::ops::in_place
#endif
