// What a node with a slot says of it, in its attributes.
//
// Attributes `columns`, `slot` and `path` -> LowRank; throws std::invalid_argument where they make no sense.
#pragma once

#include <onnxruntime_c_api.h>

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "low_rank.hpp"
#include "ort_kernel.hpp"

namespace edgelora::ops {

constexpr int64_t most_features = int64_t{1} << 24;

// `path` is the name of an implementation, or empty for the fastest; `gelu`: of what comes out.
inline LowRank read_low_rank(const OrtApi& api, const OrtKernelInfo* info, size_t in_features, const std::string& path,
                             bool gelu = false) {
  Layout layout;
  layout.in_features = in_features;
  const std::vector<int64_t> columns = integers(api, info, "columns");
  if (columns.size() < 2 || columns.size() > most_parts + 1 || columns.front() != 0 || columns.back() > most_features) {
    throw std::invalid_argument("columns are not the begins of 1 to 16 parts and the end of the last");
  }
  for (size_t i = 0; i < columns.size(); ++i) {
    if (i > 0 && columns[i] <= columns[i - 1]) throw std::invalid_argument("columns do not rise");
    layout.columns.push_back(static_cast<size_t>(columns[i]));
  }
  const int64_t slot = integer(api, info, "slot", -1);
  if (slot < 0) throw std::invalid_argument("slot is missing or negative");
  return LowRank(std::move(layout), static_cast<size_t>(slot), find_path(path), gelu);
}

}  // namespace edgelora::ops
