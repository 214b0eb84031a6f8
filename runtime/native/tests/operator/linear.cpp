// Every path of the linear that this processor has, against sums in double: linear [PATH...]
//
// Codes, scales and zero points end where their memory ends, so that a path that reads beyond them is stopped. With
// `--time` it prints nanoseconds of one token, of 8 and of 64 instead.
#include "linear_path.hpp"

#include "harness.hpp"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

using namespace edgelora::ops::in_place;

namespace {

uint16_t to_half(float value) {  // of numbers that float16 holds
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return static_cast<uint16_t>((bits >> 16 & 0x8000) | (((bits >> 23 & 0xff) - 112) << 10) | (bits >> 13 & 0x3ff));
}

struct Weights {
  Matrix m{};
  Fenced codes, scales, zeros;
  std::vector<double> values;  // (rows, columns)
  std::vector<double> reach;   // what a code of the block can stand for at most

  Weights(int64_t rows, int64_t columns, int bits, int block_size, bool has_zeros, bool half, std::mt19937& random)
      : codes(static_cast<size_t>(rows * over(columns, block_size) * block_size * bits / 8)),
        scales(static_cast<size_t>(rows * over(columns, block_size) * (half ? 2 : 4))),
        zeros(static_cast<size_t>(rows * over(over(columns, block_size) * bits, 8))) {
    m = Matrix{codes.data(), scales.data(), half, has_zeros ? zeros.data() : nullptr, rows, columns,
               over(columns, block_size), bits, block_size};
    for (size_t i = 0; i < codes.bytes(); ++i) codes.data()[i] = static_cast<uint8_t>(random());
    for (size_t i = 0; i < zeros.bytes(); ++i) zeros.data()[i] = static_cast<uint8_t>(random());
    std::vector<float> scale(static_cast<size_t>(rows * m.blocks));
    for (size_t i = 0; i < scale.size(); ++i) {
      scale[i] = static_cast<float>(static_cast<int>(random() % 512) - 256) / 4096.0f;
      if (scale[i] == 0) scale[i] = 0.5f;
      const uint16_t narrow = to_half(scale[i]);
      std::memcpy(scales.data() + i * (half ? 2 : 4), half ? static_cast<const void*>(&narrow) : &scale[i], half ? 2 : 4);
    }
    const int mask = (1 << bits) - 1;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < columns; ++c) {
        const int64_t b = c / block_size, zero_at = b * bits;
        const uint8_t code = codes.data()[(r * m.blocks * block_size + c) * bits / 8] >> (c * bits % 8) & mask;
        const uint8_t point = zeros.data()[r * over(m.blocks * bits, 8) + zero_at / 8] >> (zero_at % 8) & mask;
        const double s = scale[static_cast<size_t>(r * m.blocks + b)];
        values.push_back((code - (has_zeros ? point : 1 << (bits - 1))) * s);
        reach.push_back(std::fabs(s) * mask);
      }
    }
  }

  static int64_t over(int64_t a, int64_t b) { return (a + b - 1) / b; }
};

enum class Way { rows, tiles, floats };

std::vector<float> multiply(const Path& path, const Matrix& m, const std::vector<float>& x, const float* bias, Way way) {
  const auto tokens = static_cast<int64_t>(x.size()) / m.columns;
  std::vector<float> y(static_cast<size_t>(tokens * m.rows), NAN);
  std::vector<int32_t> places(static_cast<size_t>(m.block_size * m.bits / 32 * path.lanes));
  path.places(m, places.data());
  const int64_t stride = (m.blocks * m.block_size + 4 * 128) / 64 * 64, scale_stride = Weights::over(m.blocks, path.lanes) * path.lanes;
  std::vector<int8_t> values(static_cast<size_t>(tokens * stride));
  std::vector<float> scales(static_cast<size_t>(2 * tokens * scale_stride));
  std::vector<int32_t> starts(static_cast<size_t>(tokens * scale_stride));
  const Tokens t{values.data(), scales.data(), scales.data() + tokens * scale_stride, starts.data(), stride, scale_stride,
                 tokens};
  std::vector<uint8_t> memory(path.scratch_bytes(m, way == Way::floats) + 64);
  auto* scratch = reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(memory.data()) + 63) / 64 * 64);
  if (way != Way::floats) {
    for (int64_t k = 0; k < tokens; ++k) path.quantize(m, x.data(), way == Way::tiles, t, k);
  }
  const int64_t middle = m.rows / 2 / path.tile_rows * path.tile_rows;  // two parts, as two threads have them
  for (const auto& [first, last] : {std::pair<int64_t, int64_t>{0, middle}, {middle, m.rows}}) {
    const Part part{first, last, bias, y.data()};
    if (way == Way::rows) path.rows(m, places.data(), t, part);
    if (way == Way::tiles) path.tiles(m, t, part, scratch);
    if (way == Way::floats) path.floats(m, x.data(), tokens, part, scratch);
  }
  return y;
}

// Activations as accuracy level 4 rounds them.
std::vector<double> rounded(const Matrix& m, const std::vector<float>& x) {
  std::vector<double> found(x.begin(), x.end());
  for (size_t first = 0; first < x.size(); first += static_cast<size_t>(m.columns)) {
    for (int64_t b = 0; b < m.columns; b += m.block_size) {
      const int64_t end = std::min(m.columns, b + m.block_size);
      float most = 0;
      for (int64_t i = b; i < end; ++i) most = std::max(most, std::fabs(x[first + static_cast<size_t>(i)]));
      const float scale = most / 127.0f, inverse = scale != 0 ? 1.0f / scale : 0.0f;
      for (int64_t i = b; i < end; ++i) {
        double& value = found[first + static_cast<size_t>(i)];
        volatile float step = x[first + static_cast<size_t>(i)] * inverse;  // rounded to a float, as paths do
        value = static_cast<double>(std::nearbyint(step)) * static_cast<double>(scale);
      }
    }
  }
  return found;
}

double largest_difference(const Weights& w, const std::vector<float>& x, const std::vector<double>& meant, const float* bias,
                          const std::vector<float>& y) {
  const Matrix& m = w.m;
  double largest = 0;
  for (size_t t = 0; t < x.size() / static_cast<size_t>(m.columns); ++t) {
    for (int64_t r = 0; r < m.rows; ++r) {
      double sum = bias ? static_cast<double>(bias[r]) : 0, most = 1e-9 + std::fabs(sum);
      for (int64_t c = 0; c < m.columns; ++c) {
        const auto at = static_cast<size_t>(r * m.columns + c), here = t * static_cast<size_t>(m.columns) + static_cast<size_t>(c);
        sum += meant[here] * w.values[at];
        most += std::fabs(static_cast<double>(x[here])) * w.reach[at];
      }
      const double apart = std::fabs(static_cast<double>(y[t * static_cast<size_t>(m.rows) + static_cast<size_t>(r)]) - sum) / most;
      if (!(apart <= largest)) largest = apart;  // also where it is no number
    }
  }
  return largest;
}

int check(const Path& path) {
  std::mt19937 random(1);
  double largest = 0;
  int products = 0, failures = 0;
  for (const int bits : {2, 4, 8}) {
    for (const int block_size : {16, 32, 64, 128, 256}) {
      for (const auto& [rows, columns] : {std::pair<int64_t, int64_t>{1, 16}, {3, 100}, {37, 576}, {66, 257}, {33, 1}}) {
        for (const int form : {0, 1, 2, 3}) {
          const Weights w(rows, columns, bits, block_size, form & 1, form & 2, random);
          const size_t tokens = form == 0 ? 1 : form == 1 ? 3 : form == 2 ? 7 : 13;
          std::vector<float> x(tokens * static_cast<size_t>(columns)), bias(static_cast<size_t>(rows));
          for (float& value : x) value = static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 400.0f;
          for (float& value : bias) value = static_cast<float>(random() % 100) / 50.0f;
          const std::vector<double> near = rounded(w.m, x), exact(x.begin(), x.end());
          for (const Way way : {Way::rows, Way::tiles, Way::floats}) {
            const float* offset = form & 1 ? bias.data() : nullptr;
            const auto y = multiply(path, w.m, x, offset, way);
            const double apart = largest_difference(w, x, way == Way::floats ? exact : near, offset, y);
            ++products;
            if (!(apart <= largest)) largest = apart;
            if (!(apart < 1e-5)) {
              ++failures;
              std::printf("%s: %d bits, blocks of %d, %dx%d, form %d, way %d: off by %g\n", path.name, bits, block_size,
                          static_cast<int>(rows), static_cast<int>(columns), form, static_cast<int>(way), apart);
            }
          }
        }
      }
    }
  }
  std::printf("%s: %d products, largest difference %.2g\n", path.name, products, largest);
  return failures;
}

// Whole rows in bytes around 128: the codes of plain C++, each within half a step of its number.
int check_round_row(const Path& path) {
  std::mt19937 random(2);
  int failures = 0;
  for (const size_t columns : {1u, 15u, 16u, 37u, 255u, 384u, 1500u}) {
    std::vector<float> x(columns);
    for (float& value : x) value = static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 400.0f;
    std::vector<uint8_t> codes(columns), expected(columns);
    const auto count = static_cast<int64_t>(columns);
    const float scale = path.round_row(x.data(), count, codes.data());
    bool is_wrong = scale != linear_plain.round_row(x.data(), count, expected.data()) || codes != expected;
    for (size_t i = 0; i < columns; ++i) {
      is_wrong = is_wrong || !(std::fabs(static_cast<float>(codes[i] - 128) * scale - x[i]) < 0.501f * scale);
    }
    if (!is_wrong) continue;
    ++failures;
    std::printf("%s: a row of %d is rounded to other bytes\n", path.name, static_cast<int>(columns));
  }
  return failures;
}

double nanoseconds(const Path& path, const Matrix& m, size_t tokens, Way way) {
  std::vector<float> x(tokens * static_cast<size_t>(m.columns), 0.5f);
  double best = 1e18;
  for (int i = 0; i < 200; ++i) {
    const auto start = std::chrono::steady_clock::now();
    multiply(path, m, x, nullptr, way);
    best = std::min(best, std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

void time(const Path& path) {
  std::mt19937 random(1);
  for (const int bits : {4, 8}) {
    for (const bool has_zeros : {false, true}) {
      const Weights w(576, 1536, bits, 32, has_zeros, true, random);
      std::printf("%s: %d bits%s: %.0f ns a token, %.0f ns for 8, %.0f ns for 64\n", path.name, bits,
                  has_zeros ? ", zero points" : "", nanoseconds(path, w.m, 1, Way::rows),
                  nanoseconds(path, w.m, 8, Way::tiles), nanoseconds(path, w.m, 64, Way::tiles));
    }
  }
}

}  // namespace

int main(int count, char** arguments) {
  std::vector<std::string> wanted(arguments + 1, arguments + count);
  const bool timed = !wanted.empty() && wanted[0] == "--time";
  if (timed) wanted.erase(wanted.begin());
  int failures = 0;
  if (wanted.empty()) wanted = {"avx512", "avx2", "neon_dot", "neon", "plain"};
  for (const std::string& name : wanted) {
    const Path* path = linear_path_named(name.c_str());
    if (path == nullptr) continue;
    if (timed) {
      time(*path);
    } else {
      failures += check(*path) + check_round_row(*path);
    }
  }
  std::printf("chosen: %s\n", linear_path().name);
  return failures == 0 ? 0 : 1;
}
