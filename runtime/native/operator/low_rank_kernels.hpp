// The two products over a vector type `V`: included by one file for each instruction set, which defines V.
//
// Nothing of the standard library is used and all is static: what is compiled here for one instruction set must not be
// what the linker chooses for another file.
#pragma once

#include "low_rank_path.hpp"

namespace edgelora::ops {
namespace {

constexpr size_t n_vectors = lane / V::lanes;  // in a lane

struct Half {
  unsigned short bits;
};

// One token, `N` ranks of a panel.
template <class T, int N>
void down_one(const float* x, const float* tail, size_t first, size_t last, size_t whole, const T* a, size_t ranks,
              float* h) {
  V sums[N];
  for (int r = 0; r < N; ++r) sums[r] = V::zero();
  for (size_t k = first; k < last; ++k) {
    const float* from = k < whole ? x + lane * k : tail;
    const T* codes = a + lane * ranks * k;
    for (size_t v = 0; v < n_vectors; ++v) {
      const V value = V::load(from + V::lanes * v);
      for (int r = 0; r < N; ++r) {
        sums[r] = V::fma(value, V::load(codes + lane * static_cast<size_t>(r) + V::lanes * v), sums[r]);
      }
    }
  }
  V::template sum<N>(sums, h);
}

template <class T>
void down_ranks(const float* x, const float* tail, size_t first, size_t last, size_t whole, const T* a, size_t ranks,
                float* h) {
  switch (ranks) {
    case 8: return down_one<T, 8>(x, tail, first, last, whole, a, ranks, h);
    case 7: return down_one<T, 7>(x, tail, first, last, whole, a, ranks, h);
    case 6: return down_one<T, 6>(x, tail, first, last, whole, a, ranks, h);
    case 5: return down_one<T, 5>(x, tail, first, last, whole, a, ranks, h);
    case 4: return down_one<T, 4>(x, tail, first, last, whole, a, ranks, h);
    case 3: return down_one<T, 3>(x, tail, first, last, whole, a, ranks, h);
    case 2: return down_one<T, 2>(x, tail, first, last, whole, a, ranks, h);
    default: return down_one<T, 1>(x, tail, first, last, whole, a, ranks, h);
  }
}

// Two tokens and eight ranks: each number of A is loaded once for both.
template <class T>
void down_two(const float* x, const float* other, size_t first, size_t last, const T* a, float* h, float* other_h) {
  V sums[panel], others[panel];
  for (size_t r = 0; r < panel; ++r) sums[r] = others[r] = V::zero();
  for (size_t k = first; k < last; ++k) {
    const T* codes = a + lane * panel * k;
    for (size_t v = 0; v < n_vectors; ++v) {
      const V value = V::load(x + lane * k + V::lanes * v), second = V::load(other + lane * k + V::lanes * v);
      for (size_t r = 0; r < panel; ++r) {
        const V code = V::load(codes + lane * r + V::lanes * v);
        sums[r] = V::fma(value, code, sums[r]);
        others[r] = V::fma(second, code, others[r]);
      }
    }
  }
  V::template sum<panel>(sums, h);
  V::template sum<panel>(others, other_h);
}

template <class T>
void widen(const T* from, size_t count, float* to) {
  for (size_t i = 0; i < count; i += V::lanes) V::store(to + i, V::load(from + i));
}

// All tokens against one panel.
template <class T>
void down_panel(const Down& job, const T* a, size_t ranks, size_t start) {
  const size_t whole = job.in_features / lane, left = job.in_features % lane;
  float* h = job.h + start;
  size_t t = 0;
  if (V::pairs_tokens && ranks == panel && job.last <= whole) {
    for (; t + 2 <= job.tokens; t += 2) {
      down_two(job.x + t * job.x_stride, job.x + (t + 1) * job.x_stride, job.first, job.last, a, h + t * job.h_stride,
               h + (t + 1) * job.h_stride);
    }
  }
  for (; t < job.tokens; ++t) {
    const float* x = job.x + t * job.x_stride;
    float tail[lane] = {};
    for (size_t i = 0; i < left; ++i) tail[i] = x[whole * lane + i];
    down_ranks(x, tail, job.first, job.last, whole, a, ranks, h + t * job.h_stride);
  }
}

template <class T>
void down_typed(const Down& job) {
  const size_t n_lanes = lanes(job.in_features);
  for (size_t start = 0; start < job.rank; start += panel) {
    const size_t ranks = job.rank - start < panel ? job.rank - start : panel;
    const T* a = reinterpret_cast<const T*>(job.a) + start * n_lanes * lane;
    if (sizeof(T) < sizeof(float) && job.tokens >= widen_from) {
      const size_t skipped = job.first * lane * ranks;
      widen(a + skipped, (job.last - job.first) * lane * ranks, job.wide + skipped);
      down_panel(job, job.wide, ranks, start);
    } else {
      down_panel(job, a, ranks, start);
    }
  }
}

// `N` tokens, one lane of columns.
template <class T, int N>
void up_tokens(const Up& job, const T* b, size_t t, size_t column) {
  V sums[N][n_vectors];
  for (int i = 0; i < N; ++i) {
    for (size_t v = 0; v < n_vectors; ++v) {
      sums[i][v] = V::load(job.y + (t + static_cast<size_t>(i)) * job.y_stride + column + V::lanes * v);
    }
  }
  for (size_t r = 0; r < job.rank; ++r) {
    for (size_t v = 0; v < n_vectors; ++v) {
      const V code = V::load(b + lane * r + V::lanes * v);
      for (int i = 0; i < N; ++i) {
        const V factor = V::all(job.h[(t + static_cast<size_t>(i)) * job.h_stride + r]);
        sums[i][v] = V::fma(factor, code, sums[i][v]);
      }
    }
  }
  for (int i = 0; i < N; ++i) {
    for (size_t v = 0; v < n_vectors; ++v) {
      V::store(job.y + (t + static_cast<size_t>(i)) * job.y_stride + column + V::lanes * v, sums[i][v]);
    }
  }
}

// One token: ranks by turns into two sums, so that none waits for the one before.
template <class T>
void up_one(const float* h, const T* b, size_t rank, float* y) {
  V sums[2][n_vectors];
  for (size_t v = 0; v < n_vectors; ++v) {
    sums[0][v] = V::load(y + V::lanes * v);
    sums[1][v] = V::zero();
  }
  size_t r = 0;
  for (; r + 4 <= rank; r += 4) {
    for (size_t i = 0; i < 4; ++i) {
      const V factor = V::all(h[r + i]);
      for (size_t v = 0; v < n_vectors; ++v) {
        sums[i % 2][v] = V::fma(factor, V::load(b + lane * (r + i) + V::lanes * v), sums[i % 2][v]);
      }
    }
  }
  for (; r < rank; ++r) {
    const V factor = V::all(h[r]);
    for (size_t v = 0; v < n_vectors; ++v) {
      sums[0][v] = V::fma(factor, V::load(b + lane * r + V::lanes * v), sums[0][v]);
    }
  }
  for (size_t v = 0; v < n_vectors; ++v) V::store(y + V::lanes * v, V::add(sums[0][v], sums[1][v]));
}

template <class T>
void up_lane(const Up& job, const T* b, size_t column) {
  constexpr int tile = V::up_tokens;
  size_t t = 0;
  if (column + lane <= job.columns) {
    if (job.tokens > 1) {
      for (; t + tile <= job.tokens; t += tile) up_tokens<T, tile>(job, b, t, column);
    }
    for (; t < job.tokens; ++t) up_one(job.h + t * job.h_stride, b, job.rank, job.y + t * job.y_stride + column);
    return;
  }
  const size_t left = job.columns - column;  // what lies behind them is another part's, or nobody's
  for (; t < job.tokens; ++t) {
    float* y = job.y + t * job.y_stride + column;
    float some[lane] = {};
    for (size_t i = 0; i < left; ++i) some[i] = y[i];
    up_one(job.h + t * job.h_stride, b, job.rank, some);
    for (size_t i = 0; i < left; ++i) y[i] = some[i];
  }
}

template <class T>
void up_typed(const Up& job) {
  for (size_t n = job.first; n < job.last; ++n) {
    const T* b = reinterpret_cast<const T*>(job.b) + n * lane * job.rank;
    if (sizeof(T) < sizeof(float) && job.tokens >= widen_from) {
      widen(b, lane * job.rank, job.wide);
      up_lane(job, job.wide, n * lane);
    } else {
      up_lane(job, b, n * lane);
    }
  }
}

void down(const Down& job) {
  switch (job.kind) {
    case Kind::float32: return down_typed<float>(job);
    case Kind::float16: return down_typed<Half>(job);
    case Kind::int8: return down_typed<signed char>(job);
  }
}

void up(const Up& job) {
  switch (job.kind) {
    case Kind::float32: return up_typed<float>(job);
    case Kind::float16: return up_typed<Half>(job);
    case Kind::int8: return up_typed<signed char>(job);
  }
}

}  // namespace
}  // namespace edgelora::ops
