// The two products in plain C++, for processors that no other file knows.
#include <cstddef>

#include "vector_plain.hpp"

namespace edgelora::ops {
namespace {

struct Tiles {
  static constexpr bool pairs_tokens = false;
  static constexpr int up_tokens = 2;
  static constexpr int up_lanes = 1;
  static constexpr size_t held = 4;  // factors that stay in registers
};

}  // namespace
}  // namespace edgelora::ops

#include "low_rank_kernels.hpp"

namespace edgelora::ops {
const Path plain_path{"plain", down, up, scale, gelu};
}  // namespace edgelora::ops
