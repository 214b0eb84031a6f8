#include "names.hpp"

#include <algorithm>
#include <array>
#include <system_error>
#include <vector>

#include "characters.hpp"
#include "parse_json.hpp"

namespace edgelora {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLongestPath = 1024, kLongestPart = 255;  // bytes of UTF-8, what every file system takes
constexpr std::size_t kLongestName = 64;
constexpr std::array<std::string_view, 6> kGivenVariables = {
    "messages", "tools", "documents", "add_generation_prompt", "raise_exception", "strftime_now"};

bool is_digit(char byte) { return byte >= '0' && byte <= '9'; }
bool is_letter(char byte) { return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z'); }

std::vector<std::string_view> parts_of(std::string_view name) {
    std::vector<std::string_view> parts;
    for (std::size_t slash = name.find('/'); slash != name.npos; slash = name.find('/')) {
        parts.push_back(name.substr(0, slash));
        name.remove_prefix(slash + 1);
    }
    parts.push_back(name);
    return parts;
}

// Whether `path` is `folder` or lies in it; both without links and dots.
bool is_within(const fs::path& path, const fs::path& folder) {
    const auto found = std::mismatch(folder.begin(), folder.end(), path.begin(), path.end());
    return found.first == folder.end();
}

}  // namespace

bool has_control(std::string_view text) {
    const std::u32string points = decode_utf8(text);
    return std::any_of(points.begin(), points.end(), [](char32_t point) {
        return point < 0x20 || (point >= 0x7f && point <= 0x9f) || point == 0x2028 || point == 0x2029;
    });
}

bool is_hash(std::string_view text) {
    return text.size() == 64 && std::all_of(text.begin(), text.end(), [](char byte) {
               return is_digit(byte) || (byte >= 'a' && byte <= 'f');
           });
}

std::string shared_file(const std::string& sha256) { return sha256 + ".safetensors"; }

bool is_adapter_name(std::string_view name) {
    if (name.empty() || name.size() > kLongestName || name == kNoAdapter) return false;
    if (!is_letter(name[0]) && !is_digit(name[0])) return false;
    return std::all_of(name.begin(), name.end(), [](char byte) {
        return is_letter(byte) || is_digit(byte) || byte == '.' || byte == '_' || byte == '-';
    });
}

bool is_variable(std::string_view name) {
    if (name.empty() || is_digit(name[0])) return false;
    const bool is_word = std::all_of(name.begin(), name.end(),
                                     [](char byte) { return is_letter(byte) || is_digit(byte) || byte == '_'; });
    return is_word && std::find(kGivenVariables.begin(), kGivenVariables.end(), name) == kGivenVariables.end();
}

std::string find_unsafe(std::string_view name) {
    const std::vector<std::string_view> parts = parts_of(name);
    const auto has = [&](std::string_view part) { return std::find(parts.begin(), parts.end(), part) != parts.end(); };
    // ':' begins the path of another drive, or a stream beside the file.
    if (name.substr(0, 1) == "/" || name.find_first_of("\\:") != name.npos || has("..")) return "leaves the artifact";
    if (has("") || has(".")) return "has an empty part or '.'";
    if (has_control(name)) return "holds a control character";
    const auto is_long = [](std::string_view part) { return part.size() > kLongestPart; };
    if (name.size() > kLongestPath || std::any_of(parts.begin(), parts.end(), is_long)) {
        return "is longer than " + std::to_string(kLongestPath) + " bytes, or a part of it than " +
               std::to_string(kLongestPart);
    }
    return "";
}

fs::path resolve_inside(const fs::path& folder, const std::string& name) {
    const fs::path path = folder / fs::u8path(name);
    std::error_code error;
    const fs::path root = fs::weakly_canonical(folder, error);
    const fs::path real = error ? fs::path() : fs::weakly_canonical(path, error);
    if (error) {  // a loop of links
        throw Error(Code::artifact, folder.u8string() + ": " + show(name) + " cannot be followed (" +
                                        one_line(error.message()) + "); copy the artifact again");
    }
    const bool is_snapshot = root.parent_path().filename() == "snapshots";
    const fs::path blobs = root.parent_path().parent_path() / "blobs";
    if (!is_within(real, root) && !(is_snapshot && is_within(real, blobs))) {
        throw Error(Code::artifact, folder.u8string() + ": " + show(name) +
                                        " is a link that leaves the artifact; copy the file itself there");
    }
    return path;
}

}  // namespace edgelora
