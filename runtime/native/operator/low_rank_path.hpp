// The two products of a low-rank delta, one implementation for each instruction set, chosen when the library is loaded.
//
// x, A -> h; h, B, y -> y.
#pragma once

#include <cstddef>

#include "low_rank_block.hpp"

namespace edgelora::ops {

// h[t][r] = sum of x[t][k] a[r][k] over lanes `first` to `last` of the input features, for all ranks of A.
struct Down {
  const float* x;
  size_t x_stride, tokens, in_features;
  const unsigned char* a;
  Kind kind;
  size_t rank, first, last;
  float* h;
  size_t h_stride;
  float* wide;  // room for a panel as floats (panel * lane * lanes(in_features)), used for more than a few tokens
};

// y[t][n] = from[t][n] scales[t] + bias[n] + residual[t][n].
struct Scale {
  const float* from = nullptr;
  size_t from_stride = 0;
  float* y = nullptr;  // may be `from`
  size_t y_stride = 0, tokens = 0, columns = 0;
  const float* scales = nullptr;  // (tokens) or null: 1
  const float* bias = nullptr;    // (columns) or null: 0
  const float* residual = nullptr;  // (tokens, columns) or null: 0
  size_t residual_stride = 0;
};

// y[t][n] = gelu(y[t][n]), by the error function, which is meant where a model says no more than GELU.
struct Gelu {
  float* y;
  size_t y_stride, tokens, columns;
};

// y[t][n] += sum of h[t][r] b[r][n] over the ranks of one part, for lanes `first` to `last` of its columns. With `scale`,
// which is about the same tokens and columns, y is first what that makes of it.
struct Up {
  const float* h;
  size_t h_stride, tokens;
  const unsigned char* b;
  Kind kind;
  size_t rank, columns, first, last;
  float* y;  // the first column of the part
  size_t y_stride;
  float* wide;  // room for two lanes of B as floats (2 * rank * lane)
  const Scale* scale = nullptr;
};

struct Path {
  const char* name;
  void (*down)(const Down&);
  void (*up)(const Up&);
  void (*scale)(const Scale&);
  void (*gelu)(const Gelu&);
};

extern const Path plain_path;
#if defined(__x86_64__) || defined(__i386__)
extern const Path avx2_path, avx512_path;
#elif defined(__aarch64__)
extern const Path neon_path;
#endif

constexpr size_t widen_from = 4;  // tokens from which factors are turned into floats once for all of them

}  // namespace edgelora::ops
