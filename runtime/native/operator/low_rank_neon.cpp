// The two products with NEON, as every aarch64 has it.
#include <cstddef>

#include "vector_neon.hpp"

namespace edgelora::ops {
namespace {

struct Tiles {
  static constexpr bool pairs_tokens = true;
  static constexpr int up_tokens = 4;
  static constexpr int up_lanes = 1;
  static constexpr size_t held = 8;  // factors that stay in registers
};

}  // namespace
}  // namespace edgelora::ops

#include "low_rank_kernels.hpp"

namespace edgelora::ops {
const Path neon_path{"neon", down, up, scale, gelu};
}  // namespace edgelora::ops
