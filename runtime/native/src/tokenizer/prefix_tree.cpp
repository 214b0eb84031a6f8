#include "prefix_tree.hpp"

#include <string>

#include "fields.hpp"

namespace edgelora::tokenizer {
namespace {

constexpr std::size_t kLongestToken = 1024;  // bytes; at each place of a text so many steps may be taken

}  // namespace

std::size_t PrefixTree::place_of(std::uint64_t key) const {
    const std::size_t mask = slots_.size() - 1;
    std::uint64_t hash = key * 0x9e3779b97f4a7c15U;
    hash ^= hash >> 32;
    std::size_t place = static_cast<std::size_t>(hash) & mask;
    while (slots_[place].key != 0 && slots_[place].key != key) place = (place + 1) & mask;
    return place;
}

std::uint32_t PrefixTree::step(std::uint32_t node, unsigned char byte) const {
    const Slot& slot = slots_[place_of(key_of(node, byte))];
    return slot.key == 0 ? kNone : slot.node;
}

void PrefixTree::add(std::string_view token, std::int32_t id) {
    if (token.size() > kLongestToken) {
        refuse_unsupported("a token of " + std::to_string(token.size()) + " bytes; the most are " +
                           std::to_string(kLongestToken));
    }
    std::uint32_t node = kRoot;
    for (const char c : token) {
        const std::uint64_t key = key_of(node, static_cast<unsigned char>(c));
        std::size_t place = place_of(key);
        if (slots_[place].key == 0) {
            if (2 * (ids_.size() + 1) > slots_.size()) {
                std::vector<Slot> before(slots_.size() * 2);
                before.swap(slots_);
                for (const Slot& slot : before) {
                    if (slot.key != 0) slots_[place_of(slot.key)] = slot;
                }
                place = place_of(key);
            }
            slots_[place] = {key, static_cast<std::uint32_t>(ids_.size())};
            ids_.push_back(-1);
        }
        node = slots_[place].node;
    }
    ids_[node] = id;
}

}  // namespace edgelora::tokenizer
