// Replays the answers of a receipt: does the adapter of an encoder do here what it did where its receipt was written?
//
// Knows nothing about sessions: token ids go in, numbers come out.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "manifest.hpp"
#include "receipt.hpp"

namespace edgelora {

// `reason` says in one line what was found; effects are the root mean square of what the factors change.
struct AnswerResult {
    bool passed = false;
    std::string reason;
    double effect_found = 0;
    double effect_expected = 0;
    double seconds = 0;
};

// The numbers of the output of each row with the adapters of a SPEC, one row after the other.
using RowOutputs =
    std::function<std::vector<double>(const std::vector<std::vector<std::int32_t>>& rows, const std::string& spec)>;

// Hold a loaded adapter to the receipt in `folder`; nothing where there is nothing to replay. Throws Error{adapter} with
// the adapter's name and the reason.
std::optional<AnswerResult> check_answers(const RowOutputs& outputs, const Manifest& manifest, const std::string& name,
                                          const std::filesystem::path& folder);

}  // namespace edgelora
