// The receipt of an adapter: on what it was trained, what is there of it, what it does; read and checked here.
//
// Knows nothing about how any of it is measured, or about sessions; `docs/format.md` ("Receipt") is the definition.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "manifest.hpp"

namespace edgelora {

constexpr std::string_view kReceiptFile = "receipt.json";

// How many of the base's modules that `target_modules` ask for have factors.
struct ModuleCount {
    std::int64_t matched = 0;
    std::int64_t expected = 0;
    std::vector<std::string> missing;
};

// The likeliest tokens of a distribution, falling, with their natural log-probabilities.
struct TopTokens {
    std::vector<std::int32_t> ids;
    std::vector<double> logprobs;
};

// What base and adapted model answered to one built-in prompt where the receipt was written.
struct Probe {
    std::optional<std::string> text;  // nothing for pseudo-random ids
    std::vector<std::int32_t> input_ids;
    double kl = 0;  // nats, base || adapted, after the prompt, over the whole vocabulary
    TopTokens base;
    TopTokens adapted;
    std::vector<std::int32_t> greedy;  // the adapted model's first tokens
    std::vector<std::int32_t> base_greedy;
};

// What an encoder gave for one built-in text where the receipt was written; of tags the numbers of every token.
struct RecordedAnswer {
    std::vector<std::int32_t> input_ids;
    std::vector<double> output;  // with the adapter
    std::vector<double> base;    // with its head and without its factors
};

// What runtimes act on; what a receipt does not know is nothing or empty.
struct Receipt {
    std::string name;                // of the base
    std::string fingerprint;         // of the base's float32 weights
    std::optional<std::string> grid;  // of the values that training multiplied with; nothing: the float weights
    std::optional<std::string> tokenizer;      // SHA-256 of tokenizer.json
    std::optional<std::string> chat_template;  // SHA-256 of the template
    std::optional<std::string> weights;        // SHA-256 of adapter_model.safetensors
    Json quantization;                         // how that grid was made
    Json training = Json::object();            // a free record
    std::optional<ModuleCount> modules;
    std::map<std::string, std::int64_t> layers;  // module with factors -> rank
    std::vector<Probe> probes;
    std::optional<HeadInfo> head;         // labels and calibration of the head that travels with the adapter
    std::vector<RecordedAnswer> answers;  // of tasks without a KV cache, in the place of probes
};

// The receipt that `content` is, every field of its documented type; throws Error{adapter} in one line.
Receipt parse_receipt(std::string_view content, const std::string& where = std::string(kReceiptFile));

// The receipt of an adapter folder, nothing where none was written; throws Error{adapter} when it cannot be read.
std::optional<Receipt> read_receipt(const std::filesystem::path& folder);

// Why an adapter with this receipt does not belong to an artifact; empty when it does.
std::string find_mismatch(const Receipt& receipt, const Manifest& manifest);

// Why the factors in `folder`, of `modules`, are not those of the receipt; empty when they are.
std::string find_other_factors(const Receipt& receipt, const std::filesystem::path& folder,
                               const std::vector<std::string>& modules);

}  // namespace edgelora
