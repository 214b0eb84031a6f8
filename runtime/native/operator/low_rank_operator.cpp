// The operator `LowRank` of the domain `edgelora`: y * scales + bias + residual + (x A) B in one node, for every adapter of
// a batch; scales, bias and residual may be left out. With two or three parts it may have an output for each of them.
// `LowRankGelu` gives GELU of the same.
#include <algorithm>
#include <array>
#include <vector>

#include "cpu.hpp"
#include "low_rank.hpp"
#include "low_rank_node.hpp"
#include "operators.hpp"
#include "ort_kernel.hpp"

namespace edgelora::ops {

namespace {

size_t read_features(const OrtApi& api, const OrtKernelInfo* info) {
  const int64_t found = integer(api, info, "in_features", 0);
  if (found < 1 || found > most_features) throw std::invalid_argument("in_features is missing or out of range");
  return static_cast<size_t>(found);
}

template <bool gelu>
class LowRankKernel {
 public:
  static constexpr const char* name = gelu ? "LowRankGelu" : "LowRank";
  static constexpr std::array<Port, 8> inputs{{
      {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},  // x (rows, tokens, in_features)
      {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},  // y (rows, tokens, out_features)
      {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8},  // factors
      {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64},  // blocks
      {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},  // weights
      {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, true},  // scales (rows, tokens, 1): what y is multiplied with
      {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, true},  // bias (out_features)
      {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, true},  // residual (rows, tokens, out_features)
  }};
  static constexpr std::array<Port, 3> outputs{{
      {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},  // all columns; or those of the first of two or three parts
      {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, true},
      {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, true},
  }};
  static constexpr std::array<int, 2> in_place{{1, 0}};

  LowRankKernel(const OrtApi& api, const OrtKernelInfo* info)
      : low_rank_(read_low_rank(api, info, read_features(api, info), text(api, info, "path"), gelu)) {
    check(api, api.KernelInfo_GetOutputCount(info, &n_outputs_));
    if (n_outputs_ > 1 && n_outputs_ != low_rank_.layout().parts()) {
      throw std::invalid_argument("has other outputs than one, or one for each part of its columns");
    }
  }

  void compute(const Call& call) const {
    const Tensor x = call.input(0), y = call.input(1);
    const Layout& layout = low_rank_.layout();
    if (x.n_dims != 3 || y.n_dims != 3 || x.dims[0] != y.dims[0] || x.dims[1] != y.dims[1] ||
        x.dims[2] != static_cast<int64_t>(layout.in_features) ||
        y.dims[2] != static_cast<int64_t>(layout.out_features())) {
      throw std::invalid_argument("expected x [rows, tokens, in_features] and y [rows, tokens, out_features]");
    }
    const Adapters adapters = read_adapters(call.input(2), call.input(3), call.input(4));
    const std::vector<Span> spans = low_rank_.spans(adapters, static_cast<size_t>(x.dims[0]));
    const Tensor scales = call.input(5), bias = call.input(6), residual = call.input(7);
    if (scales.is_there && scales.count() != y.dims[0] * y.dims[1]) {
      throw std::invalid_argument("expected scales [rows, tokens, 1]");
    }
    if (bias.is_there && bias.count() != y.dims[2]) throw std::invalid_argument("expected bias [out_features]");
    if (residual.is_there && (residual.n_dims != 3 || !std::equal(y.dims, y.dims + 3, residual.dims))) {
      throw std::invalid_argument("expected residual [rows, tokens, out_features]");
    }
    const auto tokens = static_cast<size_t>(x.dims[1]), all_tokens = tokens * static_cast<size_t>(x.dims[0]);
    Scale scale;
    scale.from = y.as<float>();
    scale.from_stride = scale.y_stride = layout.out_features();
    scale.tokens = all_tokens;
    scale.scales = scales.as<float>();
    scale.bias = bias.as<float>();
    scale.residual = residual.as<float>();
    scale.residual_stride = layout.out_features();
    std::vector<float*> parts;
    std::vector<int64_t> shape(y.dims, y.dims + y.n_dims);
    for (size_t i = 0; i < n_outputs_; ++i) {
      if (n_outputs_ > 1) shape[2] = static_cast<int64_t>(layout.width(i));
      parts.push_back(static_cast<float*>(call.output(i, shape.data(), shape.size())));
    }
    if (n_outputs_ > 1) return low_rank_.scale_and_add(call, spans, x.as<float>(), scale, tokens, parts);
    scale.y = parts.front();
    const bool changes = scales.is_there || bias.is_there || residual.is_there || gelu;
    const bool is_there = scale.y == scale.from && !changes;
    if (is_there) return low_rank_.add(call, spans, x.as<float>(), scale.y, tokens);
    low_rank_.scale_and_add(call, spans, x.as<float>(), scale, tokens);
  }

 private:
  LowRank low_rank_;
  size_t n_outputs_ = 1;
};

}  // namespace

const OrtCustomOp* low_rank() {
  static const Operator<LowRankKernel<false>> made;
  return &made;
}

const OrtCustomOp* low_rank_gelu() {
  static const Operator<LowRankKernel<true>> made;
  return &made;
}

}  // namespace edgelora::ops

#if defined(_WIN32)
extern "C" __declspec(dllexport)
#else
extern "C" __attribute__((visibility("default")))
#endif
    const char* edgelora_ops_paths() {
  return edgelora::ops::path_names();
}
