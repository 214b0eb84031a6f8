// The index of an artifact: read and checked. `docs/format.md` is the format in words.
//
// Knows nothing about graphs or weights; what runtimes do not act on (`quantization`, `report`, `merged`) is not kept.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "parse_json.hpp"

namespace edgelora {

constexpr std::string_view kManifestFile = "manifest.json";
constexpr std::string_view kFloatCache = "float32";
constexpr std::string_view kInt8Cache = "int8";

// The output columns of a slot that one module of the checkpoint owns: `offset` to `offset + out_features`.
struct SlotPart {
    std::string module;
    std::int64_t offset = 0;
    std::int64_t out_features = 0;
};

// A place in the graph where an adapter plugs in; `a` and `b` name its graph inputs.
struct Slot {
    std::string name;
    std::string a;  // input (n, in_features, rank)
    std::string b;  // input (n, rank, out_features)
    std::int64_t in_features = 0;
    std::int64_t out_features = 0;
    std::vector<SlotPart> parts;
};

// What a runtime must know of the decoder to drive it.
struct ModelInfo {
    std::string name;
    std::string architecture;
    std::int64_t vocab_size = 0;
    std::int64_t num_layers = 0;
    std::int64_t num_kv_heads = 0;
    std::int64_t head_dim = 0;
    std::int64_t context_length = 0;
    std::vector<std::int64_t> eos_token_ids;
};

// The graph file, the one file its initializers live in, and the graph's twins over the same file: `without_slots` takes
// no adapter, `fused` needs libedgelora_ops. `kv_cache` is the type of what all of them keep in the KV cache: float32, or
// int8 with steps of their own.
struct GraphInfo {
    std::string file;
    std::string weights;
    std::optional<std::string> without_slots;
    std::string kv_cache = std::string(kFloatCache);
    std::optional<std::string> fused;
};

// Tokenizer file, chat template file, the special tokens that templates ask for, and other variables of theirs.
struct TokenizerInfo {
    std::string file;
    std::optional<std::string> chat_template;
    std::optional<std::string> bos_token;
    std::optional<std::string> eos_token;
    std::optional<std::string> pad_token;
    std::optional<std::string> unk_token;
    Json template_variables = Json::object();
};

// Identity of the base: `fingerprint` of its float32 weights, `grid` of the values that were shipped.
struct BaseInfo {
    std::string fingerprint;
    std::string grid;
};

// One adapter of the artifact: a PEFT folder at `path`, its factors rounded as `store` says.
struct AdapterInfo {
    std::string name;
    std::string path;
    std::int64_t rank = 0;
    std::string store = "float32";
};

// Size and SHA-256 (hex) of one file.
struct FileInfo {
    std::int64_t bytes = 0;
    std::string sha256;
};

struct Manifest {
    std::string producer;
    std::string target;
    ModelInfo model;
    GraphInfo graph;
    BaseInfo base;
    std::vector<Slot> slots;
    std::vector<AdapterInfo> adapters;
    std::map<std::string, FileInfo> files;
    std::optional<TokenizerInfo> tokenizer;
    std::optional<std::string> reference;
};

// Parse and check `manifest.json`; throws Error{artifact} naming the field that is wrong.
Manifest parse_manifest(std::string_view content, const std::string& where = std::string(kManifestFile));

// The manifest of the artifact in `folder`; throws Error{artifact} when it is missing or wrong.
Manifest read_manifest(const std::filesystem::path& folder);

// Bytes of the KV cache for each token of a row.
std::int64_t cache_bytes(const Manifest& manifest);

// Size and hash of a file on disk; throws Error{artifact} where it cannot be read.
FileInfo file_info(const std::filesystem::path& path);

// Compare every file with the manifest; throws one Error{artifact} that lists all differences.
void check_files(const std::filesystem::path& folder, const Manifest& manifest, bool hashes = true);

}  // namespace edgelora
