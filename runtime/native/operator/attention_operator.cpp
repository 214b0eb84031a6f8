// The operator `GroupQueryAttention` of the domain `edgelora`: that of com.microsoft with the same inputs, outputs and
// attributes, for what graphs of this project have of them.
//
// Attributes num_heads, kv_num_heads, scale, softcap, local_window_size, do_rotary, rotary_interleaved and, for tests, path.
#include <array>
#include <cmath>

#include "attention.hpp"
#include "operators.hpp"
#include "ort_kernel.hpp"

namespace edgelora::ops {

namespace {

constexpr ONNXTensorElementDataType floats = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
                                    words = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
                                    long_words = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
                                    bytes = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8;
constexpr int64_t most_heads = 1 << 16, most_positions = int64_t{1} << 31;

[[noreturn]] void refuse(const char* what) { throw std::invalid_argument(what); }

size_t read_heads(const OrtApi& api, const OrtKernelInfo* info, const char* name) {
  const int64_t found = integer(api, info, name, 0);
  if (found < 1 || found > most_heads) refuse("num_heads or kv_num_heads is missing or out of range");
  return static_cast<size_t>(found);
}

float read_float(const OrtApi& api, const OrtKernelInfo* info, const char* name) {
  float found = 0;
  if (OrtStatus* status = api.KernelInfoGetAttribute_float(info, name, &found)) {
    api.ReleaseStatus(status);
    return 0;
  }
  if (!std::isfinite(found) || found < 0) refuse("scale or softcap is negative, or no number");
  return found;
}

// onnxruntime chooses between operators of one name by the types of their inputs.
template <ONNXTensorElementDataType cache_type>
class GroupQueryAttentionKernel {
 public:
  static constexpr const char* name = "GroupQueryAttention";
  static constexpr std::array<Port, 14> inputs{{
      {floats},        // q (rows, tokens, heads * size), or with keys and values behind it
      {floats, true},  // k (rows, tokens, kv_heads * size)
      {floats, true},  // v
      {cache_type},    // past keys (rows, kv_heads, capacity, size), float32 or int8
      {cache_type},    // past values
      {words},         // tokens of each row with those of this call, less one
      {words},         // tokens of the longest row
      {floats, true},  // cosines (positions, half)
      {floats, true},  // sines
      {long_words, true},  // positions: not taken
      {floats, true},      // a bias: not taken
      {floats, true},  // sinks (heads)
      {floats, true},  // steps of int8 keys (1, kv_heads, 1, size)
      {floats, true},  // of values
  }};
  static constexpr std::array<Port, 3> outputs{{{floats}, {cache_type}, {cache_type}}};
  static constexpr std::array<int, 2> in_place{{-1, -1}};

  GroupQueryAttentionKernel(const OrtApi& api, const OrtKernelInfo* info)
      : path_(&attention_path(text(api, info, "path"))) {
    heads_.heads = read_heads(api, info, "num_heads");
    heads_.kv_heads = read_heads(api, info, "kv_num_heads");
    if (heads_.heads % heads_.kv_heads != 0) refuse("num_heads is no multiple of kv_num_heads");
    heads_.scale = read_float(api, info, "scale");
    heads_.cap = read_float(api, info, "softcap");
    const int64_t window = integer(api, info, "local_window_size", -1);
    heads_.window = window < 1 ? 0 : static_cast<size_t>(window);
    heads_.rotates = integer(api, info, "do_rotary", 0) == 1;
    heads_.interleaved = integer(api, info, "rotary_interleaved", 0) == 1;
  }

  void compute(const Call& call) const {
    AttentionCall given{};
    const Tensor q = call.input(0), past = call.input(3), past_values = call.input(4);
    if (q.n_dims != 3 || past.n_dims != 4 || past_values.n_dims != 4) {
      refuse("expected q [rows, tokens, heads * size], past keys and values [rows, kv_heads, capacity, size]");
    }
    if (call.input(9).is_there || call.input(10).is_there) refuse("takes no positions and no bias");
    given.rows = static_cast<size_t>(q.dims[0]);
    given.tokens = static_cast<size_t>(q.dims[1]);
    given.size = static_cast<size_t>(past.dims[3]);
    for (size_t i = 0; i < 4; ++i) {
      if (past.dims[i] != past_values.dims[i]) refuse("past keys and past values have other shapes");
    }
    if (past.dims[0] != q.dims[0] || past.dims[1] != static_cast<int64_t>(heads_.kv_heads) || given.size == 0) {
      refuse("past keys are not [rows, kv_heads, capacity, size]");
    }
    read_projections(call, q, given);
    read_lengths(call, past, given);
    if (heads_.rotates) read_angles(call, given);
    read_steps(call, past, past_values, given);
    const Tensor sinks = call.input(11);
    if (sinks.is_there && sinks.count() != static_cast<int64_t>(heads_.heads)) refuse("expected sinks [heads]");
    given.sinks = sinks.as<float>();
    const int64_t shape[3] = {q.dims[0], q.dims[1], static_cast<int64_t>(heads_.heads * given.size)};
    const int64_t cache[4] = {past.dims[0], past.dims[1], static_cast<int64_t>(given.capacity), past.dims[3]};
    given.y = static_cast<float*>(call.output(0, shape, 3));
    given.keys.present = call.output(1, cache, 4);
    given.values.present = call.output(2, cache, 4);
    attention(call, *path_, heads_, given);
  }

 private:
  void read_projections(const Call& call, const Tensor& q, AttentionCall& given) const {
    const Tensor k = call.input(1), v = call.input(2);
    const size_t own = heads_.heads * given.size, shared = heads_.kv_heads * given.size;
    if (k.is_there != v.is_there) refuse("expected keys and values, or neither");
    const size_t width = k.is_there ? own : own + 2 * shared;
    if (q.dims[2] != static_cast<int64_t>(width)) refuse("q has another number of columns than its heads");
    given.q = {q.as<float>(), width};
    if (!k.is_there) {
      given.k = {given.q.numbers + own, width};
      given.v = {given.q.numbers + own + shared, width};
      return;
    }
    for (const Tensor* one : {&k, &v}) {
      if (one->n_dims != 3 || one->dims[0] != q.dims[0] || one->dims[1] != q.dims[1] ||
          one->dims[2] != static_cast<int64_t>(shared)) {
        refuse("keys or values are not [rows, tokens, kv_heads * size]");
      }
    }
    given.k = {k.as<float>(), shared};
    given.v = {v.as<float>(), shared};
  }

  // A call that gives the longest row all of its tokens begins every row.
  void read_lengths(const Call& call, const Tensor& past, AttentionCall& given) const {
    const Tensor last = call.input(5), total = call.input(6);
    if (last.count() != static_cast<int64_t>(given.rows) || total.count() != 1) {
      refuse("expected lengths [rows] and one total length");
    }
    const int64_t longest = *total.as<int32_t>(), tokens = static_cast<int64_t>(given.tokens);
    const int64_t held = past.dims[2], capacity = longest > held ? longest : held;
    if (longest < tokens || longest > most_positions) refuse("the total length is shorter than this call, or negative");
    given.past_capacity = static_cast<size_t>(held);
    given.capacity = static_cast<size_t>(capacity);
    for (size_t row = 0; row < given.rows; ++row) {
      const int64_t length = longest == tokens ? 0 : int64_t{last.as<int32_t>()[row]} + 1 - tokens;
      if (length < 0 || length > held || length + tokens > capacity) {
        refuse("a row's length does not fit its cache");
      }
      given.lengths.push_back(static_cast<size_t>(length));
    }
  }

  void read_angles(const Call& call, AttentionCall& given) const {
    const Tensor cosines = call.input(7), sines = call.input(8);
    if (cosines.n_dims != 2 || sines.n_dims != 2 || cosines.dims[0] != sines.dims[0] || cosines.dims[1] != sines.dims[1]) {
      refuse("expected cosines and sines [positions, half]");
    }
    given.cosines = cosines.as<float>();
    given.sines = sines.as<float>();
    given.half = static_cast<size_t>(cosines.dims[1]);
    if (2 * given.half > given.size) refuse("more numbers of a head are to be rotated than it has");
    for (const size_t length : given.lengths) {
      if (length + given.tokens > static_cast<size_t>(cosines.dims[0])) refuse("cosines end before a row's last position");
    }
  }

  void read_steps(const Call& call, const Tensor& past, const Tensor& past_values, AttentionCall& given) const {
    given.keys.past = past.data;
    given.values.past = past_values.data;
    constexpr bool in_bytes = cache_type == bytes;
    const Tensor key_steps = call.input(12), value_steps = call.input(13);
    const auto count = static_cast<int64_t>(heads_.kv_heads * given.size);
    if (in_bytes != key_steps.is_there || in_bytes != value_steps.is_there ||
        (in_bytes && (key_steps.count() != count || value_steps.count() != count))) {
      refuse("expected steps [1, kv_heads, 1, size] for a cache in int8, and for no other");
    }
    given.keys.steps = key_steps.as<float>();
    given.values.steps = value_steps.as<float>();
  }

  const AttentionPath* path_;
  Heads heads_;
};

}  // namespace

const OrtCustomOp* group_query_attention() {
  static const Operator<GroupQueryAttentionKernel<floats>> made;
  return &made;
}

const OrtCustomOp* group_query_attention_in_bytes() {
  static const Operator<GroupQueryAttentionKernel<bytes>> made;
  return &made;
}

}  // namespace edgelora::ops
