#include "probe.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>

#include "errors.hpp"

namespace edgelora {

namespace {

constexpr double kNoEffect = 1e-9;      // nats; equal graphs give equal numbers, so anything real lies above
constexpr double kLeastShare = 0.1;     // of the receipt's KL between base and adapted
constexpr double kLargestShare = 0.25;  // of the distance that the adapter must close between the base and the receipt
constexpr double kNoise = 4.0;      // times the distance of both bases: what arithmetic or another grid costs the base
constexpr double kRounding = 1e-3;  // nats; stored log-probabilities are rounded, 8-bit activations move small effects
constexpr double kTiny = 1e-6;      // probabilities below cannot be told from rounded ones

const char* const kAdvice = "re-measure it with `edgelora adapter receipt` if that is meant, else train or copy it again";

std::string digits(double value, int count) {
    char text[40];
    std::snprintf(text, sizeof(text), "%.*g", count, value);
    return text;
}

// KL (nats) from the stored distribution to `logprobs`, with all other tokens as one.
double divergence(const TopTokens& stored, const std::vector<double>& logprobs) {
    double sum = 0;
    double rest_p = 1;
    double rest_q = 1;
    const auto add = [&sum](double p, double q) {
        p = std::max(p, kTiny);
        q = std::max(q, kTiny);
        sum += p * std::log(p / q);
    };
    for (std::size_t index = 0; index < stored.ids.size(); ++index) {
        const double p = std::exp(stored.logprobs[index]);
        const double q = std::exp(logprobs[static_cast<std::size_t>(stored.ids[index])]);
        add(p, q);
        rest_p -= p;
        rest_q -= q;
    }
    add(rest_p, rest_q);
    return std::max(0.0, sum);
}

// Throw Error{adapter} when there is no probe, or one is no probe of this vocabulary.
void check_probes(const Receipt& receipt, std::int64_t vocab_size) {
    if (receipt.probes.empty()) {
        throw Error(Code::adapter, "the receipt has no probes; write one with `edgelora adapter receipt`");
    }
    std::int32_t largest = 0;
    for (const Probe& probe : receipt.probes) {
        for (const auto* ids : {&probe.input_ids, &probe.base.ids, &probe.adapted.ids}) {
            largest = ids->empty() ? largest : std::max(largest, *std::max_element(ids->begin(), ids->end()));
        }
    }
    if (largest >= vocab_size) {
        throw Error(Code::adapter, "the receipt's probes cannot be read (token ids go up to " +
                                       std::to_string(largest) + ", the vocabulary has " +
                                       std::to_string(vocab_size) + "); train the adapter again");
    }
}

// `base` and `adapted` are log-probabilities of this graph; `result` has their KL already.
void judge(const Probe& probe, const std::vector<double>& base, const std::vector<double>& adapted,
           ProbeResult& result) {
    const double found = result.kl_found;
    if (!(found > kNoEffect)) {
        result.reason = "it does nothing here: the answers are those of the base (KL " + digits(found, 2) +
                        " nats); " + kAdvice;
        return;
    }
    if (found < kLeastShare * probe.kl) {
        result.reason = "it does next to nothing here: KL between base and adapted is " + digits(found, 3) +
                        " nats, its receipt says " + digits(probe.kl, 3) + "; " + kAdvice;
        return;
    }
    const double apart = divergence(probe.adapted, adapted);
    const double allowed =
        kLargestShare * divergence(probe.adapted, base) + kNoise * divergence(probe.base, base) + kRounding;
    if (!(apart <= allowed)) {
        result.reason = "it does not do what its receipt says: its answer to the probe is " + digits(apart, 3) +
                        " nats away from the recorded one, at most " + digits(allowed, 3) + " are expected; " +
                        kAdvice;
        return;
    }
    result.passed = true;
    result.reason = digits(apart, 3) + " nats from its receipt, " + digits(allowed, 3) + " allowed";
}

}  // namespace

ProbeResult replay(const LastLogprobs& answer, const Manifest& manifest, const std::string& name,
                   const Receipt& receipt) {
    const auto started = std::chrono::steady_clock::now();
    check_probes(receipt, manifest.model.vocab_size);
    const Probe& probe = *std::max_element(receipt.probes.begin(), receipt.probes.end(),
                                           [](const Probe& one, const Probe& other) { return one.kl < other.kl; });
    const std::vector<double> base = answer(probe.input_ids, "none");
    const std::vector<double> adapted = answer(probe.input_ids, name);
    ProbeResult result;
    result.kl_expected = probe.kl;
    for (std::size_t token = 0; token < base.size(); ++token) {
        result.kl_found += std::exp(base[token]) * (base[token] - adapted[token]);
    }
    judge(probe, base, adapted, result);
    result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
    return result;
}

std::optional<ProbeResult> check_adapter(const LastLogprobs& answer, const Manifest& manifest, const std::string& name,
                                         const std::filesystem::path& folder) {
    const std::string where = "adapter " + show(name) + " (" + folder.u8string() + "): ";
    const std::optional<Receipt> receipt = read_receipt(folder);
    if (!receipt) {
        return std::nullopt;
    }
    std::vector<std::string> modules;  // those of the receipt: which ones there are was held to it at the load
    for (const auto& layer : receipt->layers) {
        modules.push_back(layer.first);
    }
    std::string wrong = find_mismatch(*receipt, manifest);
    if (wrong.empty()) {
        wrong = find_other_factors(*receipt, folder, modules);
    }
    if (!wrong.empty()) {
        throw Error(Code::adapter, where + wrong);
    }
    if (receipt->probes.empty()) {
        return std::nullopt;
    }
    ProbeResult result = replay(answer, manifest, name, *receipt);
    if (!result.passed) {
        throw Error(Code::adapter, where + result.reason);
    }
    return result;
}

}  // namespace edgelora
