// The head of a model as inputs of its graph: read and held to the artifact.
//
// Knows nothing about graphs or slots; `docs/format.md` ("Heads") is the definition.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "adapter.hpp"
#include "manifest.hpp"

namespace edgelora {

// What the base itself has of the head, by name.
struct BaseHead {
    SavedTensors tensors;
    std::vector<std::shared_ptr<const void>> kept;  // what `tensors` point into
};

// Throws one Error{artifact} with all that is not as it should be.
BaseHead read_base_head(const std::filesystem::path& folder, const Manifest& manifest);

// A line for each tensor with which, or without which, the adapter's head could not answer.
std::vector<std::string> find_wrong_head(const Adapter& adapter, const std::vector<HeadTensor>& head,
                                         const SavedTensors& base);

// Why a head looks as transformers makes one, before any training; empty where it does not.
std::string find_untrained(const Adapter& adapter, const std::vector<HeadTensor>& head);

// The tensors that an adapter answers with: its own, else those of the base.
SavedTensors joined_head(const Adapter& adapter, const SavedTensors& base);

// For how many labels tensors of the checkpoint answer; 0 where none of them says.
std::int64_t count_labels(const std::vector<HeadTensor>& head, const SavedTensors& tensors);

}  // namespace edgelora
