// The two products with AVX2, FMA and F16C.
#include <cstddef>

#include "vector_avx2.hpp"

namespace edgelora::ops {
namespace {

struct Tiles {
  static constexpr bool pairs_tokens = false;  // sixteen sums and what they are made of do not fit into the registers
  static constexpr int up_tokens = 4;
  static constexpr int up_lanes = 1;
  static constexpr size_t held = 8;  // factors that stay in registers
};

}  // namespace
}  // namespace edgelora::ops

#include "low_rank_kernels.hpp"

namespace edgelora::ops {
const Path avx2_path{"avx2", down, up, scale, gelu};
}  // namespace edgelora::ops
