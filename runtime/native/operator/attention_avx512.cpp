// Attention with AVX-512.
#include <cstddef>

#include "vector_avx512.hpp"

namespace edgelora::ops {
namespace {

struct Tiles {
  static constexpr int keys = 8;
  static constexpr int row_vectors = 3;
  static constexpr int columns = 2;  // vectors of them
};

}  // namespace
}  // namespace edgelora::ops

#include "attention_kernels.hpp"

namespace edgelora::ops {
const AttentionPath attention_avx512{"avx512", attend};
}  // namespace edgelora::ops
