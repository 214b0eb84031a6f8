// Read PEFT LoRA folders and hold them to the slots of an artifact.
//
// Knows nothing about sessions or slot inputs: files, and the factors that they hold.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "adapter_config.hpp"
#include "manifest.hpp"

namespace edgelora {

constexpr std::string_view kWeightsFile = "adapter_model.safetensors";

// One adapted module: `delta = scaling * b @ a`. The numbers belong to the adapter and live as long as it.
struct Factors {
    std::int64_t rank = 0;
    std::int64_t in_features = 0;
    std::int64_t out_features = 0;
    const float* a = nullptr;  // (rank, in_features), row by row
    const float* b = nullptr;  // (out_features, rank), row by row
    double scaling = 0;
};

// Every adapted module of a PEFT folder, by its name in the checkpoint.
struct Adapter {
    std::map<std::string, Factors> factors;
    Targets targets;
    std::vector<std::shared_ptr<const void>> kept;  // the mapped file and what was widened: what `factors` point into

    // The largest rank of any module.
    std::int64_t rank() const;
};

// Read `adapter_model.safetensors` and `adapter_config.json`; throws one Error{adapter}.
// Factors stored as float32 are read where the file is mapped: it may be replaced, but not cut short, meanwhile.
Adapter read_adapter(const std::filesystem::path& folder);

// Check that every module has its place in `slots` and that something changes; `where` names the adapter.
// Throws one Error{adapter} that lists every module without a slot, every one that `target_modules` ask for and the
// file lacks, and every wrong shape.
void fit_adapter(const Adapter& adapter, const std::vector<Slot>& slots, const std::string& where);

}  // namespace edgelora
