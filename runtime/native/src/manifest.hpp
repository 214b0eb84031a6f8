// The index of an artifact: read and checked. `docs/format.md` is the format in words.
//
// Knows nothing about graphs or weights; what runtimes do not act on (`quantization`, `report`, `merged`) is not kept.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "listed.hpp"
#include "parse_json.hpp"

namespace edgelora {

constexpr std::string_view kManifestFile = "manifest.json";
constexpr std::string_view kAdapterFolder = "adapters/";  // of all adapters' folders and shared files
constexpr std::int64_t kSmallFile = 4 << 20;  // bytes; hashing a file up to here costs nothing beside reading it
constexpr std::string_view kFloatCache = "float32";
constexpr std::string_view kInt8Cache = "int8";
constexpr std::string_view kTextGeneration = "text-generation";
constexpr std::string_view kTextClassification = "text-classification";
constexpr std::string_view kTokenClassification = "token-classification";
constexpr std::string_view kFeatureExtraction = "feature-extraction";
constexpr std::string_view kImageClassification = "image-classification";
constexpr std::string_view kSingleLabel = "single_label_classification";
constexpr std::string_view kMultiLabel = "multi_label_classification";
constexpr std::string_view kRegression = "regression";

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
    std::optional<std::string> gain;  // input (n, 1, out_features), where DoRA has a place
};

// What a runtime must know of the model to drive it; what has no KV cache has 0 for its three sizes, and a model of
// images 0 for `vocab_size` too.
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

// What the outputs of a head mean: `labels` in the order of its rows, and how logits, divided by `temperature`, become
// scores. `problem_type` is that of transformers.
struct HeadInfo {
    std::vector<std::string> labels;
    std::string problem_type = std::string(kSingleLabel);
    double temperature = 1.0;
};

// A tensor of the head that is fed as a slot is. `sizes` are those of the checkpoint; 0 is the number of labels. Two
// sizes (out, in) are fed as (n, in, out), one size as (n, 1, size).
struct HeadTensor {
    std::string tensor;  // its name in the checkpoint, such as classifier.weight
    std::string input;   // of the graph
    std::vector<std::int64_t> sizes;
};

// What a runtime must know to drive a graph without a KV cache. `inputs` are those beside slots and head, `output` is
// the one output. `head_file` holds what the base itself has of the head; there is no `base_head` where that is no whole
// head, so that only adapters can answer.
struct EncoderInfo {
    std::vector<std::string> inputs;  // input_ids and attention_mask, or pixel_values
    std::string output;               // logits, or embeddings
    std::int64_t hidden_size = 0;
    std::vector<HeadTensor> head;
    std::optional<std::string> head_file;
    std::optional<HeadInfo> base_head;
    bool one_adapter = false;              // rows of a call share an adapter: some slots act on what no row owns
    std::vector<std::int64_t> image_size;  // channels, height, width
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
    std::string source;  // where it is from, such as owner/name@revision; empty where nobody says
};

// One adapter of the artifact: a PEFT folder at `path`, its factors rounded as `store` says.
struct AdapterInfo {
    std::string name;
    std::string path;
    std::int64_t rank = 0;
    std::string store = "float32";
    std::optional<HeadInfo> head;
    std::optional<std::string> shared;  // SHA-256 of a file beside that folder with factors that others may have too
};

// SHA-256 (hex) of each `size` bytes of a file in their order; the last piece may be shorter.
struct Pieces {
    std::int64_t size = 0;
    std::vector<std::string> sha256;
};

// Size and SHA-256 (hex) of one file, and of its pieces where it has more than one.
struct FileInfo {
    std::int64_t bytes = 0;
    std::string sha256;
    std::optional<Pieces> pieces = std::nullopt;
};

struct Manifest {
    std::string producer;
    std::string target;
    ModelInfo model;
    GraphInfo graph;
    BaseInfo base;
    std::vector<Slot> slots;
    ListedEntries<AdapterInfo> adapters;
    NamedEntries<FileInfo> files;
    std::optional<TokenizerInfo> tokenizer;
    std::optional<std::string> reference;
    std::string task = std::string(kTextGeneration);
    std::optional<EncoderInfo> encoder;  // of every other task
};

// Parse and check `manifest.json`, every entry; throws Error{artifact} naming the field that is wrong.
Manifest parse_manifest(std::string_view content, const std::string& where = std::string(kManifestFile));

// Parse `manifest.json`, and check all of it but what it says of adapters besides their names. The entry of an adapter
// and those of its files are checked when somebody asks for them, and throw Error{artifact} then: an artifact with a
// thousand adapters opens like one with three.
Manifest open_manifest(std::string_view content, const std::string& where = std::string(kManifestFile));

// The manifest of the artifact in `folder`, as `open_manifest` reads it; throws Error{artifact} when it is missing or
// wrong.
Manifest read_manifest(const std::filesystem::path& folder);

// Bytes of the KV cache for each token of a row.
std::int64_t cache_bytes(const Manifest& manifest);

// Size and hash of a file on disk; throws Error{artifact} where it cannot be read.
FileInfo file_info(const std::filesystem::path& path);

// Names of the files that are no adapter's, and of those in the folder of one and of the file that it shares.
std::vector<std::string> files_of_base(const Manifest& manifest);
std::vector<std::string> files_of_adapter(const Manifest& manifest, std::size_t index);

}  // namespace edgelora
