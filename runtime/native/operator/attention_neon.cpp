// Attention with NEON, as every aarch64 has it.
#include <cstddef>

#include "vector_neon.hpp"

namespace edgelora::ops {
namespace {

struct Tiles {
  static constexpr int keys = 4;
  static constexpr int row_vectors = 4;
  static constexpr int columns = 4;  // vectors of them
};

}  // namespace
}  // namespace edgelora::ops

#include "attention_kernels.hpp"

namespace edgelora::ops {
const AttentionPath attention_neon{"neon", attend};
}  // namespace edgelora::ops
