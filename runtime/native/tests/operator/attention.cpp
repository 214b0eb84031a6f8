// Every path of attention that this processor has, against sums in double.
//
// Keys and values end where their memory ends, so that a path that reads beyond them is stopped, and heads are worked on
// by threads as onnxruntime would.
#include "attention.hpp"
#include "cpu.hpp"

#include "harness.hpp"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <sstream>
#include <string>

using namespace edgelora::ops;

namespace {

struct Case {
  Heads heads;
  size_t size, half;
  bool in_bytes, has_sinks, moves;  // moves: the cache goes on in other memory
};

// Numbers of a cache, (rows, kv_heads, capacity, size), in memory of its type.
class Cache {
 public:
  Cache(const Case& given, size_t rows, size_t capacity)
      : in_bytes_(given.in_bytes),
        memory_(rows * given.heads.kv_heads * capacity * given.size * (given.in_bytes ? 1 : sizeof(float))) {}
  void* data() const { return memory_.data(); }
  void fill(size_t count, std::mt19937& random) {
    std::normal_distribution<float> normal;
    for (size_t i = 0; i < count; ++i) {
      const float value = normal(random);
      if (in_bytes_) {
        reinterpret_cast<int8_t*>(memory_.data())[i] = static_cast<int8_t>(40 * std::fmax(-3.0f, std::fmin(3.0f, value)));
      } else {
        std::memcpy(memory_.data() + 4 * i, &value, 4);
      }
    }
  }
  double at(size_t index) const {
    if (in_bytes_) return reinterpret_cast<const int8_t*>(memory_.data())[index];
    float value;
    std::memcpy(&value, memory_.data() + 4 * index, 4);
    return value;
  }

 private:
  bool in_bytes_;
  Fenced memory_;
};

// What a head of a query is after its rotation.
std::vector<double> rotated(const Case& given, const AttentionCall& call, const float* from, size_t position) {
  std::vector<double> found(from, from + given.size);
  if (!given.heads.rotates) return found;
  for (size_t i = 0; i < given.half; ++i) {
    const size_t a = given.heads.interleaved ? 2 * i : i, b = given.heads.interleaved ? a + 1 : given.half + i;
    const double cosine = call.cosines[position * given.half + i], sine = call.sines[position * given.half + i];
    found[a] = from[a] * cosine - from[b] * sine;
    found[b] = from[b] * cosine + from[a] * sine;
  }
  return found;
}

// The largest error of what queries take, over the largest value.
double worst_of(const AttentionPath& path, const Case& given, size_t rows, size_t tokens, size_t held,
                std::mt19937& random) {
  OrtApi api{};
  api.KernelContext_ParallelFor = run_on_threads;
  const Call call(api, nullptr);
  const Heads& heads = given.heads;
  const size_t own = heads.heads * given.size, shared = heads.kv_heads * given.size, width = own + 2 * shared;
  const size_t capacity = held + tokens;
  Cache past_keys(given, rows, capacity), past_values(given, rows, capacity);
  Cache keys(given, rows, capacity), values(given, rows, capacity);
  const size_t count = rows * shared * capacity;
  past_keys.fill(count, random);
  past_values.fill(count, random);
  const std::vector<float> projected = draw(rows * tokens * width, random), sinks = draw(heads.heads, random);
  std::vector<float> cosines, sines, key_steps(shared), value_steps(shared);
  for (size_t i = 0; i < capacity * given.half; ++i) {
    cosines.push_back(std::cos(static_cast<float>(i)));
    sines.push_back(std::sin(static_cast<float>(i)));
  }
  for (size_t i = 0; i < shared; ++i) {
    key_steps[i] = 0.02f + 0.001f * static_cast<float>(i % 7);
    value_steps[i] = 0.03f + 0.001f * static_cast<float>(i % 5);
  }
  std::vector<float> y(rows * tokens * own, NAN);
  AttentionCall job{};
  job.rows = rows;
  job.tokens = tokens;
  job.size = given.size;
  job.q = {projected.data(), width};
  job.k = {projected.data() + own, width};
  job.v = {projected.data() + own + shared, width};
  job.keys = {past_keys.data(), given.moves ? keys.data() : past_keys.data(), given.in_bytes ? key_steps.data() : nullptr};
  job.values = {past_values.data(), given.moves ? values.data() : past_values.data(),
                given.in_bytes ? value_steps.data() : nullptr};
  job.past_capacity = job.capacity = capacity;
  job.cosines = cosines.data();
  job.sines = sines.data();
  job.half = given.half;
  job.sinks = given.has_sinks ? sinks.data() : nullptr;
  job.y = y.data();
  for (size_t row = 0; row < rows; ++row) job.lengths.push_back(row == 0 ? held : held / (row + 1));
  attention(call, path, heads, job);

  const Cache &now_keys = given.moves ? keys : past_keys, &now_values = given.moves ? values : past_values;
  const auto step = [&](const std::vector<float>& steps, size_t head, size_t d) {
    return given.in_bytes ? static_cast<double>(steps[head * given.size + d]) : 1.0;
  };
  const auto is_near = [&](double held, double meant) {
    if (!given.in_bytes) return std::fabs(held - meant) < 1e-5;
    return std::fabs(held - std::max(-128.0, std::min(127.0, meant))) < 0.5001;
  };
  double worst = 0;
  for (size_t row = 0; row < rows; ++row) {
    for (size_t t = 0; t < tokens; ++t) {
      const size_t position = job.lengths[row] + t;
      const float* token = projected.data() + (row * tokens + t) * width;
      for (size_t head = 0; head < heads.heads; ++head) {
        const size_t kv_head = head / heads.group(), place = (row * heads.kv_heads + kv_head) * capacity;
        const std::vector<double> q = rotated(given, job, token + head * given.size, position);
        const std::vector<double> k = rotated(given, job, token + own + kv_head * given.size, position);
        for (size_t d = 0; d < given.size; ++d) {  // what was appended is what attention reads
          const size_t at = (place + position) * given.size + d;
          const double key = k[d] / step(key_steps, kv_head, d);
          const double value = token[own + shared + kv_head * given.size + d] / step(value_steps, kv_head, d);
          if (!is_near(now_keys.at(at), key) || !is_near(now_values.at(at), value)) return 1e9;
        }
        const double scale = heads.scale == 0 ? 1 / std::sqrt(static_cast<double>(given.size)) : heads.scale;
        const size_t first = heads.window != 0 && position + 1 > heads.window ? position + 1 - heads.window : 0;
        std::vector<double> scores;
        double largest = given.has_sinks ? sinks[head] : -1e300;
        for (size_t key = first; key <= position; ++key) {
          double score = 0;
          for (size_t d = 0; d < given.size; ++d) {
            score += q[d] * now_keys.at((place + key) * given.size + d) * step(key_steps, kv_head, d);
          }
          score *= scale;
          if (heads.cap != 0) score = heads.cap * std::tanh(score / heads.cap);
          scores.push_back(score);
          largest = std::max(largest, score);
        }
        double sum = given.has_sinks ? std::exp(sinks[head] - largest) : 0;
        std::vector<double> want(given.size);
        for (size_t i = 0; i < scores.size(); ++i) {
          const double weight = std::exp(scores[i] - largest);
          sum += weight;
          for (size_t d = 0; d < given.size; ++d) {
            want[d] += weight * now_values.at((place + first + i) * given.size + d) * step(value_steps, kv_head, d);
          }
        }
        const float* found = y.data() + (row * tokens + t) * own + head * given.size;
        for (size_t d = 0; d < given.size; ++d) {
          const double apart = std::fabs(found[d] - want[d] / sum);
          worst = std::isnan(apart) ? 1e9 : std::max(worst, apart);
        }
      }
    }
  }
  return worst;
}

Heads heads_of(size_t heads, size_t kv_heads, size_t window = 0, float cap = 0, float scale = 0, bool rotates = false,
               bool interleaved = false) {
  Heads found;
  found.heads = heads;
  found.kv_heads = kv_heads;
  found.window = window;
  found.cap = cap;
  found.scale = scale;
  found.rotates = rotates;
  found.interleaved = interleaved;
  return found;
}

}  // namespace

int main() {
  const Heads plain = heads_of(4, 2);
  const std::vector<Case> cases{
      {plain, 16, 0, false, false, false},
      {plain, 16, 0, false, false, true},
      {heads_of(9, 3, 0, 0, 0.1f, true), 64, 32, false, false, false},
      {heads_of(4, 1, 0, 0, 0, true, true), 24, 5, false, true, true},
      {heads_of(3, 3, 7), 5, 0, false, false, false},
      {heads_of(2, 1, 70, 0, 0, true), 80, 16, false, false, false},
      {heads_of(2, 2, 0, 2.0f), 33, 0, false, false, false},
      {heads_of(6, 2, 9, 3.0f, 0.5f, true), 16, 8, false, true, false},
      {heads_of(4, 2, 0, 0, 0, true), 32, 16, true, false, false},
      {heads_of(12, 1, 40, 0, 0, true), 20, 4, true, true, true},
      {heads_of(70, 1), 8, 0, false, false, false},
      {heads_of(4, 1), 256, 0, true, false, false},
  };
  std::istringstream each(path_names());
  bool is_wrong = false;
  for (std::string name; each >> name;) {
    std::mt19937 random(7);
    size_t n_calls = 0;
    double worst = 0;
    for (const Case& one : cases) {
      for (const size_t tokens : {1u, 2u, 5u, 37u, 90u}) {
        for (const size_t held : {0u, 3u, 64u, 200u}) {
          if (tokens > 5 && one.heads.heads * one.size > 400 && held > 3) continue;
          worst = std::max(worst, worst_of(attention_path(name), one, 1 + n_calls % 3, tokens, held, random));
          ++n_calls;
        }
      }
    }
    std::printf("%s: %zu calls, worst error %.1e\n", name.c_str(), n_calls, worst);
    is_wrong = is_wrong || !(worst < 1e-5);
  }
  std::printf("chosen: %s\n", attention_path("").name);
  return is_wrong ? 1 : 0;
}
