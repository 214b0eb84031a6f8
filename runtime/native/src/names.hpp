// Names in a manifest that become paths, hashes or words of a SPEC, and what makes one unsafe.
//
// Knows nothing about which names a manifest has; `docs/format.md` ("What a reader refuses") is the rule in words.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace edgelora {

constexpr std::string_view kNoAdapter = "none";  // in a SPEC: the base as it is

// Whether valid UTF-8 holds a control character or a line break, which no name has.
bool has_control(std::string_view text);

// Whether `text` is a SHA-256: 64 lower-case hexadecimal digits.
bool is_hash(std::string_view text);

// The name of a file of factors that adapters share, beside their folders: too long for that of an adapter.
std::string shared_file(const std::string& sha256);

// Whether `name` can be that of an adapter: in a SPEC, on a command line, as a folder everywhere.
bool is_adapter_name(std::string_view name);

// Whether `name` can be that of a variable for the chat template: a word that no template gets anyway.
bool is_variable(std::string_view name);

// Why `name` is no safe relative path with `/` between its parts; empty where it is one.
std::string find_unsafe(std::string_view name);

// The file `name` of the artifact in `folder`; throws Error{artifact} for a link that leaves the folder.
// The cache of a hub keeps a downloaded folder as links to `blobs` beside its `snapshots`: those may be followed.
std::filesystem::path resolve_inside(const std::filesystem::path& folder, const std::string& name);

}  // namespace edgelora
