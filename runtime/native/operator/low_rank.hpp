// The low-rank delta of a batch: each row with adapters of its own, at their own ranks.
//
// Layout, packed adapters, x (rows, tokens, in_features), y (rows, tokens, out_features) -> y with the deltas added.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "low_rank_block.hpp"
#include "low_rank_path.hpp"
#include "ort_kernel.hpp"

namespace edgelora::ops {

// The adapters of a call, which every node of the graph shares.
struct Adapters {
  const unsigned char* bytes = nullptr;  // packed adapters
  size_t size = 0;
  const int64_t* blocks = nullptr;  // (rows, pieces, slots): where the block of a slot begins, negative for none
  const float* weights = nullptr;   // (rows, pieces)
  size_t rows = 0, pieces = 0, slots = 0;
};

// The inputs `factors` uint8 [bytes], `blocks` int64 [1 or rows, pieces, slots] and `weights` float [1 or rows, pieces].
// Throws std::invalid_argument where they do not belong together.
Adapters read_adapters(const Tensor& factors, const Tensor& blocks, const Tensor& weights);

// The fastest path that this processor has, or the one of that name; throws std::invalid_argument for another name.
const Path& find_path(const std::string& name);

// The factors of one adapter at a slot, and what its delta is multiplied with.
struct Piece {
  Block block;
  float weight;
};

// Rows side by side with the same adapters: the tokens of all of them go through the factors together.
struct Span {
  size_t row, count;
  std::vector<Piece> pieces;
  size_t products;  // of one token
  std::vector<float> gains = {};  // (out_features,) of all pieces, times their weights; empty where none has any
};

// What `scale` makes of its tokens and columns, but that a product is first multiplied with 1 and the column's gain.
void scale_with_gains(const Scale& scale, const float* gains);


class LowRank {
 public:
  LowRank(Layout layout, size_t slot, const Path& path, bool gelu);  // gelu: of what comes out

  const Layout& layout() const { return layout_; }
  const Path& path() const { return *path_; }

  // The rows of which some adapter changes something; throws std::invalid_argument for adapters that are no such thing.
  std::vector<Span> spans(const Adapters& adapters, size_t rows) const;

  // Adds in place. `bias`, (out_features,) or null, is in y already, and no gain multiplies it.
  void add(const Call& call, const std::vector<Span>& spans, const float* x, float* y, size_t tokens,
           const float* bias = nullptr) const;

  // The same to what `scale` makes of all rows' tokens. With `parts`, one for each part of the columns and as wide as
  // it, they are where that goes, not `scale.y`.
  void scale_and_add(const Call& call, const std::vector<Span>& spans, const float* x, const Scale& scale, size_t tokens,
                     const std::vector<float*>& parts = {}) const;

 private:
  // What stands before anything is added, for the columns of each part.
  void begin(const std::vector<Scale>& columns, const Span& span, size_t token, size_t tokens) const;
  void finish(const std::vector<Scale>& columns, size_t token, size_t tokens) const;

  Layout layout_;
  size_t slot_;
  const Path* path_;
  bool gelu_;
};

}  // namespace edgelora::ops
