// The operators `Linear` and `Embed`: MatMulNBits and GatherBlockQuantized over codes that stay where they are mapped.
//
// Linear(x, codes, scales, zero_points?, bias?, factors?, blocks?, weights?) -> y; attributes K, N, bits, block_size,
// accuracy_level (0 or 4), with the last three inputs slot and columns as LowRank has them and, for tests, path.
// Embed(codes, ids, scales, zero_points?) -> rows; attributes K, bits, block_size. Codes are those of MatMulNBits, scales
// float16 or float32.
#include <array>
#include <atomic>
#include <optional>

#include "linear_path.hpp"
#include "low_rank.hpp"
#include "low_rank_node.hpp"
#include "low_rank_steps.hpp"
#include "operators.hpp"
#include "ort_kernel.hpp"
#include "room.hpp"

namespace edgelora::ops::in_place {
namespace {

constexpr int64_t tokens_in_steps = 3;      // up to which a slot's product is done a column at a time
constexpr int64_t bytes_in_part = 1 << 14;  // of codes: below, another thread does not pay
constexpr int64_t most_parts = 32;
constexpr int64_t tokens_in_part = 8;  // that are rounded together
constexpr int64_t most_columns = 1 << 24, most_rows = 1 << 24;  // as in manifests: no product of sizes overflows

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t over(int64_t a, int64_t b) { return (a + b - 1) / b; }

[[noreturn]] void refuse(const std::string& what) { throw std::runtime_error(what); }

std::string shape_text(const Tensor& tensor) {
  std::string text = "[";
  for (size_t i = 0; i < tensor.n_dims; ++i) text += (i ? ", " : "") + std::to_string(tensor.dims[i]);
  return text + "]";
}

// What a node says of its weights.
struct Layout {
  int64_t columns, bits, block_size;

  Layout(const OrtApi& api, const OrtKernelInfo* info)
      : columns(integer(api, info, "K", 0)),
        bits(integer(api, info, "bits", 4)),
        block_size(integer(api, info, "block_size", 32)) {
    if (columns < 1 || columns > most_columns) {
      refuse("K is " + std::to_string(columns) + ", expected 1 to " + std::to_string(most_columns) + " columns");
    }
    if (bits != 2 && bits != 4 && bits != 8) refuse("bits is " + std::to_string(bits) + ", expected 2, 4 or 8");
    if (block_size < 16 || block_size > 256 || (block_size & (block_size - 1)) != 0) {
      refuse("block_size is " + std::to_string(block_size) + ", expected 16, 32, 64, 128 or 256");
    }
  }

  Matrix matrix(const Tensor& codes, const Tensor& scales, const Tensor& zeros) const {
    Matrix m{};
    m.columns = columns;
    m.bits = static_cast<int>(bits);
    m.block_size = static_cast<int>(block_size);
    m.blocks = over(columns, block_size);
    m.rows = codes.n_dims == 0 ? 0 : codes.dims[0];
    if (m.rows > most_rows) {
      refuse("codes have shape " + shape_text(codes) + ", expected at most " + std::to_string(most_rows) + " rows");
    }
    m.codes = codes.as<uint8_t>();
    m.scales = scales.data;
    m.half = scales.type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
    m.zeros = zeros.is_there ? zeros.as<uint8_t>() : nullptr;
    if (!m.half && scales.type != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT) {
      refuse("scales have type " + std::to_string(scales.type) + " of onnxruntime, expected float16 or float32");
    }
    if (codes.count() != m.rows * m.blocks * block_size * bits / 8) {
      refuse("codes have shape " + shape_text(codes) + ", expected [N, " + std::to_string(m.blocks) + ", " +
             std::to_string(block_size * bits / 8) + "]");
    }
    if (scales.count() != m.rows * m.blocks) {
      refuse("scales have shape " + shape_text(scales) + ", expected [" + std::to_string(m.rows) + ", " +
             std::to_string(m.blocks) + "]");
    }
    if (zeros.is_there && zeros.count() != m.rows * over(m.blocks * bits, 8)) {
      refuse("zero_points have shape " + shape_text(zeros) + ", expected [" + std::to_string(m.rows) + ", " +
             std::to_string(over(m.blocks * bits, 8)) + "]");
    }
    return m;
  }
};

class Linear {
 public:
  static constexpr const char* name = "Linear";
  static constexpr std::array<Port, 8> inputs{{{ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
                                               {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8},
                                               {ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED},
                                               {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, true},
                                               {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, true},
                                               {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, true},
                                               {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, true},
                                               {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, true}}};
  static constexpr std::array<Port, 1> outputs{{{ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT}}};
  static constexpr std::array<int, 2> in_place{{-1, -1}};

  Linear(const OrtApi& api, const OrtKernelInfo* info)
      : layout_(api, info), in_floats_(integer(api, info, "accuracy_level", 0) < 4), path_(&linear_path()) {
    const std::string wanted = text(api, info, "path");
    if (!wanted.empty()) path_ = linear_path_named(wanted.c_str());
    if (path_ == nullptr) refuse("path is " + wanted + ", which this processor does not have");
    Matrix m{};
    m.bits = static_cast<int>(layout_.bits);
    m.block_size = static_cast<int>(layout_.block_size);
    if (integer(api, info, "slot", -1) >= 0) {
      const bool is_same = wanted != "neon_dot";  // floats have no use for products of bytes
      low_rank_ = read_low_rank(api, info, static_cast<size_t>(layout_.columns), is_same ? wanted : "neon");
    }
    places_.resize(static_cast<size_t>(layout_.block_size * layout_.bits / 32 * path_->lanes));
    path_->places(m, places_.data());
  }

  void compute(const Call& call) const {
    const Tensor x = call.input(0), bias = call.input(4);
    const Matrix m = layout_.matrix(call.input(1), call.input(2), call.input(3));
    if (x.n_dims == 0 || x.dims[x.n_dims - 1] != m.columns) {
      refuse("x has shape " + shape_text(x) + ", expected " + std::to_string(m.columns) + " columns");
    }
    if (bias.is_there && bias.count() != m.rows) {
      refuse("bias has shape " + shape_text(bias) + ", expected [" + std::to_string(m.rows) + "]");
    }
    const std::vector<Span> spans = read_spans(call, x, m);
    std::vector<int64_t> shape(x.dims, x.dims + x.n_dims);
    shape.back() = m.rows;
    float* y = static_cast<float*>(call.output(0, shape.data(), shape.size()));
    const int64_t tokens = x.count() / m.columns;
    if (tokens == 0 || m.rows == 0) return;
    const float* offsets = bias.is_there ? bias.as<float>() : nullptr;
    const size_t row_tokens = spans.empty() ? 0 : static_cast<size_t>(x.dims[1]);
    if (in_floats_) {
      in_floats(call, m, x.as<float>(), tokens, offsets, y);
    } else if (!spans.empty() && tokens <= tokens_in_steps && Steps::can_cut(low_rank_->layout())) {
      Steps steps(*low_rank_, spans, x.as<float>(), row_tokens, offsets);
      return in_bytes(call, m, x.as<float>(), tokens, offsets, y, &steps);
    } else {
      in_bytes(call, m, x.as<float>(), tokens, offsets, y, nullptr);
    }
    if (!spans.empty()) low_rank_->add(call, spans, x.as<float>(), y, row_tokens, offsets);
  }

 private:
  // What adapters add, none for a node without a slot.
  std::vector<Span> read_spans(const Call& call, const Tensor& x, const Matrix& m) const {
    const Tensor factors = call.input(5), blocks = call.input(6), weights = call.input(7);
    if (!low_rank_) {
      if (factors.is_there || blocks.is_there || weights.is_there) refuse("slot is missing beside an adapter");
      return {};
    }
    if (!factors.is_there || !blocks.is_there || !weights.is_there) refuse("factors, blocks or weights are missing");
    if (static_cast<int64_t>(low_rank_->layout().out_features()) != m.rows) {
      refuse("columns end at " + std::to_string(low_rank_->layout().out_features()) + ", expected " +
             std::to_string(m.rows) + ", the rows of codes");
    }
    if (x.n_dims != 3) refuse("x has shape " + shape_text(x) + ", expected [rows, tokens, K] beside an adapter");
    return low_rank_->spans(read_adapters(factors, blocks, weights), static_cast<size_t>(x.dims[0]));
  }

  // Calls body(first row, row after the last), with parts of whole `step`s of rows.
  template <class Body>
  static void share(const Call& call, const Matrix& m, int64_t step, int64_t parts, Body& body) {
    const int64_t steps = over(m.rows, step);
    auto run = [&](size_t part) {
      const auto i = static_cast<int64_t>(part);
      body(steps * i / parts * step, smaller(m.rows, steps * (i + 1) / parts * step));
    };
    call.parallel(static_cast<size_t>(parts), run);
  }

  static int64_t parts_of(const Matrix& m, int64_t step, int64_t times) {
    const int64_t bytes = m.rows * m.blocks * m.block_size * m.bits / 8 * times;
    return smaller(smaller(over(m.rows, step), most_parts), over(bytes, bytes_in_part));
  }

  void in_floats(const Call& call, const Matrix& m, const float* x, int64_t tokens, const float* bias, float* y) const {
    constexpr int64_t step = 16;
    const int64_t parts = parts_of(m, step, 4 * tokens);
    auto body = [&](int64_t first, int64_t last) {
      path_->floats(m, x, tokens, Part{first, last, bias, y}, room(path_->scratch_bytes(m, true)));
    };
    share(call, m, step, parts, body);
  }

  // With `steps`, a few tokens' deltas as well: x A by whichever thread comes first, and B by the one whose columns they
  // are. Nobody waits for a panel that has not been begun.
  void in_bytes(const Call& call, const Matrix& m, const float* x, int64_t count, const float* bias, float* y,
                Steps* steps) const {
    const bool tiled = count >= path_->least_tiled;
    const int64_t step = tiled ? path_->tile_rows : steps != nullptr ? int64_t{lane} : 8;
    const int64_t parts = parts_of(m, step, tiled ? count : 1);
    Tokens tokens{};
    tokens.count = count;
    tokens.value_stride = over(m.blocks * m.block_size + 4 * 128, 64) * 64;  // room after each of up to four planes
    tokens.scale_stride = over(m.blocks, path_->lanes) * path_->lanes;
    const size_t values = static_cast<size_t>(count * tokens.value_stride);
    const size_t floats = static_cast<size_t>(over(count * tokens.scale_stride, 16) * 16);
    const Room memory(values + 12 * floats);
    tokens.values = reinterpret_cast<int8_t*>(memory.get());
    tokens.scales = reinterpret_cast<float*>(memory.get() + values);
    tokens.sums = tokens.scales + floats;
    tokens.starts = reinterpret_cast<int32_t*>(tokens.sums + floats);
    auto round = [&](size_t part) {
      const auto first = static_cast<int64_t>(part) * tokens_in_part;
      for (int64_t t = first; t < smaller(count, first + tokens_in_part); ++t) path_->quantize(m, x, tiled, tokens, t);
    };
    call.parallel(static_cast<size_t>(over(count, tokens_in_part)), round);
    auto body = [&](int64_t first, int64_t last) {
      if (steps != nullptr) steps->work();
      if (tiled) {
        path_->tiles(m, tokens, Part{first, last, bias, y}, room(path_->scratch_bytes(m, false)));
      } else {
        path_->rows(m, places_.data(), tokens, Part{first, last, bias, y});
      }
      if (steps != nullptr) {
        steps->wait();
        steps->up(y, static_cast<size_t>(first), static_cast<size_t>(last));
      }
    };
    share(call, m, step, parts, body);
  }

  Layout layout_;
  bool in_floats_;
  const Path* path_;
  std::optional<LowRank> low_rank_;
  std::vector<int32_t> places_;
};

class Embed {
 public:
  static constexpr const char* name = "Embed";
  static constexpr std::array<Port, 4> inputs{{{ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8},
                                               {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64},
                                               {ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED},
                                               {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, true}}};
  static constexpr std::array<Port, 1> outputs{{{ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT}}};
  static constexpr std::array<int, 2> in_place{{-1, -1}};

  Embed(const OrtApi& api, const OrtKernelInfo* info) : layout_(api, info) {}

  void compute(const Call& call) const {
    const Tensor ids = call.input(1);
    const Matrix m = layout_.matrix(call.input(0), call.input(2), call.input(3));
    std::vector<int64_t> shape(ids.dims, ids.dims + ids.n_dims);
    shape.push_back(m.columns);
    float* out = static_cast<float*>(call.output(0, shape.data(), shape.size()));
    for (int64_t i = 0; i < ids.count(); ++i) {
      int64_t row = ids.as<int64_t>()[i];
      if (row < -m.rows || row >= m.rows) {
        refuse("id " + std::to_string(row) + " is beyond the table of " + std::to_string(m.rows) + " rows");
      }
      linear_path().widen(m, row < 0 ? row + m.rows : row, out + i * m.columns);
    }
  }

 private:
  Layout layout_;
};

}  // namespace

}  // namespace edgelora::ops::in_place

namespace edgelora::ops {

const OrtCustomOp* linear() {
  static const Operator<in_place::Linear> made;
  return &made;
}

const OrtCustomOp* embed() {
  static const Operator<in_place::Embed> made;
  return &made;
}

}  // namespace edgelora::ops
