// Attention in plain C++, for processors that no other file knows.
#include <cstddef>

#include "vector_plain.hpp"

namespace edgelora::ops {
namespace {

struct Tiles {
  static constexpr int keys = 2;
  static constexpr int row_vectors = 2;
  static constexpr int columns = 2;  // vectors of them
};

}  // namespace
}  // namespace edgelora::ops

#include "attention_kernels.hpp"

namespace edgelora::ops {
const AttentionPath attention_plain{"plain", attend};
}  // namespace edgelora::ops
