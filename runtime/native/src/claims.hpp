// Which modules an adapter's configuration claims: those that PEFT gave factors, and then has factors for.
//
// Knows nothing about factors.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "patterns.hpp"

namespace edgelora {

// Nothing, a pattern for the whole name of a module, or names and endings of names.
struct Targets {
    std::vector<Pattern> pattern;  // one or none
    std::vector<std::string> endings;

    // PEFT's rule: a text is a pattern for the whole name, a list holds endings of names.
    bool has(std::string_view module) const;
};

struct Claims {
    std::optional<Targets> targets;  // target_modules; nothing where they name no modules
    Targets excluded;                // exclude_modules
    std::vector<double> layers;      // layers_to_transform; all where there are none
    std::vector<std::string> lists;  // layers_pattern: names of the lists that these count in, any if there are none

    // PEFT's rule: a module that `target_modules` have by its whole name is claimed in any layer.
    bool has(std::string_view module) const;
};

// Whether a name is one of `endings`, or ends with one behind a `.`.
bool is_any_ending(std::string_view name, const std::vector<std::string>& endings);

}  // namespace edgelora
