// A custom operator of onnxruntime from a C++ class; the C API alone, and no exception leaves it.
//
// Takes a class with `name`, `inputs`, `outputs`, `in_place`, a constructor and `compute` -> an OrtCustomOp.
#pragma once

#include <onnxruntime_c_api.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

namespace edgelora::ops {

constexpr uint32_t oldest_api = 24;  // of onnxruntime 1.24
constexpr uint32_t newest_api = ORT_API_VERSION;

// An input or output: its type (undefined: any that `compute` takes), and whether a node may leave it out.
struct Port {
  ONNXTensorElementDataType type;
  bool is_optional = false;
};

// A tensor of onnxruntime, which owns all of it; `dims` is null for a scalar.
struct Tensor {
  const int64_t* dims = nullptr;
  size_t n_dims = 0;
  const void* data = nullptr;
  ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  bool is_there = false;

  int64_t count() const {
    int64_t found = 1;
    for (size_t i = 0; i < n_dims; ++i) found *= dims[i];
    return found;
  }
  template <class T>
  const T* as() const {
    return static_cast<const T*>(data);
  }
};

// Throws what onnxruntime has to say.
inline void check(const OrtApi& api, OrtStatus* status) {
  if (status == nullptr) return;
  const std::string text = api.GetErrorMessage(status);
  api.ReleaseStatus(status);
  throw std::runtime_error(text);
}

inline std::vector<int64_t> integers(const OrtApi& api, const OrtKernelInfo* info, const char* name) {
  size_t count = 0;
  check(api, api.KernelInfoGetAttributeArray_int64(info, name, nullptr, &count));
  std::vector<int64_t> found(count);
  check(api, api.KernelInfoGetAttributeArray_int64(info, name, found.data(), &count));
  return found;
}

inline int64_t integer(const OrtApi& api, const OrtKernelInfo* info, const char* name, int64_t otherwise) {
  int64_t found = otherwise;
  if (OrtStatus* status = api.KernelInfoGetAttribute_int64(info, name, &found)) {
    api.ReleaseStatus(status);
    return otherwise;
  }
  return found;
}

inline std::string text(const OrtApi& api, const OrtKernelInfo* info, const char* name) {
  size_t size = 0;
  if (OrtStatus* status = api.KernelInfoGetAttribute_string(info, name, nullptr, &size)) {
    api.ReleaseStatus(status);
    return "";
  }
  std::string found(size, '\0');
  check(api, api.KernelInfoGetAttribute_string(info, name, found.data(), &size));
  return found.c_str();  // without the zero that ends it
}

// One call of a kernel: its tensors, and onnxruntime's threads.
class Call {
 public:
  Call(const OrtApi& api, OrtKernelContext* context) : api_(api), context_(context) {}

  Tensor input(size_t index) const {
    const OrtValue* value = nullptr;
    check(api_, api_.KernelContext_GetInput(context_, index, &value));
    return value == nullptr ? Tensor{} : view(value);
  }

  // The memory of an output with this shape: that of an input where onnxruntime lets the two share it.
  void* output(size_t index, const int64_t* dims, size_t n_dims) const {
    OrtValue* value = nullptr;
    check(api_, api_.KernelContext_GetOutput(context_, index, dims, n_dims, &value));
    void* data = nullptr;
    check(api_, api_.GetTensorMutableData(value, &data));
    return data;
  }

  // Calls body(i) for every i below `count` on the threads of the session; throws where one of the calls did.
  template <class Body>
  void parallel(size_t count, Body& body) const {
    if (count == 1) {
      body(size_t{0});
      return;
    }
    struct Shared {
      Body& body;
      std::atomic<bool> has_failed;
    } shared{body, {false}};
    auto run = [](void* data, size_t i) {
      auto& found = *static_cast<Shared*>(data);
      try {
        found.body(i);
      } catch (...) {  // nothing may pass through onnxruntime, or end one of its threads
        found.has_failed = true;
      }
    };
    check(api_, api_.KernelContext_ParallelFor(context_, run, count, 0, &shared));
    if (shared.has_failed) throw std::runtime_error("a part of the work failed; is there memory left?");
  }

 private:
  Tensor view(const OrtValue* value) const {
    Tensor found;
    check(api_, api_.GetTensorElementTypeAndShapeDataReference(value, &found.type, &found.dims, &found.n_dims));
    void* data = nullptr;  // the C API has no other form; nothing is written through it
    check(api_, api_.GetTensorMutableData(const_cast<OrtValue*>(value), &data));
    found.data = data;
    found.is_there = true;
    return found;
  }

  const OrtApi& api_;
  OrtKernelContext* context_;
};

// `Kernel` has: static constexpr `name`, `inputs` and `outputs` (std::array<Port, n>), `in_place` (std::array<int, 2>,
// input and output that may share memory, or {-1, -1}); Kernel(const OrtApi&, const OrtKernelInfo*), compute(const Call&).
template <class Kernel>
class Operator : public OrtCustomOp {
 public:
  Operator() : OrtCustomOp{} {
    version = oldest_api;  // an older onnxruntime refuses a newer one, and all that is filled in here was there then
    GetName = [](const OrtCustomOp*) { return Kernel::name; };
    GetExecutionProviderType = [](const OrtCustomOp*) -> const char* { return nullptr; };
    GetInputTypeCount = [](const OrtCustomOp*) { return Kernel::inputs.size(); };
    GetInputType = [](const OrtCustomOp*, size_t i) { return Kernel::inputs[i].type; };
    GetInputCharacteristic = [](const OrtCustomOp*, size_t i) { return character(Kernel::inputs[i]); };
    GetInputMemoryType = [](const OrtCustomOp*, size_t) { return OrtMemTypeDefault; };
    GetOutputTypeCount = [](const OrtCustomOp*) { return Kernel::outputs.size(); };
    GetOutputType = [](const OrtCustomOp*, size_t i) { return Kernel::outputs[i].type; };
    GetOutputCharacteristic = [](const OrtCustomOp*, size_t i) { return character(Kernel::outputs[i]); };
    GetVariadicInputMinArity = [](const OrtCustomOp*) { return 1; };
    GetVariadicInputHomogeneity = [](const OrtCustomOp*) { return 1; };
    GetVariadicOutputMinArity = [](const OrtCustomOp*) { return 1; };
    GetVariadicOutputHomogeneity = [](const OrtCustomOp*) { return 1; };
    GetStartVersion = [](const OrtCustomOp*) { return 1; };
    GetEndVersion = [](const OrtCustomOp*) { return 1; };
    CreateKernelV2 = create;
    KernelComputeV2 = compute;
    KernelDestroy = [](void* state) { delete static_cast<State*>(state); };
    GetMayInplace = may_share;
    ReleaseMayInplace = [](int* input, int* output) {
      delete input;
      delete output;
    };
  }

 private:
  struct State {
    const OrtApi& api;
    Kernel kernel;
  };

  static OrtCustomOpInputOutputCharacteristic character(Port port) {
    return port.is_optional ? INPUT_OUTPUT_OPTIONAL : INPUT_OUTPUT_REQUIRED;
  }

  static OrtStatus* told(const OrtApi& api, const char* what) {
    return api.CreateStatus(ORT_INVALID_ARGUMENT, (std::string(Kernel::name) + ": " + what).c_str());
  }

  static OrtStatus* ORT_API_CALL create(const OrtCustomOp*, const OrtApi* api, const OrtKernelInfo* info, void** kernel) {
    try {
      *kernel = new State{*api, Kernel(*api, info)};
      return nullptr;
    } catch (const std::exception& error) {
      return told(*api, error.what());
    }
  }

  static OrtStatus* ORT_API_CALL compute(void* state, OrtKernelContext* context) {
    auto& found = *static_cast<State*>(state);
    try {
      found.kernel.compute(Call(found.api, context));
      return nullptr;
    } catch (const std::exception& error) {
      return told(found.api, error.what());
    }
  }

  static size_t ORT_API_CALL may_share(int** input, int** output) {
    if (Kernel::in_place[0] < 0) return 0;
    *input = new int(Kernel::in_place[0]);
    *output = new int(Kernel::in_place[1]);
    return 1;
  }
};

}  // namespace edgelora::ops
