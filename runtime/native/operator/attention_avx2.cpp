// Attention with AVX2, FMA and F16C.
#include <cstddef>

#include "vector_avx2.hpp"

namespace edgelora::ops {
namespace {

struct Tiles {
  static constexpr int keys = 4;
  static constexpr int row_vectors = 3;
  static constexpr int columns = 2;  // vectors of them
};

}  // namespace
}  // namespace edgelora::ops

#include "attention_kernels.hpp"

namespace edgelora::ops {
const AttentionPath attention_avx2{"avx2", attend};
}  // namespace edgelora::ops
