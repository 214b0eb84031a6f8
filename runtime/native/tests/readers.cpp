// readers: answers for each line of JSON on standard input what a reader of the runtime makes of it, in one line.
//
// Tests put the same things to the Python runtime and compare. A request is {"do": NAME, ...}; an answer {"value": ...}
// or {"code": N, "message": ...} for an Error.
#include <cstdio>
#include <cstring>
#include <iostream>
#include <limits>
#include <map>
#include <string>

#include "adapter_config.hpp"
#include "characters.hpp"
#include "check_files.hpp"
#include "files.hpp"
#include "head.hpp"
#include "manifest.hpp"
#include "names.hpp"
#include "open_adapter.hpp"
#include "receipt.hpp"
#include "safetensors.hpp"
#include "sampling.hpp"
#include "sha256.hpp"
#include "spec.hpp"

namespace {

using namespace edgelora;
namespace fs = std::filesystem;

constexpr std::size_t kLongest = std::numeric_limits<std::size_t>::max() / 2;

fs::path path_of(const Json& request, const char* key) { return fs::u8path(request.at(key).get<std::string>()); }

std::string content_of(const Json& request) { return read_file(path_of(request, "path"), Code::internal, "", kLongest); }

Json read_json(const Json& request) {
    return parse_json(content_of(request), "here", Code::adapter, "go on", request.value("limit", kLongestJson));
}

Json read_manifest_file(const Json& request) {
    const Manifest manifest = parse_manifest(content_of(request));
    Json parts = Json::array();
    for (const Slot& slot : manifest.slots) {
        for (const SlotPart& part : slot.parts) parts.push_back({part.module, part.offset, part.out_features});
    }
    return {{"model", manifest.model.name},      {"eos", manifest.model.eos_token_ids},
            {"parts", parts},                    {"files", manifest.files.all().size()},
            {"cache", cache_bytes(manifest)},    {"adapters", manifest.adapters.size()},
            {"grid", manifest.base.grid},        {"fused", manifest.graph.fused.value_or("")},
            {"bos", manifest.tokenizer ? manifest.tokenizer->bos_token.value_or("") : ""}};
}

// What `read` gives, or the message with which it refuses.
template <typename Read>
Json told(Read read) {
    try {
        return read();
    } catch (const Error& error) {
        return {{"code", static_cast<int>(error.code)}, {"message", error.what()}};
    }
}

// Entries of a manifest that is opened, one by one, and all files.
Json read_opened(const Json& request) {
    const Manifest manifest = open_manifest(content_of(request));
    const auto file_of = [](const FileInfo& info) { return Json{info.bytes, info.sha256, info.pieces.has_value()}; };
    Json adapters = Json::array(), files = Json::object();
    for (std::size_t index = 0; index < manifest.adapters.size(); index++) {
        adapters.push_back(told([&]() -> Json {
            const AdapterInfo info = manifest.adapters.at(index);
            return {info.name, info.path, info.rank, info.store, files_of_adapter(manifest, index)};
        }));
    }
    for (const Json& item : request.at("files")) {
        const auto name = item.get<std::string>();
        files[name] = told([&]() -> Json {
            return manifest.files.has(name) ? file_of(manifest.files.at(name)) : Json(nullptr);
        });
    }
    const Json all = told([&]() -> Json { return manifest.files.all().size(); });
    return {{"names", manifest.adapters.names()}, {"base", files_of_base(manifest)}, {"adapters", adapters},
            {"files", files}, {"all", all}};
}

Json read_artifact(const Json& request) {
    const fs::path folder = path_of(request, "folder");
    const Manifest manifest = read_manifest(folder);
    check_files(folder, manifest, request.value("hashes", true));
    return manifest.files.all().size();
}

Json read_receipt_file(const Json& request) {
    const Receipt receipt = parse_receipt(content_of(request));
    Json probes = Json::array();
    for (const Probe& probe : receipt.probes) probes.push_back({probe.input_ids, probe.kl, probe.base.logprobs});
    return {{"name", receipt.name}, {"fingerprint", receipt.fingerprint}, {"layers", receipt.layers.size()},
            {"probes", probes}};
}

Json read_config_file(const Json& request) {
    const LoraConfig config = parse_config(content_of(request));
    Json modules = Json::array();
    for (const Json& item : request.value("modules", Json::array())) {
        const auto module = item.get<std::string>();
        const std::int64_t rank = config.rank_of(module);
        modules.push_back({rank, config.scaling_of(module, rank), config.claims.has(module)});
    }
    return modules;
}

Json read_tensors(const Json& request) {
    const auto file = MappedFile::open(path_of(request, "path"), Code::artifact);
    Json tensors = Json::object();
    for (const auto& [name, tensor] : parse_safetensors(file->bytes(), "file")) {
        tensors[name] = {tensor.dtype, tensor.shape, sha256(tensor.bytes)};
        if (!tensor.is_float()) continue;
        const std::vector<float> values = to_float32(tensor);
        const float* view = float32_view(tensor);
        const std::size_t n_bytes = values.size() * sizeof(float);
        tensors[name].push_back(sha256({reinterpret_cast<const char*>(values.data()), n_bytes}));
        // Byte by byte: damaged files hold what equals nothing, not even itself.
        if (view != nullptr && n_bytes > 0 && std::memcmp(values.data(), view, n_bytes) != 0) tensors[name].push_back("view");
    }
    return tensors;
}

Json read_adapter_folder(const Json& request) {
    const Manifest manifest = read_manifest(path_of(request, "artifact"));
    const BaseHead base = read_base_head(path_of(request, "artifact"), manifest);
    const Adapter adapter =
        open_adapter(path_of(request, "folder"), manifest, "the adapter", request.value("trust", false), base.tensors);
    Json factors = Json::object();
    for (const auto& [module, item] : adapter.factors) {
        const auto hash = [](const float* values, std::int64_t count) {
            return sha256({reinterpret_cast<const char*>(values), static_cast<std::size_t>(count) * sizeof(float)});
        };
        factors[module] = {item.rank, item.scaling, hash(item.a, item.rank * item.in_features),
                           hash(item.b, item.out_features * item.rank)};
    }
    return {{"rank", adapter.rank()}, {"factors", factors}, {"notes", adapter.notes}};
}

Json read_spec(const Json& request) {
    const auto text = request.at("text").get<std::string>();
    const bool has_known = request.contains("known");
    const Spec spec =
        has_known ? parse_spec(text, request.at("known").get<std::vector<std::string>>()) : parse_spec(text);
    Json terms = Json::array();
    for (const SpecTerm& term : spec) terms.push_back({term.name, term.weight});
    return terms;
}

Json draw(const Json& request) {
    SamplingOptions options;
    options.temperature = request.at("temperature");
    options.top_k = request.at("top_k");
    options.top_p = request.at("top_p");
    options.min_p = request.at("min_p");
    options.repetition_penalty = request.at("repetition_penalty");
    options.seed = request.at("seed").get<std::uint64_t>();
    const std::string bytes = content_of(request);
    std::vector<float> logits(bytes.size() / sizeof(float));
    std::copy(bytes.begin(), bytes.end(), reinterpret_cast<char*>(logits.data()));
    const auto columns = request.at("columns").get<std::size_t>();
    Sampler sampler(options, request.at("prompt_ids").get<std::vector<std::int32_t>>(), request.at("row"));
    Json tokens = Json::array();
    for (std::size_t start = 0; start + columns <= logits.size(); start += columns) {
        tokens.push_back(sampler.choose(logits.data() + start, columns));
    }
    return tokens;
}

Json name_of(const Json& request) {
    const auto text = request.at("text").get<std::string>();
    check_name(text);
    return true;
}

Json unsafe_of(const Json& request) { return find_unsafe(request.at("text").get<std::string>()); }

Json shown(const Json& request) { return show(request.at("value")); }

// By the instructions of the processor, and in words.
Json hash_of(const Json& request) {
    Sha256 in_words(false);
    const std::string content = content_of(request);
    for (std::size_t start = 0; start < content.size(); start += 1000) {
        in_words.update(std::string_view(content).substr(start, 1000));
    }
    return {hash_file(path_of(request, "path"), Code::artifact), in_words.finish()};
}

const std::map<std::string, Json (*)(const Json&)> kReaders = {
    {"json", read_json},           {"manifest", read_manifest_file}, {"artifact", read_artifact},
    {"opened", read_opened},
    {"receipt", read_receipt_file}, {"config", read_config_file},    {"safetensors", read_tensors},
    {"adapter", read_adapter_folder}, {"spec", read_spec},           {"sample", draw},
    {"name", name_of},             {"unsafe", unsafe_of},            {"show", shown},
    {"sha256", hash_of},
};

Json answer(const Json& request) {
    try {
        return {{"value", kReaders.at(request.at("do").get<std::string>())(request)}};
    } catch (const Error& error) {
        return {{"code", static_cast<int>(error.code)}, {"message", error.what()}};
    }
}

}  // namespace

int main() {
    std::string line;
    while (std::getline(std::cin, line)) {
        std::cout << answer(Json::parse(line)).dump() << std::endl;
    }
    return 0;
}
