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

// One adapted module: `delta = scaling * b @ a`, and of DoRA `gain` times what the base's weight gives. The numbers
// belong to the adapter and live as long as it.
struct Factors {
    std::int64_t rank = 0;
    std::int64_t in_features = 0;
    std::int64_t out_features = 0;
    const float* a = nullptr;  // (rank, in_features), row by row
    const float* b = nullptr;  // (out_features, rank), row by row
    double scaling = 0;
    const float* gain = nullptr;  // (out_features) or null
};

// A tensor of the head, by rows; the numbers belong to the adapter or to whoever read the file.
struct SavedTensor {
    std::vector<std::int64_t> shape;
    const float* values = nullptr;

    std::size_t count() const {
        std::size_t product = 1;
        for (const std::int64_t size : shape) product *= static_cast<std::size_t>(size);
        return product;
    }
};

using SavedTensors = std::map<std::string, SavedTensor>;

// Every adapted module of a PEFT folder, by its name in the checkpoint. `head` holds the tensors of `modules_to_save`
// by their names in the checkpoint, `saved` are those modules; `invocation` are token ids of an activated adapter, which
// acts from their last place in a prompt on; `base` is what the configuration calls the base model.
struct Adapter {
    std::map<std::string, Factors> factors;
    Claims claims;
    SavedTensors head;
    std::vector<std::string> saved;
    std::vector<std::string> notes;  // lines about what was left unread, and changes nothing as far as anybody knows
    std::vector<std::int32_t> invocation;
    std::string base;
    std::string grid;  // of DoRA: the grid that its gains were computed on; else empty
    std::vector<std::shared_ptr<const void>> kept;  // the mapped file and what was widened: what all point into

    // The largest rank of any module; 0 of an adapter that is a head alone.
    std::int64_t rank() const;
};

// Read `adapter_model.safetensors` and `adapter_config.json`; throws one Error{adapter}.
// `with_head` takes fully trained modules too, as adapters of a model with a head have them.
// Factors stored as float32 are read where the file is mapped: it may be replaced, but not cut short, meanwhile.
Adapter read_adapter(const std::filesystem::path& folder, bool with_head = false);

// Whether `count` values hold neither NaN nor infinity.
bool are_finite(const float* values, std::size_t count);

// Check that every module has its place in `slots` and that something changes; `where` names the adapter.
// Throws one Error{adapter} that lists every module without a slot, every one that the configuration claims and the
// file lacks, or the other way around, and every wrong shape.
void fit_adapter(const Adapter& adapter, const std::vector<Slot>& slots, const std::string& where);

}  // namespace edgelora
