// The delta of a few tokens in steps, for an operator whose own work the same threads do.
//
// LowRank, spans, x -> panels of x A, one at a time and in any order; then y += h B for some columns.
#pragma once

#include <atomic>
#include <cstddef>
#include <vector>

#include "low_rank.hpp"

namespace edgelora::ops {

class Steps {
 public:
  // x (rows, tokens, in_features), bias (out_features) or null, which no gain multiplies; all have to outlive the steps.
  Steps(const LowRank& low_rank, const std::vector<Span>& spans, const float* x, size_t tokens, const float* bias);

  // Whether columns can be cut at every multiple of `lane`: each part begins at one.
  static bool can_cut(const Layout& layout);

  // Computes panels that no thread has begun, until there is none.
  void work();

  // Waits for the panels that other threads have begun; each has been begun once `work` has returned.
  void wait() const;

  // Adds to y (rows, tokens, out_features) what belongs in columns `first`, a multiple of `lane`, to `last`, which is
  // another one or the end.
  void up(float* y, size_t first, size_t last) const;

 private:
  struct Job {
    const Piece* piece;
    size_t token, tokens;  // the first of the rows' tokens, and how many
    size_t panels;
    size_t h, scaled;  // where its numbers begin in `memory_`: (tokens, ranks of A); for each part (tokens, rank)
  };

  void down(size_t index);

  const LowRank* low_rank_;
  const std::vector<Span>* spans_;
  const float* x_;
  const float* bias_;
  size_t tokens_;
  std::vector<Job> jobs_;
  std::vector<float> memory_;
  size_t panels_ = 0;
  std::atomic<size_t> begun_{0}, done_{0};
};

}  // namespace edgelora::ops
