#include "shared_factors.hpp"

#include <cstdint>
#include <map>
#include <string_view>
#include <system_error>

#include "errors.hpp"
#include "files.hpp"
#include "names.hpp"
#include "parse_json.hpp"

namespace edgelora {
namespace {

namespace fs = std::filesystem;

using Tensors = std::map<std::string, StoredTensor>;

constexpr std::int64_t kReferenceBytes = 64;
constexpr std::size_t kHashDigits = 64;
constexpr std::size_t kShownDigits = 12;
constexpr const char* kAgain = "; copy or export the artifact again";

std::string to_hex(std::string_view bytes) {
    constexpr char digits[] = "0123456789abcdef";
    std::string text;
    for (const char byte : bytes) {
        const auto value = static_cast<unsigned char>(byte);
        text += digits[value >> 4];
        text += digits[value & 15];
    }
    return text;
}

fs::path beside(const fs::path& folder) {
    const fs::path whole = fs::absolute(folder).lexically_normal();
    return whole.has_filename() ? whole.parent_path() : whole.parent_path().parent_path();
}

Tensors read_shared(const std::string& sha256, const fs::path& folder, std::vector<std::shared_ptr<const void>>& kept) {
    const std::string name = shared_file(sha256);
    const std::string told = folder.u8string() + " has factors in ../" + name + ", which ";
    const fs::path path = beside(folder) / name;
    std::error_code error;
    if (!fs::is_regular_file(path, error)) {
        throw Error(Code::adapter, told + "is missing; copy the whole artifact, or take the adapter out of it with "
                                          "`edgelora adapter convert`");
    }
    if (const std::string other = hash_file(path, Code::adapter); other != sha256) {
        throw Error(Code::adapter, told + "has sha256 " + other.substr(0, kShownDigits) + kAgain);
    }
    const auto file = MappedFile::open(path, Code::adapter);
    kept.push_back(file);
    Tensors found;
    for (auto& [key, tensor] : parse_safetensors(file->bytes(), path.u8string())) found.emplace(key, tensor);
    return found;
}

}  // namespace

void look_up_shared(std::vector<std::pair<std::string, StoredTensor>>& tensors, const fs::path& folder,
                    std::vector<std::shared_ptr<const void>>& kept) {
    std::map<std::string, Tensors> shared;
    for (auto& [name, tensor] : tensors) {
        if (tensor.dtype != "U8" || tensor.shape != std::vector<std::int64_t>{kReferenceBytes}) continue;
        const std::string reference = to_hex(tensor.bytes);
        const std::string sha256 = reference.substr(0, kHashDigits), key = reference.substr(kHashDigits);
        auto file = shared.find(sha256);
        if (file == shared.end()) file = shared.emplace(sha256, read_shared(sha256, folder, kept)).first;
        const auto found = file->second.find(key);
        if (found == file->second.end()) {
            throw Error(Code::adapter, folder.u8string() + " has " + show(name) + " in ../" + shared_file(sha256) +
                                           ", which holds no tensor " + key.substr(0, kShownDigits) + kAgain);
        }
        tensor = found->second;
    }
}

}  // namespace edgelora
