#include "open_artifact.hpp"

#include <utility>

#include "check_files.hpp"
#include "errors.hpp"
#include "parse_json.hpp"

namespace edgelora {

Artifact open_artifact(const std::filesystem::path& folder, const LoadOptions& options) {
    if (options.threads < 0) {
        throw Error(Code::invalid_input, "threads is " + std::to_string(options.threads) +
                                             ", expected a whole number from 1, or 0 for the default");
    }
    Artifact artifact{folder, std::make_shared<const Manifest>(read_manifest(folder)), nullptr, options};
    const Manifest& manifest = *artifact.manifest;
    if (options.hashes) {
        check_files(folder, manifest);
    } else {  // an adapter's files are looked at when it is first read
        check_files(folder, manifest, files_of_base(manifest), kSmallFile);
    }
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
