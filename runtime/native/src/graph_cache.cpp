#include "graph_cache.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <random>
#include <set>

#include "errors.hpp"
#include "files.hpp"
#include "parse_json.hpp"
#include "sha256.hpp"

#ifndef _WIN32
#include <fcntl.h>
#include <unistd.h>
#endif

namespace edgelora {

namespace fs = std::filesystem;

namespace {

const char* const kLayout = "native 1";  // of an entry; another when its files or the settings behind them change
const char* const kGraph = "graph.onnx";
const char* const kWeights = "weights.bin";
const char* const kIndex = "cache.json";
const char* const kUnfinished = ".new";
constexpr std::chrono::hours kAbandoned{1};  // age of an unfinished entry that nobody finishes any more
constexpr std::size_t kNameDigits = 32;
constexpr std::size_t kLongestCpuInfo = 16 << 20;  // bytes; thousands of processors fit

// What kernels choose their layout by: the kind of processor and what it can do. Other cores of the same kind repeat
// these lines; big and little ones may differ.
std::string describe_processor() {
    std::set<std::string> lines;
    std::string content;
    try {
        content = read_file("/proc/cpuinfo", Code::artifact, "", kLongestCpuInfo);
    } catch (const Error&) {  // another system: what follows tells the processors apart as far as it can
    }
    for (std::size_t start = 0; start < content.size();) {
        const std::size_t end = std::min(content.find('\n', start), content.size());
        const std::string line = content.substr(start, end - start);
        for (const char* name : {"model name", "flags", "Features", "CPU implementer", "CPU part"}) {
            if (line.rfind(name, 0) == 0) {
                lines.insert(line);
            }
        }
        start = end + 1;
    }
    std::string told = std::to_string(sizeof(void*));
    for (const std::string& line : lines) {
        told += "\n" + line;
    }
    return told;
}

// What an entry says of itself; null for anything that is no entry.
Json read_index(const fs::path& folder) {
    try {
        return parse_json(read_file(folder / kIndex, Code::artifact, "", kLongestJson), kIndex);
    } catch (const Error&) {
        return nullptr;
    }
}

std::string source_of(const fs::path& folder) {
    const Json index = read_index(folder);
    const Json* source = find_key(index, "source");
    return source != nullptr && source->is_string() ? source->get<std::string>() : "";
}

bool is_same(const fs::path& path, const Json& info, bool is_hashed) {
    std::error_code error;
    const Json* bytes = find_key(info, "bytes");
    const Json* digest = find_key(info, "sha256");
    if (bytes == nullptr || digest == nullptr || !bytes->is_number_integer() || !digest->is_string() ||
        !fs::is_regular_file(path, error) || fs::file_size(path, error) != bytes->get<std::uintmax_t>()) {
        return false;
    }
    return !is_hashed || file_info(path).sha256 == digest->get<std::string>();
}

// Have the system write a file down before anything says that it is there.
void sync(const fs::path& path) {
#ifndef _WIN32
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        ::fsync(file);
        ::close(file);
    }
#else
    (void)path;
#endif
}

std::string random_name() {
    std::random_device device;
    std::string name;
    for (int index = 0; index < 4; ++index) {
        name += std::to_string(device());
    }
    return name;
}

void check_writable(const fs::path& cache) {
    std::error_code error;
    fs::create_directories(cache, error);
    const fs::path probe = cache / (random_name() + kUnfinished);
    if (!error && fs::create_directory(probe, error)) {
        fs::remove(probe, error);
    }
    if (error) {
        throw Error(Code::invalid_input, "the cache cannot be written (" + cache.u8string() + ": " + error.message() +
                                             "); give cache a folder of your own");
    }
}

}  // namespace

CacheEntry find_entry(const fs::path& cache, const fs::path& artifact, const Manifest& manifest,
                      const std::string& file, bool hashes, const Ort& ort) {
    const Json made = {kLayout,
                       manifest.files.at(file).sha256,
                       manifest.files.at(manifest.graph.weights).sha256,
                       ort.version(),
                       ort.api().GetBuildInfoString(),
                       describe_processor()};
    const std::string name =
        sha256(made.dump(-1, ' ', false, Json::error_handler_t::replace)).substr(0, kNameDigits);
    std::error_code error;
    const fs::path source = fs::weakly_canonical(artifact / fs::u8path(file), error);
    const CacheEntry entry{cache / name, std::string(kLayout) + " " + source.u8string(), hashes};
    if (!is_whole(entry)) check_writable(cache);  // one that is there may lie on a disk that is only read
    return entry;
}

bool is_whole(const CacheEntry& entry) {
    const Json index = read_index(entry.folder);
    const Json* files = find_key(index, "files");
    if (files == nullptr || !files->is_object() || find_key(*files, kGraph) == nullptr) {
        return false;
    }
    try {
        return std::all_of(files->items().begin(), files->items().end(), [&entry](const auto& item) {
            const bool is_name = item.key() == kGraph || item.key() == kWeights;
            return is_name && is_same(entry.folder / item.key(), item.value(), entry.is_hashed || item.key() == kGraph);
        });
    } catch (const Error&) {  // a file that cannot be read
        return false;
    }
}

fs::path graph_of(const CacheEntry& entry) {
    return entry.folder / kGraph;
}

FreshEntry::FreshEntry(const CacheEntry& entry)
    : entry_(entry), folder_(entry.folder.parent_path() / (random_name() + kUnfinished)) {
    fs::create_directories(folder_);
}

FreshEntry::~FreshEntry() {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
}

void FreshEntry::prepare(const Ort& ort, OrtSessionOptions* options) const {
    const char* const doing = "preparing to keep a graph";
    const OrtApi& api = ort.api();
    ort.check(api.SetOptimizedModelFilePath(options, (folder_ / kGraph).c_str()), doing);
    const std::pair<const char*, const char*> settings[] = {
        {"session.optimized_model_external_initializers_file_name", kWeights},
        {"session.optimized_model_external_initializers_min_size_in_bytes", "1024"},
        {"session.save_external_prepacked_constant_initializers", "1"}};
    for (const auto& [key, value] : settings) {
        ort.check(api.AddSessionConfigEntry(options, key, value), doing);
    }
}

void FreshEntry::keep() {
    Json files = Json::object();
    for (const char* name : {kGraph, kWeights}) {
        if (fs::exists(folder_ / name)) {  // a tiny graph holds its weights itself
            const FileInfo info = file_info(folder_ / name);
            files[name] = {{"bytes", info.bytes}, {"sha256", info.sha256}};
            sync(folder_ / name);
        }
    }
    const Json index = {{"source", entry_.source}, {"files", files}};
    // Not with a stream of the standard library, which would bring all of its locales along.
    const std::string content = index.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
    std::FILE* file = std::fopen((folder_ / kIndex).u8string().c_str(), "wb");
    const bool is_written = file != nullptr && std::fwrite(content.data(), 1, content.size(), file) == content.size();
    if ((file != nullptr && std::fclose(file) != 0) || !is_written) {
        throw fs::filesystem_error("the index cannot be written", folder_,
                                   std::make_error_code(std::errc::no_space_on_device));
    }
    sync(folder_ / kIndex);
    std::error_code error;
    const fs::path old = entry_.folder.parent_path() / (random_name() + kUnfinished);
    fs::rename(entry_.folder, old, error);  // a process that has it mapped keeps its bytes until it ends
    fs::rename(folder_, entry_.folder);
    fs::remove_all(old, error);
    const auto now = fs::file_time_type::clock::now();
    for (const fs::directory_entry& other : fs::directory_iterator(entry_.folder.parent_path(), error)) {
        const bool is_abandoned = other.path().extension() == kUnfinished && now - other.last_write_time(error) > kAbandoned;
        if (is_abandoned || (other.path() != entry_.folder && source_of(other.path()) == entry_.source)) {
            fs::remove_all(other.path(), error);
        }
    }
}

}  // namespace edgelora
