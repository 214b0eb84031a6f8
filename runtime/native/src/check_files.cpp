#include "check_files.hpp"

#include <limits>
#include <system_error>
#include <utility>

#include "files.hpp"
#include "names.hpp"
#include "parse_json.hpp"

namespace edgelora {
namespace {

namespace fs = std::filesystem;

using Files = std::vector<std::pair<std::string, FileInfo>>;

constexpr std::size_t kShownDigits = 12;

std::string size_of(std::int64_t bytes) { return std::to_string(bytes) + " bytes"; }

// Compare sizes of these files, and the hashes of those of at most `hash_up_to` bytes.
void compare(const fs::path& folder, const Files& files, std::int64_t hash_up_to) {
    std::vector<std::string> wrong;
    for (const auto& [name, expected] : files) {
        const fs::path path = resolve_inside(folder, name);
        std::error_code error;
        if (!fs::is_regular_file(path, error)) {
            wrong.push_back(name + ": missing");
            continue;
        }
        const std::uintmax_t size = fs::file_size(path, error);
        if (error || size != static_cast<std::uintmax_t>(expected.bytes)) {
            wrong.push_back(name + ": " + size_of(error ? -1 : static_cast<std::int64_t>(size)) + ", expected " +
                            std::to_string(expected.bytes));
        } else if (expected.bytes <= hash_up_to) {
            const std::string found = hash_file(path, Code::artifact);
            if (found == expected.sha256) continue;
            wrong.push_back(name + ": sha256 " + found.substr(0, kShownDigits) + "…, expected " +
                            expected.sha256.substr(0, kShownDigits) + "…");
        }
    }
    if (!wrong.empty()) {
        throw Error(Code::artifact, folder.u8string() + " is damaged: " + join_some(wrong) + "; copy or export it again");
    }
}

}  // namespace

void check_files(const fs::path& folder, const Manifest& manifest, bool hashes) {
    for (std::size_t index = 0; index < manifest.adapters.size(); index++) (void)manifest.adapters.at(index);
    const auto all = manifest.files.all();
    compare(folder, {all.begin(), all.end()}, hashes ? std::numeric_limits<std::int64_t>::max() : -1);
}

void check_files(const fs::path& folder, const Manifest& manifest, const std::vector<std::string>& names,
                 std::int64_t hash_up_to) {
    Files files;
    for (const std::string& name : names) files.emplace_back(name, manifest.files.at(name));
    compare(folder, files, hash_up_to);
}

}  // namespace edgelora
