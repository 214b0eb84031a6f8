#include "find_tokens.hpp"

#include <algorithm>

namespace edgelora::tokenizer {
namespace {

std::uint64_t key_of(std::uint32_t node, unsigned char byte) { return std::uint64_t{node} << 8 | byte; }

}  // namespace

std::uint32_t TextFinder::child(std::uint32_t node, unsigned char byte) const {
    if (node == 0) return roots_[byte];
    const auto found = children_.find(key_of(node, byte));
    return found == children_.end() ? 0 : found->second;
}

void TextFinder::add(std::string_view text, std::size_t number) {
    std::uint32_t node = 0;
    for (auto byte = text.rbegin(); byte != text.rend(); ++byte) {
        const auto value = static_cast<unsigned char>(*byte);
        std::uint32_t next = child(node, value);
        if (next == 0) {
            next = static_cast<std::uint32_t>(nodes_.size());
            nodes_.push_back({0, node, 0, 0, value});
            if (node == 0) {
                roots_[value] = next;
            } else {
                children_[key_of(node, value)] = next;
            }
        }
        node = next;
    }
    if (nodes_[node].length != 0) return;
    nodes_[node].length = static_cast<std::uint32_t>(text.size());
    nodes_[node].number = number;
}

void TextFinder::finish() {
    // Nodes by their depth, as the failure of a node is that of a shorter one.
    std::vector<std::uint32_t> depths(nodes_.size(), 0), order(nodes_.size());
    for (std::uint32_t node = 0; node < nodes_.size(); node++) {
        order[node] = node;
        if (node > 0) depths[node] = depths[nodes_[node].parent] + 1;
    }
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return depths[a] < depths[b]; });
    for (const std::uint32_t index : order) {
        Node& node = nodes_[index];
        if (depths[index] < 2) continue;
        std::uint32_t back = nodes_[node.parent].failure;
        while (back != 0 && child(back, node.byte) == 0) back = nodes_[back].failure;
        node.failure = child(back, node.byte);
        if (node.length == 0) {
            node.length = nodes_[node.failure].length;
            node.number = nodes_[node.failure].number;
        }
    }
}

std::vector<TextFinder::Match> TextFinder::find_all(std::string_view text) const {
    std::vector<Match> found;
    if (nodes_.size() == 1) return found;
    std::uint32_t node = 0;
    for (std::size_t at = text.size(); at-- > 0;) {
        const auto byte = static_cast<unsigned char>(text[at]);
        std::uint32_t next = child(node, byte);
        while (next == 0 && node != 0) {
            node = nodes_[node].failure;
            next = child(node, byte);
        }
        node = next;
        const std::uint32_t length = nodes_[node].length;
        if (length != 0) found.push_back({{at, at + length}, nodes_[node].number});
    }
    std::reverse(found.begin(), found.end());
    std::size_t last = 0, kept = 0;
    for (const Match& match : found) {
        if (match.span.begin < last) continue;
        last = match.span.end;
        found[kept++] = match;
    }
    found.resize(kept);
    return found;
}

}  // namespace edgelora::tokenizer
