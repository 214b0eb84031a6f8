// Replay a probe of a receipt: does the adapter do here what it did where its receipt was written?
//
// Knows nothing about text or training: token ids, log-probabilities, and two runs of the graph.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "manifest.hpp"
#include "receipt.hpp"

namespace edgelora {

// `reason` says in one line what was found; the KL is that between base and adapted, in nats.
struct ProbeResult {
    bool passed = false;
    std::string reason;
    double kl_found = 0;
    double kl_expected = 0;
    double seconds = 0;
};

// The log-probabilities of the token after `ids` with the adapters of a SPEC.
using LastLogprobs = std::function<std::vector<double>(const std::vector<std::int32_t>& ids, const std::string& spec)>;

// Run the probe with the largest effect with and without the adapter and compare with the receipt.
// Throws Error{adapter} when the receipt has no probe or one that this model cannot take.
ProbeResult replay(const LastLogprobs& answer, const Manifest& manifest, const std::string& name,
                   const Receipt& receipt);

// Hold a loaded adapter to the receipt in `folder`; nothing where there is nothing to replay.
// Throws Error{adapter} with the adapter's name and the reason.
std::optional<ProbeResult> check_adapter(const LastLogprobs& answer, const Manifest& manifest, const std::string& name,
                                         const std::filesystem::path& folder);

}  // namespace edgelora
