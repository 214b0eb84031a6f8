#include "loaded_model.hpp"

#include "encoder_model.hpp"
#include "errors.hpp"
#include "files.hpp"
#include "model.hpp"

namespace edgelora {

LoadedModel::LoadedModel(const Artifact& artifact, const char* instead)
    : folder_(artifact.folder),
      manifest_(artifact.manifest),
      ort_(artifact.ort),
      has_operators_(!artifact.options.operator_library.empty()),
      instead_(instead),
      manifest_json_(read_file(folder_ / kManifestFile, Code::artifact, "export the artifact again", kLongestJson)),
      threads_(artifact.options.threads > 0 ? artifact.options.threads : default_threads()) {}

Json LoadedModel::info() const {
    const auto& tokenizer = manifest().tokenizer;
    return Json{{"manifest", parse_json(manifest_json_, std::string(kManifestFile))},
                {"adapters", adapters()},
                {"adapter", adapter()},
                {"has_tokenizer", tokenizer.has_value()},
                {"has_template", tokenizer.has_value() && tokenizer->chat_template.has_value()},
                {"threads", threads_},
                {"onnxruntime", ort_->version()},
                {"operators", has_operators_}};
}

std::shared_ptr<const Text> LoadedModel::text() const {
    const std::lock_guard<std::mutex> lock(reading_);
    if (text_ == nullptr) {
        if (!manifest().tokenizer) {
            throw Error(Code::invalid_input,
                        manifest().model.name + " was exported without a tokenizer; use " + instead_);
        }
        text_ = std::make_shared<const Text>(read_text(folder_, *manifest().tokenizer));
    }
    return text_;
}

std::unique_ptr<LoadedModel> load_model(const std::filesystem::path& folder, const LoadOptions& options) {
    Artifact artifact = open_artifact(folder, options);
    if (artifact.manifest->encoder) return EncoderModel::load(artifact);
    return Model::load(artifact);
}

}  // namespace edgelora
