// What a manifest must hold to beyond the types of its fields: ranges, hashes, safe names, slots without gaps.
//
// Knows nothing about JSON or the disk; `docs/format.md` ("What a reader refuses") lists the same rules in words.
#pragma once

#include <string>
#include <vector>

#include "manifest.hpp"

namespace edgelora {

// Every field whose value a runtime could not use, with what was expected.
std::vector<std::string> find_wrong(const Manifest& manifest);

}  // namespace edgelora
