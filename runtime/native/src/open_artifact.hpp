// Open the folder of an artifact: manifest read, files checked, onnxruntime found.
//
// Knows nothing about what the artifact is for.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "manifest.hpp"
#include "ort.hpp"

namespace edgelora {

struct LoadOptions {
    std::filesystem::path onnxruntime;        // its library; empty: as `Ort::open` finds it
    std::filesystem::path operator_library;   // libedgelora_ops for fused graphs; empty: standard operators alone
    bool operators_are_optional = false;      // leave them where the artifact has no fused graph
    std::filesystem::path cache;              // a folder of the device for what is made of graphs; empty: none
    int threads = 0;                          // 0: the physical cores, at most four
    bool hashes = false;                      // read every byte of the weights, too; small files always are
    bool probe = false;                       // hold every adapter to its receipt
    bool twin = false;                        // keep the graph without slots in memory beside the one with slots
    std::optional<std::size_t> adapter_bytes;  // memory of adapters that are kept; unset: all of them
};

struct Artifact {
    std::filesystem::path folder;
    std::shared_ptr<const Manifest> manifest;
    std::shared_ptr<const Ort> ort;
    LoadOptions options;  // `operator_library` is empty where the artifact has no graph for it
};

// Throws Error{artifact} for a damaged artifact, Error{invalid_input} for options that cannot be used.
Artifact open_artifact(const std::filesystem::path& folder, const LoadOptions& options);

}  // namespace edgelora
