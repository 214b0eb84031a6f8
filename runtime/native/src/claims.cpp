#include "claims.hpp"

#include <algorithm>

namespace edgelora {
namespace {

// The number that stands at `start`, with a `.` behind it.
std::optional<double> number_at(std::string_view name, std::size_t start) {
    double number = 0;
    std::size_t at = start;
    for (; at < name.size() && name[at] >= '0' && name[at] <= '9'; at++) number = 10 * number + (name[at] - '0');
    if (at == start || at >= name.size() || name[at] != '.') return std::nullopt;
    return number;
}

// The number behind the first place where the list `wanted` stands; behind any list but one at the very beginning where
// `wanted` is nothing.
std::optional<double> layer_in(std::string_view module, std::optional<std::string_view> wanted) {
    for (std::size_t start = 0; start < module.size();) {
        const std::size_t dot = module.find('.', start);
        if (!wanted) {
            const std::size_t next = dot == module.npos ? dot : module.find('.', dot + 1);
            if (next == module.npos) return std::nullopt;
            if (const auto found = number_at(module, next + 1)) return found;
        } else if (module.substr(start, wanted->size()) == *wanted) {
            const std::size_t end = start + wanted->size();
            if (end < module.size() && module[end] == '.') {
                if (const auto found = number_at(module, end + 1)) return found;
            }
        }
        if (dot == module.npos) return std::nullopt;
        start = dot + 1;
    }
    return std::nullopt;
}

std::optional<double> layer_of(std::string_view module, const std::vector<std::string>& lists) {
    if (lists.empty()) return layer_in(module, std::nullopt);
    for (const std::string& name : lists) {
        if (const auto found = layer_in(module, name)) return found;
    }
    return std::nullopt;
}

}  // namespace

bool is_any_ending(std::string_view name, const std::vector<std::string>& endings) {
    return std::any_of(endings.begin(), endings.end(), [&](const std::string& ending) {
        if (name == ending) return true;
        if (name.size() <= ending.size()) return false;
        const std::size_t start = name.size() - ending.size();
        return name[start - 1] == '.' && name.substr(start) == ending;
    });
}

bool Targets::has(std::string_view module) const {
    return pattern.empty() ? is_any_ending(module, endings) : pattern[0].matches_whole(module);
}

bool Claims::has(std::string_view module) const {
    if (!targets || !targets->has(module) || excluded.has(module)) return false;
    if (layers.empty() || std::find(targets->endings.begin(), targets->endings.end(), module) != targets->endings.end()) {
        return true;
    }
    const std::optional<double> layer = layer_of(module, lists);
    return layer && std::find(layers.begin(), layers.end(), *layer) != layers.end();
}

}  // namespace edgelora
