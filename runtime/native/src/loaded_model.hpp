// What every loaded artifact has, whatever its task: adapters by name, a tokenizer, what can be told of it.
//
// Knows nothing about what it answers.
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "head_info.hpp"
#include "open_artifact.hpp"
#include "text.hpp"

namespace edgelora {

class LoadedModel {
  public:
    LoadedModel(const LoadedModel&) = delete;
    LoadedModel& operator=(const LoadedModel&) = delete;
    virtual ~LoadedModel() = default;

    const Manifest& manifest() const { return *manifest_; }
    // What `edgelora_model_info` tells.
    Json info() const;
    // The tokenizer, read when it is first asked for; throws Error{invalid_input} where the artifact has none.
    std::shared_ptr<const Text> text() const;

    // Names that a SPEC can use.
    virtual std::vector<std::string> adapters() const = 0;
    // The SPEC used where a call gives none.
    virtual std::string adapter() const = 0;
    virtual void set_adapter(const std::string& spec) = 0;
    // `labels` name the rows of the adapter's head where no receipt does.
    virtual void load_adapter(const std::string& name, const std::filesystem::path& folder, bool trust,
                              const std::optional<Labels>& labels) = 0;
    virtual void unload_adapter(const std::string& name) = 0;
    // What replaying the receipt found, as `edgelora_probe` tells it; null where there is nothing to replay.
    virtual Json probe(const std::string& name) = 0;

  protected:
    // `instead` is what does without a tokenizer.
    LoadedModel(const Artifact& artifact, const char* instead);

    const std::filesystem::path folder_;
    const std::shared_ptr<const Manifest> manifest_;
    const std::shared_ptr<const Ort> ort_;
    const bool has_operators_;  // the graph is the fused one

  private:
    const char* instead_;
    std::string manifest_json_;
    int threads_;
    mutable std::mutex reading_;
    mutable std::shared_ptr<const Text> text_;  // under `reading_`
};

// Open the artifact in `folder` as what it is for. Throws Error{artifact} for a damaged one, Error{adapter} naming the
// adapter that is not what its receipt says.
std::unique_ptr<LoadedModel> load_model(const std::filesystem::path& folder, const LoadOptions& options);

}  // namespace edgelora
