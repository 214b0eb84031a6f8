// Attention over a vector type `V`, in the `Tiles` that suit it: included by one file for each instruction set, which
// defines both.
//
// Keys are met in blocks, and what a row has so far is scaled down when a block has a larger score. Few rows: each lies in
// vectors of features, and scores are sums across a vector. Many rows: they lie side by side in vectors, so that nothing is
// added up across one. Nothing of the standard library is used and all is static, as in low_rank_kernels.hpp.
#pragma once

#include "attention_path.hpp"

namespace edgelora::ops {
namespace {

constexpr size_t few_rows = 8;       // up to which rows are not turned
constexpr float least_power = -87.0f;  // exp of less is 0 here: no normal float32

inline size_t lesser(size_t a, size_t b) { return a < b ? a : b; }
inline size_t greater(size_t a, size_t b) { return a > b ? a : b; }

// e^x within 2e-7 of it, for x up to 87: 2^n times the power series of what is left, which is at most ln(2) / 2.
V exp_of(V x) {
  const V near = V::limit(x, -least_power);
  const V shifted = V::fma(near, V::all(1.44269504f), V::all(12582912.0f + 127.0f));  // n in the lowest bits
  const V n = V::subtract(shifted, V::all(12582912.0f + 127.0f));
  // ln(2) in two parts, the first of which times n is exact.
  const V left = V::fma(n, V::all(2.12194440e-4f), V::fma(n, V::all(-0.693359375f), near));
  constexpr float series[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
  V sum = V::all(series[0]);
  for (int i = 1; i < 7; ++i) sum = V::fma(sum, left, V::all(series[i]));
  return V::keep(V::multiply(sum, V::power(shifted)), x, least_power);
}

float exp_of(float x) {
  float found[V::lanes];
  V::store(found, exp_of(V::all(x)));
  return found[0];
}

V capped(V score, float cap) {
  if (cap == 0) return score;
  const V ratio = V::limit(V::multiply(score, V::all(2.0f / cap)), 20.0f);  // tanh of more than 10 is 1
  const V quotient = V::divide(V::all(-2.0f * cap), V::add(exp_of(ratio), V::all(1.0f)));
  return V::add(quotient, V::all(cap));
}

// Rows of a cache as floats with a stride of `wide`: themselves where they lie so.
const float* widen(const void* from, bool in_bytes, size_t first, size_t count, size_t size, size_t wide, float* room) {
  if (!in_bytes && size == wide) return static_cast<const float*>(from) + first * size;
  for (size_t i = 0; i < count; ++i) {
    float* to = room + i * wide;
    size_t d = 0;
    if (in_bytes) {
      const signed char* codes = static_cast<const signed char*>(from) + (first + i) * size;
      for (; d + V::lanes <= size; d += V::lanes) V::store(to + d, V::load(codes + d));
      for (; d < size; ++d) to[d] = static_cast<float>(codes[d]);
    } else {
      const float* numbers = static_cast<const float*>(from) + (first + i) * size;
      for (; d < size; ++d) to[d] = numbers[d];
    }
    for (; d < wide; ++d) to[d] = 0;
  }
  return room;
}

// Bytes that are read soon, asked for a part at a time beside other work.
class Bytes {
 public:
  Bytes(const void* from, size_t bytes, size_t parts)
      : at_(static_cast<const char*>(from)), end_(at_ + bytes), step_(bytes / parts / 64 * 64 + 64) {}
  void ask() {
    const char* stop = static_cast<size_t>(end_ - at_) > step_ ? at_ + step_ : end_;
    for (; at_ < stop; at_ += 64) __builtin_prefetch(at_, 0, 3);
    if (at_ > end_) at_ = end_;
  }

 private:
  const char *at_, *end_;
  size_t step_;
};

struct NoBytes {
  void ask() {}
};

// Scores of one row: (keys); those behind `count` are those of the last key.
void score_row(const float* q, const float* keys, size_t count, size_t wide, float* scores, Bytes& soon) {
  for (size_t k = 0; k < count; k += 8) {
    soon.ask();
    const float* from[8];
    V sums[8];
    for (size_t i = 0; i < 8; ++i) {
      from[i] = keys + lesser(k + i, count - 1) * wide;
      sums[i] = V::zero();
    }
    for (size_t d = 0; d < wide; d += V::lanes) {
      const V part = V::load(q + d);
      for (size_t i = 0; i < 8; ++i) sums[i] = V::fma(part, V::load(from[i] + d), sums[i]);
    }
    V::template sum<8>(sums, scores + k);
  }
}

// Takes a larger score into account; returns what the row's sums so far are to be multiplied with.
float raise(float& most, float& sum, float found) {
  if (!(found > most)) return 1.0f;
  const float factor = exp_of(most - found);
  most = found;
  sum *= factor;
  return factor;
}

// Nothing outside of a row's keys counts: its scores, `stride` apart, become those of no weight.
void mask(float* scores, size_t stride, size_t first, size_t end, size_t count) {
  for (size_t k = 0; k < first; ++k) scores[k * stride] = -__builtin_inff();
  for (size_t k = end; k < count; ++k) scores[k * stride] = -__builtin_inff();
}

// Where a row's keys begin and end among the `count` from `block` on.
struct Range {
  size_t first, end;
};

inline Range range_of(const Attend& job, size_t row, size_t block, size_t count) {
  const size_t first = job.first[row], end = job.end[row];
  const Range found{first > block ? lesser(first - block, count) : 0, end > block ? lesser(end - block, count) : 0};
  return found.first < found.end ? found : Range{0, 0};
}

// Scores (keys) of one row become weights, with zeros up to a whole vector. Returns what the row's `out` is multiplied with.
float weigh_row(const Attend& job, size_t row, Range range, size_t count, float* scores) {
  const size_t stop = (count + V::lanes - 1) / V::lanes * V::lanes;
  if (job.cap != 0) {
    for (size_t k = 0; k < stop; k += V::lanes) V::store(scores + k, capped(V::load(scores + k), job.cap));
  }
  mask(scores, 1, range.first, range.end, stop);
  V largest = V::load(scores);
  for (size_t k = V::lanes; k < stop; k += V::lanes) largest = V::largest(V::load(scores + k), largest);
  float each[V::lanes];
  V::store(each, largest);
  for (size_t i = 1; i < V::lanes; ++i) each[0] = each[i] > each[0] ? each[i] : each[0];
  const float factor = raise(job.most[row], job.sum[row], each[0]);
  V total = V::zero();
  for (size_t k = 0; k < stop; k += V::lanes) {
    const V weight = exp_of(V::subtract(V::load(scores + k), V::all(job.most[row])));
    V::store(scores + k, weight);
    total = V::add(total, weight);
  }
  V::store(each, total);
  for (const float one : each) job.sum[row] += one;
  return factor;
}

// `N` keys against `M` vectors of rows: scores (keys, attend_rows) of turned queries (wide, attend_rows).
template <int N, int M>
void score_tile(const float* turned, const float* keys, size_t size, size_t wide, float* scores) {
  V sums[N][M];
  for (int k = 0; k < N; ++k) {
    for (int v = 0; v < M; ++v) sums[k][v] = V::zero();
  }
  for (size_t d = 0; d < size; ++d) {
    V rows[M];
    for (int v = 0; v < M; ++v) rows[v] = V::load(turned + d * attend_rows + V::lanes * static_cast<size_t>(v));
    for (int k = 0; k < N; ++k) {
      const V number = V::all(keys[static_cast<size_t>(k) * wide + d]);
      for (int v = 0; v < M; ++v) sums[k][v] = V::fma(number, rows[v], sums[k][v]);
    }
  }
  for (int k = 0; k < N; ++k) {
    for (int v = 0; v < M; ++v) {
      V::store(scores + static_cast<size_t>(k) * attend_rows + V::lanes * static_cast<size_t>(v), sums[k][v]);
    }
  }
}

// out[row + i] = out * factors + sum of weights[k * by_key + i * by_row] values[k], over `N` rows and `M` vectors of columns.
template <int N, int M>
void add_values(const float* weights, size_t by_row, size_t by_key, const float* values, size_t count, size_t wide,
                const float* factors, float* out) {
  V sums[N][M];
  for (int i = 0; i < N; ++i) {
    const V factor = V::all(factors[i]);
    for (int v = 0; v < M; ++v) {
      sums[i][v] = V::multiply(factor, V::load(out + static_cast<size_t>(i) * wide + V::lanes * static_cast<size_t>(v)));
    }
  }
  for (size_t k = 0; k < count; ++k) {
    V numbers[M];
    for (int v = 0; v < M; ++v) numbers[v] = V::load(values + k * wide + V::lanes * static_cast<size_t>(v));
    for (int i = 0; i < N; ++i) {
      const V weight = V::all(weights[k * by_key + static_cast<size_t>(i) * by_row]);
      for (int v = 0; v < M; ++v) sums[i][v] = V::fma(weight, numbers[v], sums[i][v]);
    }
  }
  for (int i = 0; i < N; ++i) {
    for (int v = 0; v < M; ++v) {
      V::store(out + static_cast<size_t>(i) * wide + V::lanes * static_cast<size_t>(v), sums[i][v]);
    }
  }
}

template <int N, class Soon>
void add_all_columns(const float* weights, size_t by_row, size_t by_key, const float* values, size_t count, size_t wide,
                     const float* factors, float* out, Soon& soon) {
  constexpr int M = Tiles::columns;
  size_t d = 0;
  for (; d + M * V::lanes <= wide; d += M * V::lanes) {
    soon.ask();
    add_values<N, M>(weights, by_row, by_key, values + d, count, wide, factors, out + d);
  }
  for (; d < wide; d += V::lanes) add_values<N, 1>(weights, by_row, by_key, values + d, count, wide, factors, out + d);
}

// For all rows.
template <class Soon>
void add_all(const Attend& job, const float* weights, size_t by_row, size_t by_key, const float* values, size_t count,
             const float* factors, Soon soon) {
  size_t row = 0;
  for (; row + 4 <= job.rows; row += 4) {
    add_all_columns<4>(weights + row * by_row, by_row, by_key, values, count, job.wide, factors + row,
                       job.out + row * job.wide, soon);
  }
  const float* from = weights + row * by_row;
  float* out = job.out + row * job.wide;
  switch (job.rows - row) {
    case 3: return add_all_columns<3>(from, by_row, by_key, values, count, job.wide, factors + row, out, soon);
    case 2: return add_all_columns<2>(from, by_row, by_key, values, count, job.wide, factors + row, out, soon);
    case 1: return add_all_columns<1>(from, by_row, by_key, values, count, job.wide, factors + row, out, soon);
    default: return;
  }
}

// Each row for itself.
void attend_few(const Attend& job, const float* keys, const float* values, size_t block, size_t count, float* scores,
                Bytes values_soon, Bytes keys_soon) {
  float factors[few_rows];
  for (size_t row = 0; row < job.rows; ++row) {
    float* here = scores + row * attend_keys;
    score_row(job.q + row * job.wide, keys, count, job.wide, here, values_soon);
    factors[row] = weigh_row(job, row, range_of(job, row, block, count), count, here);
  }
  add_all(job, scores, attend_keys, 1, values, count, factors, keys_soon);
}

// Vectors of rows at once. `turned` (wide, attend_rows) has zeros where there is no row.
void attend_many(const Attend& job, const float* turned, const float* keys, const float* values, size_t block,
                 size_t count, float* scores) {
  constexpr size_t step = Tiles::row_vectors * V::lanes, N = Tiles::keys;
  const size_t n_rows = (job.rows + step - 1) / step * step;
  float most[attend_rows] = {}, factors[attend_rows];
  for (size_t row = 0; row < n_rows; row += step) {
    float* here = scores + row;
    size_t k = 0;
    for (; k + N <= count; k += N) {
      score_tile<N, Tiles::row_vectors>(turned + row, keys + k * job.wide, job.size, job.wide, here + k * attend_rows);
    }
    for (; k < count; ++k) {
      score_tile<1, Tiles::row_vectors>(turned + row, keys + k * job.wide, job.size, job.wide, here + k * attend_rows);
    }
  }
  if (job.cap != 0) {
    for (size_t i = 0; i < count * attend_rows; i += V::lanes) {
      V::store(scores + i, capped(V::load(scores + i), job.cap));
    }
  }
  for (size_t row = 0; row < job.rows; ++row) {
    const Range range = range_of(job, row, block, count);
    mask(scores + row, attend_rows, range.first, range.end, count);
    most[row] = job.most[row];
  }
  for (size_t row = 0; row < n_rows; row += V::lanes) {
    V largest = V::load(most + row);
    for (size_t k = 0; k < count; ++k) largest = V::largest(V::load(scores + k * attend_rows + row), largest);
    V::store(most + row, largest);
  }
  for (size_t row = 0; row < job.rows; ++row) factors[row] = raise(job.most[row], job.sum[row], most[row]);
  for (size_t row = 0; row < n_rows; row += V::lanes) {
    const V largest = V::load(most + row);
    V total = V::zero();
    for (size_t k = 0; k < count; ++k) {
      float* here = scores + k * attend_rows + row;
      const V weight = exp_of(V::subtract(V::load(here), largest));
      V::store(here, weight);
      total = V::add(total, weight);
    }
    float each[V::lanes];
    V::store(each, total);
    for (size_t i = 0; i < V::lanes && row + i < job.rows; ++i) job.sum[row + i] += each[i];
  }
  add_all(job, scores, 1, attend_rows, values, count, factors, NoBytes());
}

void attend(const Attend& job) {
  float* scores = job.room;
  float* room = scores + attend_rows * attend_keys;  // of the keys, then of the values
  float* turned = room + attend_keys * job.wide;
  const bool is_few = job.rows <= few_rows;
  if (!is_few) {
    for (size_t d = 0; d < job.size; ++d) {
      for (size_t row = 0; row < attend_rows; ++row) {
        turned[d * attend_rows + row] = row < job.rows ? job.q[row * job.wide + d] : 0.0f;
      }
    }
  }
  size_t first = job.first[0], end = job.end[0];
  for (size_t row = 1; row < job.rows; ++row) {
    first = lesser(first, job.first[row]);
    end = greater(end, job.end[row]);
  }
  for (size_t block = first; block < end; block += attend_keys) {
    const size_t count = lesser(attend_keys, end - block);
    const float* keys = widen(job.keys, job.in_bytes, block, count, job.size, job.wide, room);
    float* values_room = turned + attend_rows * job.wide;
    const float* values = widen(job.values, job.in_bytes, block, count, job.size, job.wide, values_room);
    if (is_few) {
      const size_t bytes = job.size * (job.in_bytes ? 1 : sizeof(float)), left = end - block - count;
      const char* later = static_cast<const char*>(job.keys) + (block + count) * bytes;
      const size_t parts = (job.rows + 3) / 4 * (job.wide / (Tiles::columns * V::lanes) + 1);
      attend_few(job, keys, values, block, count, scores,
                 Bytes(static_cast<const char*>(job.values) + block * bytes, count * bytes, (count + 7) / 8 * job.rows),
                 left > 0 ? Bytes(later, lesser(left, attend_keys) * bytes, parts)
                          : Bytes(job.next, job.next_bytes, parts));
    } else {
      attend_many(job, turned, keys, values, block, count, scores);
    }
  }
}

}  // namespace
}  // namespace edgelora::ops
