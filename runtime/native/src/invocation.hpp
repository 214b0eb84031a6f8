// Where an activated adapter (aLoRA) begins to act: at the last place of its invocation in a prompt.
//
// Knows nothing about text or graphs. What comes before goes through the base, so that one KV cache of it serves every
// such adapter.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "errors.hpp"

namespace edgelora {

// Index in `ids` where `part`, which is not empty, stands for the last time; nothing where it stands nowhere.
std::optional<std::size_t> find_last(const std::vector<std::int32_t>& ids, const std::vector<std::int32_t>& part);

// What is said where a prompt lacks the invocation of the adapter `spec`.
Error no_invocation(const std::string& spec, const std::vector<std::int32_t>& invocation);

// What is said of a blend with the activated adapter `name`.
Error no_blend(const std::string& spec, const std::string& name);

}  // namespace edgelora
