// Every path of the low-rank operator that this processor has, against sums in double: low_rank [--time]
//
// Packed adapters end where their memory ends, so that a path that reads beyond them is stopped, and rows are worked on
// by threads as onnxruntime would. With `--time` it prints microseconds of one token and of 64 instead.
#include "cpu.hpp"
#include "low_rank.hpp"
#include "low_rank_steps.hpp"

#include "harness.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <sstream>

using namespace edgelora::ops;

namespace {

uint16_t to_half(float value) {  // of numbers that float16 holds
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  if ((bits & 0x7fffffff) == 0) return static_cast<uint16_t>(bits >> 16);
  return static_cast<uint16_t>((bits >> 16 & 0x8000) | (((bits >> 23 & 0xff) - 112) << 10) | (bits >> 13 & 0x3ff));
}

// Small whole numbers over 64, which every kind holds exactly (int8 as the whole numbers).
struct Side {
  size_t ranks, count;
  std::vector<int> numbers;  // (ranks, count)

  Side(size_t ranks_, size_t count_, std::mt19937& random) : ranks(ranks_), count(count_), numbers(ranks_ * count_) {
    for (int& number : numbers) number = static_cast<int>(random() % 255) - 127;
  }
  double value(size_t rank, size_t i, Kind kind) const {
    return numbers[rank * count + i] / (kind == Kind::int8 ? 1.0 : 64.0);
  }
};

void put(std::vector<unsigned char>& bytes, const void* data, size_t size) {
  const size_t start = bytes.size();
  bytes.resize(start + (size + line - 1) / line * line);
  if (size > 0) std::memcpy(bytes.data() + start, data, size);
}

// Ranks `from` to `to` as (lanes, ranks, 16), appended to `packed`.
void put_lanes(std::vector<unsigned char>& packed, const Side& side, size_t from, size_t to, Kind kind) {
  for (size_t n = 0; n < lanes(side.count); ++n) {
    for (size_t r = from; r < to; ++r) {
      for (size_t i = n * lane; i < (n + 1) * lane; ++i) {
        const int number = i < side.count ? side.numbers[r * side.count + i] : 0;
        const float value = static_cast<float>(number) / 64.0f;
        const uint16_t half = to_half(value);
        const auto code = static_cast<signed char>(number);
        const void* chosen = &code;
        if (kind == Kind::float32) chosen = &value;
        if (kind == Kind::float16) chosen = &half;
        const auto* byte = static_cast<const unsigned char*>(chosen);
        packed.insert(packed.end(), byte, byte + width_of(kind));
      }
    }
  }
}

// An adapter at one slot: parts of equal rank, each with its own part of A or all with the same.
struct Packed {
  Layout layout;
  Kind kind;
  size_t rank;
  bool is_shared;
  Side a;
  std::vector<Side> b;
  std::vector<unsigned char> bytes;

  Packed(const Layout& layout_, Kind kind_, size_t rank_, bool is_shared_, std::mt19937& random)
      : layout(layout_), kind(kind_), rank(rank_), is_shared(is_shared_),
        a(rank_ * (is_shared_ ? 1 : layout_.parts()), layout_.in_features, random) {
    std::vector<int32_t> head{static_cast<int32_t>(kind), static_cast<int32_t>(a.ranks),
                              static_cast<int32_t>(layout.parts()), 0};
    std::vector<float> scales;
    for (size_t p = 0; p < layout.parts(); ++p) {
      head.push_back(is_shared ? 0 : static_cast<int32_t>(p * rank));
      head.push_back(static_cast<int32_t>(rank));
      for (size_t r = 0; r < rank; ++r) scales.push_back(scale(p, r));
      b.emplace_back(rank, layout.width(p), random);
    }
    put(bytes, head.data(), 4 * head.size());
    put(bytes, scales.data(), 4 * scales.size());
    std::vector<unsigned char> packed;
    for (size_t from = 0; from < a.ranks; from += panel) {
      put_lanes(packed, a, from, std::min(a.ranks, from + panel), kind);
    }
    put(bytes, packed.data(), packed.size());
    for (const Side& side : b) {
      packed.clear();
      put_lanes(packed, side, 0, rank, kind);
      put(bytes, packed.data(), packed.size());
    }
  }
  static float scale(size_t part, size_t rank) {
    return 0.25f * static_cast<float>(1 + part) / static_cast<float>(1 + rank);
  }

  // Adds the delta of one token, and to `reach` what its terms can amount to.
  void add(const float* x, double weight, double* y, double* reach) const {
    for (size_t p = 0; p < layout.parts(); ++p) {
      for (size_t r = 0; r < rank; ++r) {
        double h = 0, most = 0;
        for (size_t k = 0; k < layout.in_features; ++k) {
          const double term = x[k] * a.value((is_shared ? 0 : p * rank) + r, k, kind);
          h += term;
          most += std::fabs(term);
        }
        for (size_t n = 0; n < layout.width(p); ++n) {
          const double factor = weight * scale(p, r) * b[p].value(r, n, kind);
          y[layout.columns[p] + n] += h * factor;
          reach[layout.columns[p] + n] += most * std::fabs(factor);
        }
      }
    }
  }
};

// The largest error over what the sums' terms can amount to; each row has two adapters, the last row none.
double worst_of(const Path& path, const Layout& layout, Kind kind, size_t rank, bool is_shared, size_t rows,
                size_t tokens, std::mt19937& random) {
  OrtApi api{};
  api.KernelContext_ParallelFor = run_on_threads;
  const Call call(api, nullptr);
  const Packed one(layout, kind, rank, is_shared, random), other(layout, Kind::float16, 3, false, random);
  std::vector<unsigned char> bytes = one.bytes;
  bytes.insert(bytes.end(), other.bytes.begin(), other.bytes.end());
  const Fenced memory(bytes);
  std::vector<int64_t> blocks;
  std::vector<float> weights;
  for (size_t row = 0; row < rows; ++row) {
    const bool is_none = rows > 1 && row + 1 == rows;
    blocks.insert(blocks.end(), {is_none ? -1 : 0, row % 2 ? static_cast<int64_t>(one.bytes.size()) : -1});
    weights.insert(weights.end(), {1.0f, -0.5f});
  }
  Adapters adapters;
  adapters.bytes = memory.data();
  adapters.size = bytes.size();
  adapters.blocks = blocks.data();
  adapters.weights = weights.data();
  adapters.rows = rows;
  adapters.pieces = 2;
  adapters.slots = 1;
  const std::vector<float> x = draw(rows * tokens * layout.in_features, random);
  std::vector<float> y = draw(rows * tokens * layout.out_features(), random);
  std::vector<double> want(y.begin(), y.end()), reach(y.size(), 1.0);
  for (size_t t = 0; t < rows * tokens; ++t) {
    const size_t row = t / tokens;
    double* to = want.data() + t * layout.out_features();
    double* most = reach.data() + t * layout.out_features();
    if (rows == 1 || row + 1 < rows) one.add(x.data() + t * layout.in_features, 1.0, to, most);
    if (row % 2) other.add(x.data() + t * layout.in_features, -0.5, to, most);
  }
  const LowRank low_rank(layout, 0, path, false), curved(layout, 0, path, true);
  const std::vector<Span> spans = low_rank.spans(adapters, rows);
  double worst = 0;
  if (Steps::can_cut(layout)) {  // each thread also a share of the columns, as beside a linear
    std::vector<float> cut = y;
    Steps steps(low_rank, spans, x.data(), tokens, nullptr);
    const size_t n = layout.out_features(), shares = std::min<size_t>(4, lanes(n));
    auto share = [&](size_t i) {
      steps.work();
      steps.wait();
      steps.up(cut.data(), lanes(n) * i / shares * lane, std::min(n, lanes(n) * (i + 1) / shares * lane));
    };
    call.parallel(shares, share);
    for (size_t i = 0; i < cut.size(); ++i) worst = std::max(worst, std::fabs(cut[i] - want[i]) / reach[i]);
  }
  const size_t n = layout.out_features();
  const std::vector<float> scales = draw(rows * tokens, random), bias = draw(n, random);
  const std::vector<float> residual = draw(rows * tokens * n, random);
  Scale scale;
  scale.from = y.data();
  scale.from_stride = scale.y_stride = n;
  scale.tokens = rows * tokens;
  scale.scales = scales.data();
  scale.bias = bias.data();
  scale.residual = residual.data();
  scale.residual_stride = n;
  std::vector<float> scaled(y.size());
  std::vector<float*> parts;  // one behind the other
  for (size_t i = 0; i < layout.parts(); ++i) parts.push_back(scaled.data() + scale.tokens * layout.columns[i]);
  const bool has_gelu = tokens % 2 == 1;
  (has_gelu ? curved : low_rank).scale_and_add(call, spans, x.data(), scale, tokens, parts);
  for (size_t i = 0; i < y.size(); ++i) {
    const size_t t = i / n, column = i % n;
    size_t part = 0;
    while (layout.columns[part + 1] <= column) ++part;
    const float found = parts[part][t * layout.width(part) + column - layout.columns[part]];
    const double own = y[i], sum = want[i] - own + own * scales[t] + bias[column] + residual[i];
    const double expected = has_gelu ? sum / 2 * (1 + std::erf(sum / std::sqrt(2.0))) : sum;
    worst = std::max(worst, std::fabs(found - expected) / (reach[i] + std::fabs(own * scales[t]) + 2.0));
  }
  low_rank.add(call, spans, x.data(), y.data(), tokens);
  for (size_t i = 0; i < y.size(); ++i) worst = std::max(worst, std::fabs(y[i] - want[i]) / reach[i]);
  return worst;
}

void time(const Path& path) {
  std::mt19937 random(1);
  OrtApi api{};
  const Call call(api, nullptr);
  const Layout layout{576, {0, 1536, 3072}};
  for (const Kind kind : {Kind::float32, Kind::float16, Kind::int8}) {
    const Packed packed(layout, kind, 16, false, random);
    const std::vector<float> x = draw(64 * layout.in_features, random);
    std::vector<float> y(64 * layout.out_features());
    const Block block = read_block(packed.bytes.data(), packed.bytes.size(), 0, layout);
    for (const size_t tokens : {size_t{1}, size_t{64}}) {
      std::vector<float> h(tokens * block.rank), wide(panel * 1024 + 16 * 64 * lane);
      double best = 1e9;
      for (int i = 0; i < 400; ++i) {
        const auto start = std::chrono::steady_clock::now();
        path.down({x.data(), layout.in_features, tokens, layout.in_features, block.a, kind, block.rank, 0,
                   lanes(layout.in_features), h.data(), block.rank, wide.data()});
        for (size_t p = 0; p < 2; ++p) {
          path.up({h.data() + 16 * p, block.rank, tokens, block.parts[p].b, kind, 16, 1536, 0, 96,
                   y.data() + layout.columns[p], layout.out_features(), wide.data()});
        }
        const std::chrono::duration<double, std::micro> taken = std::chrono::steady_clock::now() - start;
        best = std::min(best, taken.count());
      }
      std::printf("%s kind %d, %zu tokens: %.2f us\n", path.name, static_cast<int>(kind), tokens, best);
    }
  }
}

}  // namespace

int main(int count, char** words) {
  const bool is_timed = count > 1 && std::strcmp(words[1], "--time") == 0;
  std::istringstream names(path_names());
  bool is_wrong = false;
  for (std::string name; names >> name;) {
    const Path& path = find_path(name);
    if (is_timed) {
      time(path);
      continue;
    }
    std::mt19937 random(7);
    size_t n_products = 0;
    double worst = 0;
    for (const Layout& layout : {Layout{64, {0, 48}}, Layout{37, {0, 19, 20, 53}}, Layout{130, {0, 33, 49}},
                                 Layout{5, {0, 3}}, Layout{1500, {0, 1000, 2000}}}) {
      for (const Kind kind : {Kind::float32, Kind::float16, Kind::int8}) {
        for (const size_t rank : {1u, 3u, 8u, 16u, 37u}) {
          for (const bool is_shared : {false, true}) {
            for (const size_t tokens : {1u, 2u, 5u, 33u}) {
              const size_t rows = n_products % 3 ? 1 + n_products % 4 : 1;
              if (layout.in_features > 1000 && (tokens > 1 || rank != 16 || is_shared)) continue;
              if (tokens > 5 && rank > 16) continue;
              worst = std::max(worst, worst_of(path, layout, kind, rank, is_shared, rows, tokens, random));
              ++n_products;
            }
          }
        }
      }
    }
    std::printf("%s: %zu products, worst error %.1e of the terms\n", name.c_str(), n_products, worst);
    is_wrong = is_wrong || !(worst < 2e-6);
  }
  if (!is_timed) std::printf("chosen: %s\n", find_path("").name);
  return is_wrong ? 1 : 0;
}
