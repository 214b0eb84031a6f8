// RegisterCustomOps, which onnxruntime calls: the operators of the domain `edgelora`.
#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>

#include "operators.hpp"
#include "ort_kernel.hpp"

namespace edgelora::ops {

// One line for each operator.
static const OrtCustomOp* (*const table[])() = {
    low_rank,
    low_rank_gelu,
    linear,
    embed,
    round_rows,
    group_query_attention,
    group_query_attention_in_bytes,
};

// The newest interface of both; "1.24.4" has 24 of them, and a library that is asked for another complains on standard
// error.
static const OrtApi* open_api(const OrtApiBase* base) {
  const std::string told = base->GetVersionString();
  const uint32_t minor = static_cast<uint32_t>(std::strtoul(told.c_str() + told.find('.') + 1, nullptr, 10));
  const uint32_t version = told.rfind("1.", 0) == 0 ? std::min(newest_api, minor) : newest_api;
  return version < oldest_api ? nullptr : base->GetApi(version);
}

// A session points at the domain for as long as it lives, so that a domain is made once for each onnxruntime and stays.
static OrtCustomOpDomain* domain_of(const OrtApi& api) {
  static std::mutex mutex;
  static std::map<const OrtApi*, OrtCustomOpDomain*> made;
  const std::lock_guard<std::mutex> lock(mutex);
  OrtCustomOpDomain*& domain = made[&api];
  if (domain == nullptr) {
    OrtCustomOpDomain* fresh = nullptr;
    check(api, api.CreateCustomOpDomain("edgelora", &fresh));
    for (const auto make : table) check(api, api.CustomOpDomain_Add(fresh, make()));
    domain = fresh;
  }
  return domain;
}

}  // namespace edgelora::ops

#if defined(_WIN32)
#define EDGELORA_EXPORT extern "C" __declspec(dllexport)
#else
#define EDGELORA_EXPORT extern "C" __attribute__((visibility("default")))
#endif

EDGELORA_EXPORT OrtStatus* ORT_API_CALL RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  const OrtApi* api = edgelora::ops::open_api(base);
  if (api == nullptr) return nullptr;  // without an interface there is nobody to tell; the graph's operator is unknown then
  try {
    return api->AddCustomOpDomain(options, edgelora::ops::domain_of(*api));
  } catch (const std::exception& error) {
    return api->CreateStatus(ORT_RUNTIME_EXCEPTION, error.what());
  }
}
