// Read a PEFT folder for an artifact, whole and held to its receipt, or refuse it: the one check of every way in.
//
// Knows nothing about names, sessions or slot inputs.
#pragma once

#include <filesystem>
#include <string>

#include "adapter.hpp"

namespace edgelora {

// The adapter in `folder`; throws one Error{adapter}, which calls it `where`, with everything that does not fit.
// `base` is what the artifact itself has of the head. `trust` leaves the receipt unread: which base, grid, tokenizer and
// template it names, and of which factors it is; and takes a head at its initial values. What the folder says and nobody
// reads is a line on standard error, and so is a base of another name where there is no receipt.
Adapter open_adapter(const std::filesystem::path& folder, const Manifest& manifest, const std::string& where,
                     bool trust = false, const SavedTensors& base = {});

}  // namespace edgelora
