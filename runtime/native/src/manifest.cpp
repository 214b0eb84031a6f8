#include "manifest.hpp"

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <system_error>
#include <unordered_set>

#include "check_manifest.hpp"
#include "entry_lines.hpp"
#include "files.hpp"
#include "json_fields.hpp"
#include "names.hpp"

namespace edgelora {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFormat = "edgelora";
constexpr int kFormatVersion = 1;
constexpr std::size_t kLongest = 32 << 20;  // bytes; an artifact of a hundred layers and a hundred adapters has one
constexpr const char* kAdvice = "export the artifact again";

template <typename Item>
std::vector<Item> list_of(const Field& field, Item (*read)(const Field&)) {
    std::vector<Item> found;
    for (const Field& item : field.items()) found.push_back(read(item));
    return found;
}

SlotPart read_part(const Field& field) {
    return {field.at("module").text(), field.at("offset").whole(), field.at("out_features").whole()};
}

Slot read_slot(const Field& field) {
    return {field.at("name").text(),         field.at("a").text(),
            field.at("b").text(),            field.at("in_features").whole(),
            field.at("out_features").whole(), list_of(field.at("parts"), read_part),
            field.find_text("gain")};
}

ModelInfo read_model(const Field& field) {
    return {field.at("name").text(),
            field.at("architecture").text(),
            field.at("vocab_size").whole(),
            field.at("num_layers").whole(),
            field.at("num_kv_heads").whole(),
            field.at("head_dim").whole(),
            field.at("context_length").whole(),
            field.at("eos_token_ids").wholes()};
}

GraphInfo read_graph(const Field& field) {
    GraphInfo graph;
    graph.file = field.at("file").text();
    graph.weights = field.at("weights").text();
    graph.without_slots = field.find_text("without_slots");
    if (const auto cache = field.find("kv_cache")) graph.kv_cache = cache->text();
    graph.fused = field.find_text("fused");
    return graph;
}

TokenizerInfo read_tokenizer(const Field& field) {
    TokenizerInfo info{field.at("file").text(),      field.find_text("chat_template"), field.find_text("bos_token"),
                       field.find_text("eos_token"), field.find_text("pad_token"),     field.find_text("unk_token")};
    if (const auto variables = field.find("template_variables")) info.template_variables = variables->object();
    return info;
}

HeadInfo read_head(const Field& field) {
    HeadInfo head;
    head.labels = field.at("labels").texts();
    if (const auto problem = field.find("problem_type")) head.problem_type = problem->text();
    if (const auto temperature = field.find("temperature")) head.temperature = temperature->number();
    return head;
}

std::optional<HeadInfo> find_head(const Field& field, std::string_view name) {
    const auto found = field.find(name);
    if (!found || found->is_null()) return std::nullopt;
    return read_head(*found);
}

HeadTensor read_head_tensor(const Field& field) {
    return {field.at("tensor").text(), field.at("input").text(), field.at("sizes").wholes()};
}

EncoderInfo read_encoder(const Field& field) {
    EncoderInfo encoder;
    encoder.inputs = field.at("inputs").texts();
    encoder.output = field.at("output").text();
    encoder.hidden_size = field.at("hidden_size").whole();
    if (const auto head = field.find("head")) encoder.head = list_of(*head, read_head_tensor);
    encoder.head_file = field.find_text("head_file");
    encoder.base_head = find_head(field, "base_head");
    if (const auto shares = field.find("one_adapter")) encoder.one_adapter = shares->flag();
    if (const auto size = field.find("image_size")) encoder.image_size = size->wholes();
    return encoder;
}

// What is said to people is of the right type; nothing here shows it.
void check_words(const Field& field, std::initializer_list<const char*> names) {
    for (const char* name : names) (void)field.find_text(name);
}

AdapterInfo read_info(const Field& field) {
    AdapterInfo info;
    info.name = field.at("name").text();
    info.path = field.at("path").text();
    info.rank = field.at("rank").whole();
    if (const auto store = field.find("store")) info.store = store->text();
    info.head = find_head(field, "head");
    info.shared = field.find_text("shared");
    check_words(field, {"title", "description", "license"});
    if (const auto examples = field.find("examples")) (void)examples->texts();
    return info;
}

FileInfo read_file(const Field& field) {
    FileInfo info{field.at("bytes").whole(), field.at("sha256").text()};
    const auto pieces = field.find("pieces");
    if (!pieces || pieces->is_null()) return info;
    info.pieces = Pieces{pieces->at("size").whole(), pieces->at("sha256").texts()};
    return info;
}

// What is for people and tools has the types that the format gives it, too; nothing of it is kept.
void check_records(const Field& field) {
    for (const char* name : {"quantization", "report"}) {
        if (const auto record = field.find(name)) record->object();
    }
    if (const auto merged = field.find("merged"); merged && !merged->is_null()) merged->object();
}

Manifest build(const Field& field) {
    Manifest manifest;
    manifest.producer = field.at("producer").text();
    manifest.target = field.at("target").text();
    manifest.model = read_model(field.at("model"));
    manifest.graph = read_graph(field.at("graph"));
    const Field base = field.at("base");
    manifest.base = {base.at("fingerprint").text(), base.at("grid").text(), base.find_text("source").value_or("")};
    check_words(base, {"license"});
    manifest.slots = list_of(field.at("slots"), read_slot);
    manifest.adapters = ListedEntries<AdapterInfo>(list_of(field.at("adapters"), read_info));
    std::map<std::string, FileInfo> files;
    for (const auto& [name, info] : field.at("files").entries()) files[name] = read_file(info);
    manifest.files = NamedEntries<FileInfo>(std::move(files));
    if (const auto task = field.find("task")) manifest.task = task->text();
    const auto encoder = field.find("encoder");
    if (encoder && !encoder->is_null()) manifest.encoder = read_encoder(*encoder);
    const auto tokenizer = field.find("tokenizer");
    if (tokenizer && !tokenizer->is_null()) manifest.tokenizer = read_tokenizer(*tokenizer);
    manifest.reference = field.find_text("reference");
    check_records(field);
    return manifest;
}

void check_version(const Json& data, const std::string& where) {
    const Json* format = find_key(data, "format");
    if (format == nullptr || !format->is_string() || format->get_ref<const std::string&>() != kFormat) {
        const std::string found = !data.is_object() ? data.type_name() : format == nullptr ? "missing" : show(*format);
        throw Error(Code::artifact, where + ": format is " + found + ", expected 'edgelora'; this is no EdgeLoRA artifact");
    }
    const Json* version = find_key(data, "format_version");
    const bool is_whole = version != nullptr && version->is_number_integer();
    if (is_whole && *version > kFormatVersion) {
        throw Error(Code::artifact, where + ": format_version " + show(*version) + " is newer than " +
                                        std::to_string(kFormatVersion) +
                                        ", the newest this runtime reads; update edgelora");
    }
    if (!is_whole || *version < 1) {
        throw Error(Code::artifact, where + ": format_version is " + (version == nullptr ? "missing" : show(*version)) +
                                        ", expected " + std::to_string(kFormatVersion));
    }
}

Json parse_root(std::string_view content, const std::string& where) {
    Json data = parse_json(content, where, Code::artifact, kAdvice, kLongest);
    check_version(data, where);
    return data;
}

void refuse(const std::vector<std::string>& lines, const std::string& where) {
    const std::string wrong = join_some(lines);
    if (!wrong.empty()) throw Error(Code::artifact, where + ": " + wrong + "; " + kAdvice);
}

Manifest build_whole(const Json& data, const std::string& where) {
    Manifest manifest = build(Field(data, where));
    refuse(find_wrong(manifest), where);
    return manifest;
}

// The names of all adapters, nothing where one has none.
std::optional<std::vector<std::string>> names_of(const Json& data) {
    const Json* adapters = find_key(data, "adapters");
    if (adapters == nullptr || !adapters->is_array()) return std::nullopt;
    std::vector<std::string> names;
    for (const Json& item : *adapters) {
        const Json* name = find_key(item, "name");
        if (name == nullptr || !name->is_string()) return std::nullopt;
        names.push_back(name->get<std::string>());
    }
    return names;
}

bool are_names(const std::vector<std::string>& names) {
    const std::unordered_set<std::string_view> different(names.begin(), names.end());
    return different.size() == names.size() && std::all_of(names.begin(), names.end(), is_adapter_name);
}

bool is_of_adapter(const std::string& file) { return file.compare(0, kAdapterFolder.size(), kAdapterFolder) == 0; }

using RawFiles = std::map<std::string, Json>;

// Files of adapters, of which entries are in `rest` or, where there are some, in `lines`.
UnreadEntries<FileInfo> unread_files(std::shared_ptr<const RawFiles> rest, std::shared_ptr<const EntryLines> lines,
                                     const std::string& where) {
    const auto made = [where](const std::string& name, const Json& entry) {
        FileInfo info = read_file(Field(entry, where + ": files: " + show(name)));
        refuse(find_wrong_file(name, info), where);
        return info;
    };
    UnreadEntries<FileInfo> unread;
    unread.has = [rest, lines](const std::string& name) {
        return rest->count(name) != 0 || (lines && lines->has_file(name));
    };
    unread.read = [rest, lines, where, made](const std::string& name) {
        const auto found = rest->find(name);
        return made(name, found != rest->end() ? found->second : lines->read_file(name, where));
    };
    unread.below = [rest, lines](const std::string& folder) {
        std::vector<std::string> names = lines ? lines->files_below(folder) : std::vector<std::string>();
        for (auto item = rest->lower_bound(folder); item != rest->end(); ++item) {
            if (item->first.compare(0, folder.size(), folder) != 0) break;
            names.push_back(item->first);
        }
        return names;
    };
    unread.all = [rest, lines, where, made] {
        std::map<std::string, FileInfo> all;
        if (lines) {
            const Json data = parse_root(lines->text(), where);
            for (const auto& item : data.at("files").items()) all[item.key()] = made(item.key(), item.value());
        }
        for (const auto& [name, entry] : *rest) all[name] = made(name, entry);
        return all;
    };
    return unread;
}

// The manifest of `data`, which has no adapters; entries of adapters and of their files are read when asked for.
Manifest open_with(Json data, const std::vector<std::string>& names, std::function<Json(std::size_t)> adapter,
                   std::shared_ptr<const EntryLines> lines, const std::string& where) {
    auto rest = std::make_shared<RawFiles>();
    Json own = Json::object();
    for (auto& item : data["files"].items()) {
        if (is_of_adapter(item.key())) {
            rest->emplace(item.key(), std::move(item.value()));
        } else {
            own.get_ref<Json::object_t&>().emplace_back(item.key(), std::move(item.value()));
        }
    }
    data["files"] = std::move(own);
    auto base = std::make_shared<Manifest>(build_whole(data, where));
    base->files = NamedEntries<FileInfo>(base->files.known(), unread_files(rest, std::move(lines), where));
    Manifest manifest = *base;
    manifest.adapters = ListedEntries<AdapterInfo>(names, [base, adapter, where](std::size_t index) {
        const Json entry = adapter(index);
        AdapterInfo info = read_info(Field(entry, where + ": adapters[" + std::to_string(index) + "]"));
        refuse(find_wrong_adapter(index, info, *base), where);
        return info;
    });
    return manifest;
}

// The manifest whose entries stand in `lines`; nothing where that cannot be.
std::optional<Manifest> open_lines(std::shared_ptr<const EntryLines> lines, const std::string& where) {
    try {
        Json data = parse_root(lines->without(), where);
        if (!EntryLines::take_out(data) || !are_names(lines->names())) return std::nullopt;
        const auto adapter = [lines, where](std::size_t index) { return lines->read_adapter(index, where); };
        return open_with(std::move(data), lines->names(), adapter, lines, where);
    } catch (const Error& error) {
        if (error.code != Code::artifact) throw;
        return std::nullopt;
    }
}

}  // namespace

Manifest parse_manifest(std::string_view content, const std::string& where) {
    return build_whole(parse_root(content, where), where);
}

Manifest open_manifest(std::string_view content, const std::string& where) {
    if (auto lines = content.size() > kLongest ? std::nullopt : EntryLines::find(content)) {
        if (auto found = open_lines(std::make_shared<const EntryLines>(std::move(*lines)), where)) return *found;
    }  // else the whole says what is wrong, and where
    Json data = parse_root(content, where);
    const auto names = names_of(data);
    const Json* files = find_key(data, "files");
    if (!names || !are_names(*names) || files == nullptr || !files->is_object()) return build_whole(data, where);
    const auto adapters = std::make_shared<const Json>(std::move(data["adapters"]));
    data["adapters"] = Json::array();
    return open_with(std::move(data), *names, [adapters](std::size_t index) { return adapters->at(index); }, nullptr, where);
}

Manifest read_manifest(const fs::path& folder) {
    const fs::path path = folder / kManifestFile;
    std::error_code error;
    const bool is_folder = fs::is_directory(folder, error);
    if (!is_folder || !fs::is_regular_file(path, error)) {
        const std::string what = is_folder ? " has no manifest.json" : " is not a folder";
        throw Error(Code::artifact,
                    folder.u8string() + what + "; expected an artifact written by `edgelora export`");
    }
    resolve_inside(folder, std::string(kManifestFile));
    return open_manifest(read_file(path, Code::artifact, kAdvice, kLongest), path.u8string());
}

std::int64_t cache_bytes(const Manifest& manifest) {
    const ModelInfo& model = manifest.model;
    const std::int64_t numbers = 2 * model.num_layers * model.num_kv_heads * model.head_dim;
    return manifest.graph.kv_cache == kInt8Cache ? numbers : 4 * numbers;
}

FileInfo file_info(const fs::path& path) {
    std::error_code error;
    const std::uintmax_t size = fs::file_size(path, error);
    if (error) {
        throw Error(Code::artifact, path.u8string() + " cannot be read (" + one_line(error.message()) + "); copy it again");
    }
    return {static_cast<std::int64_t>(size), hash_file(path, Code::artifact)};
}

std::vector<std::string> files_of_base(const Manifest& manifest) {
    std::vector<std::string> found;
    for (const auto& [name, info] : manifest.files.known()) {
        if (!is_of_adapter(name)) found.push_back(name);
    }
    return found;
}

std::vector<std::string> files_of_adapter(const Manifest& manifest, std::size_t index) {
    const std::string folder = std::string(kAdapterFolder) + manifest.adapters.names().at(index) + "/";
    std::vector<std::string> found = manifest.files.below(folder);
    const AdapterInfo info = manifest.adapters.at(index);
    if (info.shared) found.push_back(std::string(kAdapterFolder) + shared_file(*info.shared));
    return found;
}

}  // namespace edgelora
