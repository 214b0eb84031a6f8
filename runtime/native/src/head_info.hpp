// What the rows of an adapter's head mean: its labels, from whoever knows them.
//
// Knows nothing about tensors; `docs/format.md` ("Heads") is the definition.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "manifest.hpp"

namespace edgelora {

using Labels = std::vector<std::string>;

// Labels of the head in `folder`: of its receipt, else `listed` in a manifest, else the `labels` given, else of a
// config.json beside it, else LABEL_0 and so on. Throws Error{adapter} where two of the first three disagree, or their
// number is not `n_labels`. `trust` leaves the receipt unread.
HeadInfo find_head_info(const std::filesystem::path& folder, std::int64_t n_labels, const std::string& where,
                        bool trust, const std::optional<HeadInfo>& listed, const std::optional<Labels>& labels);

}  // namespace edgelora
