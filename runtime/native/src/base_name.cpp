#include "base_name.hpp"

#include <algorithm>
#include <string_view>

#include "parse_json.hpp"

namespace edgelora {
namespace {

constexpr std::string_view kCached = "models--";
constexpr std::string_view kFile = ".gguf";
constexpr std::size_t kCommit = 40;  // digits, which a hub's cache calls a folder by

// owner/name of owner/name@revision; anything else as it is.
std::string without_revision(std::string place) {
    const std::size_t at = place.find('@');
    if (at == place.npos || at == 0 || std::count(place.begin(), place.begin() + static_cast<std::ptrdiff_t>(at), '/') != 1) {
        return place;
    }
    if (std::string_view("/.~").find(place[0]) == std::string_view::npos) place.resize(at);
    return place;
}

// What stands behind the owner in models--owner--name, or behind the first mark where there is no owner.
std::string_view cached_name(std::string_view part) {
    part.remove_prefix(kCached.size());
    const std::size_t mark = part.find("--");
    return mark == part.npos ? part : part.substr(mark + 2);
}

// What a hub id, with a revision or not, a path and a place in a hub's cache have in common; empty if nothing.
std::string short_name(std::string base) {
    std::replace(base.begin(), base.end(), '\\', '/');
    const std::string place = without_revision(std::move(base));
    std::string_view found;
    for (std::size_t start = 0; start <= place.size();) {
        const std::size_t end = std::min(place.find('/', start), place.size());
        const std::string_view part = std::string_view(place).substr(start, end - start);
        start = end + 1;
        if (part.empty() || part == ".") continue;
        found = part;
        if (part.substr(0, kCached.size()) != kCached) continue;
        found = cached_name(part);
        break;
    }
    std::string name(found);
    for (char& byte : name) byte = byte >= 'A' && byte <= 'Z' ? static_cast<char>(byte + 32) : byte;
    if (name.size() >= kFile.size() && name.compare(name.size() - kFile.size(), kFile.size(), kFile) == 0) {
        name.resize(name.size() - kFile.size());
    }
    const bool is_commit = name.size() == kCommit && name.find_first_not_of("0123456789abcdef") == name.npos;
    return is_commit || name == ".." ? "" : name;
}

}  // namespace

std::string find_other_name(const std::string& named, const std::vector<std::string>& ours, const std::string& what) {
    const std::string name = short_name(named);
    const auto first = std::find_if(ours.begin(), ours.end(), [](const std::string& item) { return !item.empty(); });
    if (name.empty() || first == ours.end()) return "";
    bool is_known = false;
    for (const std::string& item : ours) {
        const std::string known = short_name(item);
        if (known == name) return "";
        is_known = is_known || !known.empty();
    }
    if (!is_known) return "";
    return "adapter_config.json names the base " + show(named) + ", " + what + " " + show(*first) +
           "; without a receipt nobody knows whether they are the same, and `edgelora adapter receipt` writes one";
}

}  // namespace edgelora
