#include "attention.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "choose_path.hpp"
#include "room.hpp"

namespace edgelora::ops {

namespace {

constexpr size_t worth_sharing = 40000;  // multiplications; fewer take less time than waking another thread
constexpr size_t enough_jobs = 8;        // below, the keys of a token are cut in pieces as well
constexpr size_t least_keys = 64;        // of a piece

// Some queries of a row that read the same head, and the keys that they meet.
struct Job {
  size_t row, head;     // head of keys and values
  size_t first, count;  // queries: those of one token lie side by side
  size_t key, end;
  float* part;  // where a piece's sums go: (count, wide) of out, then most and sum; null for all keys at once
};

// Turns pairs of x (size) by the angles of a position.
void rotate(const Heads& heads, const AttentionCall& given, size_t position, const float* x, float* to) {
  const size_t half = given.half;
  const float *cosines = given.cosines + position * half, *sines = given.sines + position * half;
  if (heads.interleaved) {
    for (size_t i = 0; i < half; ++i) {
      const float a = x[2 * i], b = x[2 * i + 1];
      to[2 * i] = a * cosines[i] - b * sines[i];
      to[2 * i + 1] = b * cosines[i] + a * sines[i];
    }
  } else {
    for (size_t i = 0; i < half; ++i) {
      to[i] = x[i] * cosines[i] - x[half + i] * sines[i];
      to[half + i] = x[half + i] * cosines[i] + x[i] * sines[i];
    }
  }
  std::copy(x + 2 * half, x + given.size, to + 2 * half);
}

// As a code: rounded half to even by an addition after which a float32 has no bits left for fractions.
int8_t code_of(float x, float step) {
  constexpr float whole = 12582912.0f;  // 1.5 * 2^23
  const float ratio = x / step;
  const float inside = ratio > -128.0f ? ratio < 127.0f ? ratio : 127.0f : -128.0f;  // what is no number is the least
  return static_cast<int8_t>(inside + whole - whole);
}

void keep(const CacheSide& side, size_t head, size_t place, size_t size, const float* numbers) {
  if (side.steps == nullptr) {
    std::copy(numbers, numbers + size, static_cast<float*>(side.present) + place * size);
    return;
  }
  auto* codes = static_cast<int8_t*>(side.present) + place * size;
  const float* steps = side.steps + head * size;
  for (size_t d = 0; d < size; ++d) codes[d] = code_of(numbers[d], steps[d]);
}

// What a row's head held before, where the cache goes on in other memory; zeros where nothing is yet.
void carry(const CacheSide& side, const AttentionCall& given, size_t row, size_t index) {
  if (side.past == side.present) return;
  const size_t bytes = given.size * (side.steps == nullptr ? sizeof(float) : 1), held = given.lengths[row] * bytes;
  auto* to = static_cast<unsigned char*>(side.present) + index * given.capacity * bytes;
  const auto* from = static_cast<const unsigned char*>(side.past) + index * given.past_capacity * bytes;
  if (held > 0) std::memcpy(to, from, held);
  std::memset(to + held, 0, given.capacity * bytes - held);
}

// The new tokens of one head of a row go into the cache.
void append(const Heads& heads, const AttentionCall& given, size_t row, size_t head, float* turned) {
  const size_t index = row * heads.kv_heads + head;
  carry(given.keys, given, row, index);
  carry(given.values, given, row, index);
  for (size_t t = 0; t < given.tokens; ++t) {
    const size_t position = given.lengths[row] + t, place = index * given.capacity + position;
    const float* k = given.k.numbers + (row * given.tokens + t) * given.k.stride + head * given.size;
    const float* v = given.v.numbers + (row * given.tokens + t) * given.v.stride + head * given.size;
    if (heads.rotates) rotate(heads, given, position, k, turned);
    keep(given.keys, head, place, given.size, heads.rotates ? turned : k);
    keep(given.values, head, place, given.size, v);
  }
}

size_t rounded(size_t size) { return (size + attend_align - 1) / attend_align * attend_align; }

// Queries as `Attend` wants them, and the keys that each reads of those of the job.
void prepare(const Heads& heads, const AttentionCall& given, const Job& job, size_t wide, float* q, size_t* first,
             size_t* end) {
  const float scale = heads.scale == 0 ? 1 / std::sqrt(static_cast<float>(given.size)) : heads.scale;
  const float* steps = given.keys.steps == nullptr ? nullptr : given.keys.steps + job.head * given.size;
  for (size_t i = 0; i < job.count; ++i) {
    const size_t t = (job.first + i) / heads.group(), position = given.lengths[job.row] + t;
    const size_t head = job.head * heads.group() + (job.first + i) % heads.group();
    const float* from = given.q.numbers + (job.row * given.tokens + t) * given.q.stride + head * given.size;
    float* to = q + i * wide;
    if (heads.rotates) {
      rotate(heads, given, position, from, to);
    } else {
      std::copy(from, from + given.size, to);
    }
    for (size_t d = 0; d < given.size; ++d) to[d] *= steps == nullptr ? scale : scale * steps[d];
    std::fill(to + given.size, to + wide, 0.0f);
    const size_t oldest = heads.window != 0 && position + 1 > heads.window ? position + 1 - heads.window : 0;
    end[i] = std::min(position + 1, job.end);
    first[i] = std::min(std::max(oldest, job.key), end[i]);
  }
}

const void* head_of(const CacheSide& side, const AttentionCall& given, size_t index) {
  const size_t place = index * given.capacity * given.size;
  if (side.steps != nullptr) return static_cast<const int8_t*>(side.present) + place;
  return static_cast<const float*>(side.present) + place;
}

// One query's sums, divided by its weights, into its place of y.
void write(const Heads& heads, const AttentionCall& given, size_t row, size_t kv_head, size_t query, const float* out,
           float most, float sum) {
  const size_t t = query / heads.group(), head = kv_head * heads.group() + query % heads.group();
  float taken = 1.0f;  // what is left of the weights beside a larger sink
  if (given.sinks != nullptr) {
    const float sink = given.sinks[head], largest = std::max(most, sink);
    taken = std::exp(most - largest);
    sum = sum * taken + std::exp(sink - largest);
  }
  const float* steps = given.values.steps == nullptr ? nullptr : given.values.steps + kv_head * given.size;
  float* y = given.y + ((row * given.tokens + t) * heads.heads + head) * given.size;
  for (size_t d = 0; d < given.size; ++d) y[d] = out[d] * taken / sum * (steps == nullptr ? 1.0f : steps[d]);
}

// `next` is the job whose keys are read after these.
void attend(const AttentionPath& path, const Heads& heads, const AttentionCall& given, const Job& job, const Job& next) {
  const size_t wide = rounded(given.size);
  float* q = float_room((2 * wide + 2) * attend_rows + attend_room(wide));
  float* out = job.part == nullptr ? q + attend_rows * wide : job.part;
  float* most = job.part == nullptr ? out + attend_rows * wide : out + job.count * wide;
  float* sum = most + (job.part == nullptr ? attend_rows : job.count);
  size_t first[attend_rows], end[attend_rows];
  prepare(heads, given, job, wide, q, first, end);
  std::fill(out, out + job.count * wide, 0.0f);
  std::fill(most, most + job.count, attend_least);
  std::fill(sum, sum + job.count, 0.0f);
  const size_t index = job.row * heads.kv_heads + job.head;
  const size_t bytes = given.size * (given.keys.steps == nullptr ? sizeof(float) : 1);
  const void* later = head_of(given.keys, given, next.row * heads.kv_heads + next.head);
  path.attend({q, job.count, given.size, wide, head_of(given.keys, given, index), head_of(given.values, given, index),
               given.keys.steps != nullptr, first, end, heads.cap, most, sum, out, q + (2 * wide + 2) * attend_rows,
               static_cast<const char*>(later) + next.key * bytes, std::min(next.end - next.key, attend_keys) * bytes});
  if (job.part != nullptr) return;
  for (size_t i = 0; i < job.count; ++i) {
    write(heads, given, job.row, job.head, job.first + i, out + i * wide, most[i], sum[i]);
  }
}

// The pieces of the same queries, one behind the other, as if all keys had been met at once; into the first one.
void join(const Heads& heads, const AttentionCall& given, const Job& job, size_t pieces, size_t wide) {
  const size_t stride = job.count * (wide + 2);
  for (size_t i = 0; i < job.count; ++i) {
    float* out = job.part + i * wide;
    float* most = job.part + job.count * wide + i;
    float& sum = most[job.count];
    for (size_t piece = 1; piece < pieces; ++piece) {
      const float *other = out + piece * stride, *other_most = most + piece * stride;
      const float largest = std::max(*most, *other_most);
      const float own = std::exp(*most - largest), added = std::exp(*other_most - largest);
      sum = sum * own + other_most[job.count] * added;
      for (size_t d = 0; d < wide; ++d) out[d] = out[d] * own + other[d] * added;
      *most = largest;
    }
    write(heads, given, job.row, job.head, job.first + i, out, *most, sum);
  }
}

// What a row reads at least from and at most to.
struct Reach {
  size_t first, end;
};

Reach reach_of(const Heads& heads, const AttentionCall& given, size_t row, size_t first, size_t count) {
  const size_t oldest = given.lengths[row] + first / heads.group() + 1;
  const size_t end = given.lengths[row] + (first + count - 1) / heads.group() + 1;
  return {heads.window != 0 && oldest > heads.window ? oldest - heads.window : 0, end};
}

}  // namespace

const AttentionPath& attention_path(const std::string& name) {
  static const AttentionPath* const known[] = {
#if defined(__x86_64__) || defined(__i386__)
      &attention_avx512, &attention_avx2,
#elif defined(__aarch64__)
      &attention_neon,
#endif
      &attention_plain,
  };
  return choose_path(known, name);
}

void attention(const Call& call, const AttentionPath& path, const Heads& heads, const AttentionCall& given) {
  const size_t n_heads = given.rows * heads.kv_heads, queries = given.tokens * heads.group();
  if (n_heads == 0 || queries == 0) return;
  const auto append_one = [&](size_t index) {
    append(heads, given, index / heads.kv_heads, index % heads.kv_heads, float_room(given.size));
  };
  const bool copies = given.keys.past != given.keys.present || given.values.past != given.values.present;
  if (copies || n_heads * given.tokens * given.size >= worth_sharing) {
    call.parallel(n_heads, append_one);
  } else {
    for (size_t i = 0; i < n_heads; ++i) append_one(i);
  }

  const size_t wide = rounded(given.size), tiles = (queries + attend_rows - 1) / attend_rows;
  const size_t wanted = tiles > 1 ? 1 : (enough_jobs + n_heads - 1) / n_heads;
  std::vector<Job> jobs;
  std::vector<size_t> pieces;  // of each tile, one where a head has several tiles
  size_t work = 0, parts = 0;
  for (size_t index = 0; index < n_heads; ++index) {
    for (size_t tile = tiles; tile-- > 0;) {  // the last ones read most keys
      const size_t first = tile * attend_rows, count = std::min(attend_rows, queries - first);
      const Reach reach = reach_of(heads, given, index / heads.kv_heads, first, count);
      const size_t keys = reach.end - reach.first, cut = std::min(wanted, (keys + least_keys - 1) / least_keys);
      for (size_t piece = 0; piece < cut; ++piece) {
        jobs.push_back({index / heads.kv_heads, index % heads.kv_heads, first, count, reach.first + keys * piece / cut,
                        reach.first + keys * (piece + 1) / cut, nullptr});
      }
      pieces.push_back(cut);
      parts += cut > 1 ? cut * count * (wide + 2) : 0;
      work += 2 * count * keys * given.size;
    }
  }
  std::vector<float> memory(parts);
  float* part = memory.data();
  size_t at = 0;
  for (const size_t cut : pieces) {
    for (size_t i = at; i < at + cut && cut > 1; ++i) {
      jobs[i].part = part;
      part += jobs[i].count * (wide + 2);
    }
    at += cut;
  }
  const auto attend_one = [&](size_t index) {
    attend(path, heads, given, jobs[index], jobs[std::min(index + 1, jobs.size() - 1)]);
  };
  if (work < worth_sharing) {
    for (size_t i = 0; i < jobs.size(); ++i) attend_one(i);
  } else {
    call.parallel(jobs.size(), attend_one);
  }
  at = 0;
  for (const size_t cut : pieces) {
    if (cut > 1) join(heads, given, jobs[at], cut, wide);
    at += cut;
  }
}

}  // namespace edgelora::ops
