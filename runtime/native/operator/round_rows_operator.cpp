// The operator `RoundRows` of the domain `edgelora`: the tokens of an encoder in 8 bits, each with a scale of its own.
//
// RoundRows(x) -> codes uint8 of the same shape, 128 for 0, and scales with a last size of 1. Attribute, for tests: path.
#include <algorithm>
#include <array>
#include <vector>

#include "linear_path.hpp"
#include "operators.hpp"
#include "ort_kernel.hpp"

namespace edgelora::ops {

namespace {

constexpr int64_t worth_sharing = 1 << 15;  // numbers; fewer take less time than waking another thread

class RoundRowsKernel {
 public:
  static constexpr const char* name = "RoundRows";
  static constexpr std::array<Port, 1> inputs{{{ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT}}};
  static constexpr std::array<Port, 2> outputs{
      {{ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8}, {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT}}};
  static constexpr std::array<int, 2> in_place{{-1, -1}};

  RoundRowsKernel(const OrtApi& api, const OrtKernelInfo* info) : path_(&in_place::linear_path()) {
    const std::string wanted = text(api, info, "path");
    if (!wanted.empty()) path_ = in_place::linear_path_named(wanted.c_str());
    if (path_ == nullptr) throw std::invalid_argument("path is " + wanted + ", which this processor does not have");
  }

  void compute(const Call& call) const {
    const Tensor x = call.input(0);
    if (x.n_dims == 0) throw std::invalid_argument("x is a scalar, expected rows");
    const int64_t columns = x.dims[x.n_dims - 1], count = x.count();
    std::vector<int64_t> shape(x.dims, x.dims + x.n_dims);
    auto* codes = static_cast<uint8_t*>(call.output(0, shape.data(), shape.size()));
    shape.back() = 1;
    auto* scales = static_cast<float*>(call.output(1, shape.data(), shape.size()));
    if (columns == 0) throw std::invalid_argument("x has rows of no numbers");
    const int64_t rows = count / columns, parts = std::min(rows, std::max<int64_t>(1, count / worth_sharing));
    if (rows == 0) return;
    auto part = [&](size_t index) {
      const auto i = static_cast<int64_t>(index);
      for (int64_t row = rows * i / parts; row < rows * (i + 1) / parts; ++row) {
        scales[row] = path_->round_row(x.as<float>() + row * columns, columns, codes + row * columns);
      }
    };
    call.parallel(static_cast<size_t>(parts), part);
  }

 private:
  const in_place::Path* path_;
};

}  // namespace

const OrtCustomOp* round_rows() {
  static const Operator<RoundRowsKernel> made;
  return &made;
}

}  // namespace edgelora::ops
