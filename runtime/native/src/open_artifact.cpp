#include "open_artifact.hpp"

#include <iterator>
#include <utility>

#include "errors.hpp"
#include "parse_json.hpp"

namespace edgelora {

namespace {

constexpr std::int64_t kAlwaysHashedBytes = 4 << 20;  // hashing a small file costs nothing beside loading

void check_artifact(const std::filesystem::path& folder, const Manifest& manifest, bool hashes) {
    check_files(folder, manifest, hashes);
    if (!hashes) {
        Manifest small = manifest;
        for (auto item = small.files.begin(); item != small.files.end();) {
            item = item->second.bytes > kAlwaysHashedBytes ? small.files.erase(item) : std::next(item);
        }
        check_files(folder, small, true);
    }
}

}  // namespace

Artifact open_artifact(const std::filesystem::path& folder, const LoadOptions& options) {
    if (options.threads < 0) {
        throw Error(Code::invalid_input, "threads is " + std::to_string(options.threads) +
                                             ", expected a whole number from 1, or 0 for the default");
    }
    Artifact artifact{folder, std::make_shared<const Manifest>(read_manifest(folder)), nullptr, options};
    const Manifest& manifest = *artifact.manifest;
    check_artifact(folder, manifest, options.hashes);
    if (!manifest.graph.fused && !options.operator_library.empty()) {
        if (!options.operators_are_optional) {
            throw Error(Code::invalid_input, manifest.model.name + " has no fused graph (target " +
                                                 show(manifest.target) + "); export it again for cpu, mobile or " +
                                                 "embedded, or load without operators");
        }
        artifact.options.operator_library.clear();
    }
    artifact.ort = Ort::open(options.onnxruntime);
    return artifact;
}

}  // namespace edgelora
