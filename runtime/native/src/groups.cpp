#include "groups.hpp"

#include <algorithm>
#include <numeric>
#include <string>

namespace edgelora {

std::vector<std::vector<size_t>> group_rows(const std::vector<size_t>& lengths, size_t bytes_per_token) {
    std::vector<size_t> longest_first(lengths.size());
    std::iota(longest_first.begin(), longest_first.end(), size_t{0});
    std::stable_sort(longest_first.begin(), longest_first.end(),
                     [&lengths](size_t one, size_t other) { return lengths[one] > lengths[other]; });
    std::vector<std::vector<size_t>> groups;
    size_t room = 0;
    for (const size_t index : longest_first) {
        if (room == 0) {  // the first row of a group is its longest: all of them get that much cache
            const size_t row_bytes = std::max<size_t>(1, lengths[index] * bytes_per_token);
            room = std::clamp<size_t>(kMostCacheBytes / row_bytes, 1, kMostRows);
            groups.emplace_back();
        }
        groups.back().push_back(index);
        --room;
    }
    return groups;
}

std::vector<std::vector<size_t>> plan_calls(const std::vector<size_t>& lengths, const std::vector<std::string>& specs,
                                            size_t most_tokens, bool shares_adapter) {
    std::vector<size_t> shortest_first(lengths.size());
    std::iota(shortest_first.begin(), shortest_first.end(), size_t{0});
    std::stable_sort(shortest_first.begin(), shortest_first.end(),
                     [&lengths](size_t one, size_t other) { return lengths[one] < lengths[other]; });
    const size_t longest = lengths.empty() ? 0 : lengths[shortest_first.back()];
    if (!shares_adapter && lengths.size() * longest <= most_tokens) {
        return {shortest_first};
    }
    std::vector<std::string> different;
    for (const std::string& spec : specs) {
        if (std::find(different.begin(), different.end(), spec) == different.end()) {
            different.push_back(spec);
        }
    }
    std::vector<std::vector<size_t>> calls;
    for (const std::string& spec : different) {
        std::vector<size_t> rows;
        std::vector<size_t> own;
        for (const size_t index : shortest_first) {
            if (specs[index] == spec) {
                rows.push_back(index);
                own.push_back(lengths[index]);
            }
        }
        for (const auto& [first, last] : split_rows(own, most_tokens)) {
            calls.emplace_back(rows.begin() + static_cast<std::ptrdiff_t>(first),
                               rows.begin() + static_cast<std::ptrdiff_t>(last));
        }
    }
    return calls;
}

std::vector<std::pair<size_t, size_t>> split_rows(const std::vector<size_t>& lengths, size_t most_tokens) {
    std::vector<std::pair<size_t, size_t>> parts;
    size_t start = 0;
    size_t longest = 0;
    for (size_t index = 0; index < lengths.size(); ++index) {
        longest = std::max(longest, lengths[index]);
        if (index > start && (index + 1 - start) * longest > most_tokens) {
            parts.emplace_back(start, index);
            start = index;
            longest = lengths[index];
        }
    }
    parts.emplace_back(start, lengths.size());
    return parts;
}

}  // namespace edgelora
