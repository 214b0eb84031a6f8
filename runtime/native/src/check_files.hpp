// Whether the files of an artifact are those that its manifest says.
//
// Knows nothing about what is in them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "manifest.hpp"

namespace edgelora {

// Compare every file with the manifest; throws one Error{artifact} that lists all differences. Whoever asks for all files
// asks for the entry of every adapter, too: one that is wrong is refused.
void check_files(const std::filesystem::path& folder, const Manifest& manifest, bool hashes = true);

// Compare sizes of these files, and the hashes of those of at most `hash_up_to` bytes.
void check_files(const std::filesystem::path& folder, const Manifest& manifest, const std::vector<std::string>& names,
                 std::int64_t hash_up_to);

}  // namespace edgelora
