// The two products with AVX-512.
#include <cstddef>

#include "vector_avx512.hpp"

namespace edgelora::ops {
namespace {

struct Tiles {
  static constexpr bool pairs_tokens = true;
  static constexpr int up_tokens = 8;
  static constexpr int up_lanes = 2;
  static constexpr size_t held = 16;  // factors that stay in registers
};

}  // namespace
}  // namespace edgelora::ops

#include "low_rank_kernels.hpp"

namespace edgelora::ops {
const Path avx512_path{"avx512", down, up, scale, gelu};
}  // namespace edgelora::ops
