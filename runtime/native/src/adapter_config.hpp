// The configuration of a PEFT LoRA folder: what of it changes the answers, checked field by field.
//
// Knows nothing about factors. PEFT 0.21 is the reference for what a field means; what would change the tensors or the
// base in a way that no slot can express is refused, since ignoring it would give other answers silently.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "claims.hpp"
#include "patterns.hpp"

namespace edgelora {

constexpr std::string_view kConfigFile = "adapter_config.json";
constexpr const char* kExpected =
    "expected plain LoRA as PEFT saves it; `edgelora adapter convert` and `edgelora export --merge` take more kinds";

struct LoraConfig {
    std::int64_t rank = 0;
    double alpha = 0;
    bool is_rank_stabilized = false;
    std::vector<std::pair<Pattern, std::int64_t>> ranks;
    std::vector<std::pair<Pattern, double>> alphas;
    Claims claims;
    std::vector<std::string> saved;        // modules_to_save: those of a head, trained whole
    std::vector<std::string> unknown;      // fields that say something nobody here has heard of
    std::string base;                      // base_model_name_or_path
    std::vector<std::int32_t> invocation;  // alora_invocation_tokens: it acts from their last place in a prompt on
    std::string grid;                      // of DoRA: the grid that its gains were computed on; else empty

    // PEFT's rule: the first pattern that matches the end of the module's name, else `r`.
    std::int64_t rank_of(std::string_view module) const;

    // Alpha over the module's rank, or over its root with `use_rslora`.
    double scaling_of(std::string_view module, std::int64_t rank) const;
};

// The configuration in an adapter folder; throws one Error{adapter} with everything that cannot be used. `with_head`
// reads `modules_to_save`, which is refused elsewhere: only a head can be swapped whole.
LoraConfig read_config(const std::filesystem::path& folder, bool with_head = false);

LoraConfig parse_config(std::string_view content, const std::string& where = std::string(kConfigFile),
                        bool with_head = false);

// Whether a tensor lies in a module of `modules_to_save`, which are names of modules or endings of names, behind a dot
// or not: "classifier" names DistilBERT's pre_classifier too.
bool is_saved(std::string_view tensor, const std::vector<std::string>& saved);

}  // namespace edgelora
