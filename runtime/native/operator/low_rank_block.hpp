// Where the factors of one adapter at one slot lie in memory; docs/format.md ("The fused graph") describes the bytes.
//
// Bytes of a packed adapter and an offset -> Block, every range of it checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace edgelora::ops {

enum class Kind : int32_t { float32 = 0, float16 = 1, int8 = 2 };

constexpr size_t lane = 16;   // input features, or output columns, that lie side by side for one rank
constexpr size_t panel = 8;   // ranks of A that are read together
constexpr size_t line = 64;   // bytes; every array of a block begins at such a step from the begin of the block

constexpr size_t lanes(size_t count) { return (count + lane - 1) / lane; }
constexpr size_t width_of(Kind kind) { return kind == Kind::float32 ? 4 : kind == Kind::float16 ? 2 : 1; }

// The linear that a slot stands beside: what goes in, and the columns of the modules that are packed side by side.
struct Layout {
  size_t in_features = 0;
  std::vector<size_t> columns;  // (n_parts + 1,) where each part begins, and where the last one ends

  size_t parts() const { return columns.size() - 1; }
  size_t out_features() const { return columns.back(); }
  size_t width(size_t part) const { return columns[part + 1] - columns[part]; }
};

constexpr size_t most_parts = 16;

struct Part {
  size_t start = 0;                // first rank of A that is this part's
  size_t rank = 0;
  const float* scales = nullptr;   // (rank,) what the product of A and x is multiplied with
  const unsigned char* b = nullptr;  // (lanes(width), rank, 16), of the block's kind
};

struct Block {
  Kind kind = Kind::float32;
  size_t rank = 0;                   // of A, all parts together
  const float* gains = nullptr;      // (out_features,) beside 1, what is added to is multiplied with; null for none
  const unsigned char* a = nullptr;  // panels of (lanes(in_features), 8 or fewer ranks, 16), of the block's kind
  Part parts[most_parts];
};

// Throws std::invalid_argument for a block that is no such thing or does not end within `size` bytes.
Block read_block(const unsigned char* bytes, size_t size, int64_t offset, const Layout& layout);

}  // namespace edgelora::ops
