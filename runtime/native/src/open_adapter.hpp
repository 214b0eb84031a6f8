// Read a PEFT folder for an artifact, whole and held to its receipt, or refuse it: the one check of every way in.
//
// Knows nothing about names, sessions or slot inputs.
#pragma once

#include <filesystem>
#include <string>

#include "adapter.hpp"

namespace edgelora {

// The adapter in `folder`; throws one Error{adapter}, which calls it `where`, with everything that does not fit.
// `trust` leaves the receipt unread: which base, grid, tokenizer and template it names, and of which factors it is.
Adapter open_adapter(const std::filesystem::path& folder, const Manifest& manifest, const std::string& where,
                     bool trust = false);

}  // namespace edgelora
