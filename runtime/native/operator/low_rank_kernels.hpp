// The two products over a vector type `V`, in the `Tiles` that suit it: included by one file for each instruction set,
// which defines both.
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

// Factors lie one behind the other over many pages, at whose ends processors stop to fetch ahead: they are asked for.
constexpr size_t ahead = 4096;  // bytes

inline void fetch_ahead(const void* from, size_t bytes) {
  const char* at = static_cast<const char*>(from) + ahead;
  for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(at + i, 0, 2);
}

// One token, `N` ranks of a panel.
template <class T, int N>
void down_one(const float* x, const float* tail, size_t first, size_t last, size_t whole, const T* a, size_t ranks,
              float* h) {
  V sums[N];
  for (int r = 0; r < N; ++r) sums[r] = V::zero();
  for (size_t k = first; k < last; ++k) {
    const float* from = k < whole ? x + lane * k : tail;
    const T* codes = a + lane * ranks * k;
    fetch_ahead(codes, lane * N * sizeof(T));
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
  if (Tiles::pairs_tokens && ranks == panel && job.last <= whole) {
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

V scaled(const Scale& job, size_t t, size_t column) {
  const V factor = V::all(job.scales == nullptr ? 1.0f : job.scales[t]);
  const V found = V::fma(factor, V::load(job.from + t * job.from_stride + column),
                         job.bias == nullptr ? V::zero() : V::load(job.bias + column));
  if (job.residual == nullptr) return found;
  return V::add(found, V::load(job.residual + t * job.residual_stride + column));
}

// Tokens from `t` to `end`, columns from `first` to `last`.
void scale_some(const Scale& job, size_t t, size_t end, size_t first, size_t last) {
  for (; t < end; ++t) {
    float* y = job.y + t * job.y_stride;
    size_t n = first;
    for (; n + V::lanes <= last; n += V::lanes) V::store(y + n, scaled(job, t, n));
    const float* from = job.from + t * job.from_stride;
    const float factor = job.scales == nullptr ? 1.0f : job.scales[t];
    const float* residual = job.residual == nullptr ? nullptr : job.residual + t * job.residual_stride;
    for (; n < last; ++n) {
      y[n] = factor * from[n] + (job.bias == nullptr ? 0.0f : job.bias[n]) + (residual == nullptr ? 0.0f : residual[n]);
    }
  }
}

// `N` tokens, `L` lanes of columns.
template <class T, int N, int L>
void up_tokens(const Up& job, const T* b, size_t t, size_t column) {
  constexpr size_t count = L * n_vectors;
  V sums[N][count];
  for (int i = 0; i < N; ++i) {
    const size_t token = t + static_cast<size_t>(i);
    for (size_t v = 0; v < count; ++v) {
      const size_t here = column + V::lanes * v;
      sums[i][v] = job.scale != nullptr ? scaled(*job.scale, token, here) : V::load(job.y + token * job.y_stride + here);
    }
  }
  for (size_t r = 0; r < job.rank; ++r) {
    V codes[count];
    for (size_t v = 0; v < count; ++v) {
      codes[v] = V::load(b + lane * (r + v / n_vectors * job.rank) + V::lanes * (v % n_vectors));
    }
    for (int i = 0; i < N; ++i) {
      const V factor = V::all(job.h[(t + static_cast<size_t>(i)) * job.h_stride + r]);
      for (size_t v = 0; v < count; ++v) sums[i][v] = V::fma(factor, codes[v], sums[i][v]);
    }
  }
  for (int i = 0; i < N; ++i) {
    for (size_t v = 0; v < count; ++v) {
      V::store(job.y + (t + static_cast<size_t>(i)) * job.y_stride + column + V::lanes * v, sums[i][v]);
    }
  }
}

// One token, `N` ranks whose factors stay in registers, whole lanes from `first` to `last`. By turns into two sums, so
// that none waits for the one before.
template <class T, int N>
void up_held(const float* h, const T* b, size_t rank, size_t first, size_t last, float* y) {
  V factors[N];
  for (int r = 0; r < N; ++r) factors[r] = V::all(h[r]);
  for (size_t n = first; n < last; ++n) {
    const T* codes = b + lane * rank * n;
    fetch_ahead(codes, lane * N * sizeof(T));
    for (size_t v = 0; v < n_vectors; ++v) {
      float* to = y + lane * n + V::lanes * v;
      V sums[2] = {V::load(to), V::zero()};
      for (int r = 0; r < N; ++r) {
        sums[r % 2] = V::fma(factors[r], V::load(codes + lane * static_cast<size_t>(r) + V::lanes * v), sums[r % 2]);
      }
      V::store(to, V::add(sums[0], sums[1]));
    }
  }
}

template <class T>
void up_one(const float* h, const T* b, size_t rank, size_t first, size_t last, float* y) {
  size_t r = 0;
  for (; r + Tiles::held <= rank; r += Tiles::held) up_held<T, Tiles::held>(h + r, b + lane * r, rank, first, last, y);
  h += r;
  b += lane * r;
  if (Tiles::held > 8 && rank - r >= 8) {
    up_held<T, 8>(h, b, rank, first, last, y);
    h += 8;
    b += lane * 8;
    r += 8;
  }
  switch (rank - r) {
    case 7: return up_held<T, 7>(h, b, rank, first, last, y);
    case 6: return up_held<T, 6>(h, b, rank, first, last, y);
    case 5: return up_held<T, 5>(h, b, rank, first, last, y);
    case 4: return up_held<T, 4>(h, b, rank, first, last, y);
    case 3: return up_held<T, 3>(h, b, rank, first, last, y);
    case 2: return up_held<T, 2>(h, b, rank, first, last, y);
    case 1: return up_held<T, 1>(h, b, rank, first, last, y);
    default: return;
  }
}

// The last columns of a part: what lies behind them in y is another part's, or nobody's.
template <class T>
void up_tail(const Up& job, const T* b, size_t column, size_t left) {
  if (job.scale != nullptr) scale_some(*job.scale, 0, job.tokens, column, column + left);
  for (size_t t = 0; t < job.tokens; ++t) {
    float* y = job.y + t * job.y_stride + column;
    float some[lane] = {};
    for (size_t i = 0; i < left; ++i) some[i] = y[i];
    up_one(job.h + t * job.h_stride, b, job.rank, 0, 1, some);
    for (size_t i = 0; i < left; ++i) y[i] = some[i];
  }
}

// All tokens, `L` lanes of columns whose factors are at `b`.
template <class T, int L>
void up_lanes(const Up& job, const T* b, size_t column) {
  constexpr int tile = Tiles::up_tokens;
  size_t t = 0;
  for (; t + tile <= job.tokens; t += tile) up_tokens<T, tile, L>(job, b, t, column);
  if (job.scale != nullptr) scale_some(*job.scale, t, job.tokens, column, column + L * lane);
  for (; t < job.tokens; ++t) up_one(job.h + t * job.h_stride, b, job.rank, 0, L, job.y + t * job.y_stride + column);
}

template <class T>
void up_typed(const Up& job) {
  const T* b = reinterpret_cast<const T*>(job.b);
  const size_t size = lane * job.rank, left = job.columns % lane, whole = job.columns / lane;
  const size_t end = job.last < whole ? job.last : whole;
  if (job.tokens == 1) {
    if (job.scale != nullptr) scale_some(*job.scale, 0, 1, job.first * lane, end * lane);
    up_one(job.h, b, job.rank, job.first, end, job.y);
  } else if (sizeof(T) < sizeof(float) && job.tokens >= widen_from) {
    size_t n = job.first;
    for (; n + Tiles::up_lanes <= end; n += Tiles::up_lanes) {
      widen(b + n * size, Tiles::up_lanes * size, job.wide);
      up_lanes<float, Tiles::up_lanes>(job, job.wide, n * lane);
    }
    for (; n < end; ++n) {
      widen(b + n * size, size, job.wide);
      up_lanes<float, 1>(job, job.wide, n * lane);
    }
  } else {
    size_t n = job.first;
    for (; n + Tiles::up_lanes <= end; n += Tiles::up_lanes) up_lanes<T, Tiles::up_lanes>(job, b + n * size, n * lane);
    for (; n < end; ++n) up_lanes<T, 1>(job, b + n * size, n * lane);
  }
  if (job.last > whole && left > 0) up_tail(job, b + whole * size, whole * lane, left);
}

// erf(z) / z is a quotient of two polynomials in the square of z, within 4e-7 of it in float32 (found by least squares in 40
// digits, reweighted until its largest error was least); beyond 4 it is 1 to float32.
V gelu_of(V x) {
  constexpr float above[] = {1.128378977f,    0.1962366711f,   0.05346578466f,
                             0.004003080092f, 0.000288022027f, 1.974849054e-6f};
  constexpr float below[] = {1.0f,          0.5072413887f,  0.1164712692f,
                             0.01544332256f, 0.001216208622f, 3.748001883e-5f};
  const V z = V::limit(V::fma(x, V::all(0.70710678f), V::zero()), 4.0f), square = V::fma(z, z, V::zero());
  V p = V::all(above[5]), q = V::all(below[5]);
  for (int i = 4; i >= 0; --i) {
    p = V::fma(p, square, V::all(above[i]));
    q = V::fma(q, square, V::all(below[i]));
  }
  const V half = V::fma(x, V::all(0.5f), V::zero());
  return V::fma(half, V::divide(V::fma(z, p, V::zero()), q), half);
}

void gelu(const Gelu& job) {
  const size_t whole = job.columns / V::lanes * V::lanes;
  for (size_t t = 0; t < job.tokens; ++t) {
    float* y = job.y + t * job.y_stride;
    for (size_t n = 0; n < whole; n += V::lanes) V::store(y + n, gelu_of(V::load(y + n)));
    if (whole == job.columns) continue;
    float last[V::lanes] = {};
    for (size_t n = whole; n < job.columns; ++n) last[n - whole] = y[n];
    V::store(last, gelu_of(V::load(last)));
    for (size_t n = whole; n < job.columns; ++n) y[n] = last[n - whole];
  }
}

void scale(const Scale& job) { scale_some(job, 0, job.tokens, 0, job.columns); }

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
