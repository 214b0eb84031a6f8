#include "merges.hpp"

#include <algorithm>
#include <array>
#include <queue>

#include "fields.hpp"

namespace edgelora::tokenizer {
namespace {

constexpr std::size_t kMostProbes = 2000;
constexpr std::size_t kFew = 32;  // for so few looking at all each time is quicker than a queue
constexpr std::uint32_t kNoRank = 0xffffffffU;
constexpr std::size_t kNone = ~std::size_t{0};

struct Symbol {
    std::int32_t id;
    std::size_t previous;
    std::size_t next;
    bool is_gone;
};

struct Candidate {
    std::uint32_t rank;
    std::int32_t id;
    std::size_t place;
    bool operator<(const Candidate& other) const {  // the queue gives the largest first
        return rank != other.rank ? rank > other.rank : place > other.place;
    }
};

}  // namespace

void Merges::add(std::int32_t left, std::int32_t right, Merge merge) {
    if (2 * (count_ + 1) > slots_.size()) grow();
    const std::uint64_t key = key_of(left, right);
    const std::size_t mask = slots_.size() - 1;
    std::size_t place = hash_of(key) & mask;
    for (std::size_t probes = 0; slots_[place].key != key && slots_[place].key != kFree; probes++) {
        if (probes == kMostProbes) refuse_broken("merges whose tokens collide");
        place = (place + 1) & mask;
    }
    if (slots_[place].key == kFree) count_++;
    slots_[place] = {key, merge};
}

void Merges::grow() {
    std::vector<Slot> before(std::max<std::size_t>(64, slots_.size() * 2));
    before.swap(slots_);
    const std::size_t mask = slots_.size() - 1;
    for (const Slot& slot : before) {
        if (slot.key == kFree) continue;
        std::size_t place = hash_of(slot.key) & mask;
        while (slots_[place].key != kFree) place = (place + 1) & mask;
        slots_[place] = slot;
    }
}

void Merges::apply_to_few(std::vector<std::int32_t>& ids) const {
    std::array<Merge, kFew> pairs;  // that of each symbol with the one behind it
    std::size_t size = ids.size();
    const auto look = [&](std::size_t place) {
        const Merge* found = place + 1 < size ? find(ids[place], ids[place + 1]) : nullptr;
        pairs[place] = found != nullptr ? *found : Merge{kNoRank, 0};
    };
    for (std::size_t place = 0; place < size; place++) look(place);
    while (size > 1) {
        const auto* best = std::min_element(pairs.begin(), pairs.begin() + static_cast<std::ptrdiff_t>(size),
                                            [](const Merge& a, const Merge& b) { return a.rank < b.rank; });
        if (best->rank == kNoRank) break;
        const auto place = static_cast<std::size_t>(best - pairs.begin());
        ids[place] = best->id;
        for (std::size_t index = place + 1; index + 1 < size; index++) {
            ids[index] = ids[index + 1];
            pairs[index] = pairs[index + 1];
        }
        size--;
        if (place > 0) look(place - 1);
        look(place);
    }
    ids.resize(size);
}

void Merges::apply(std::vector<std::int32_t>& ids) const {
    if (ids.size() < 2) return;
    if (ids.size() <= kFew) return apply_to_few(ids);
    std::vector<Symbol> symbols;
    symbols.reserve(ids.size());
    for (std::size_t index = 0; index < ids.size(); index++) {
        const std::size_t next = index + 1 < ids.size() ? index + 1 : kNone;
        symbols.push_back({ids[index], index == 0 ? kNone : index - 1, next, false});
    }
    std::vector<Candidate> first;
    const auto candidate = [&](std::size_t place, std::size_t next, auto put) {
        if (place == kNone || next == kNone) return;
        const Merge* found = find(symbols[place].id, symbols[next].id);
        if (found != nullptr) put(Candidate{found->rank, found->id, place});
    };
    for (std::size_t place = 0; place + 1 < symbols.size(); place++) {
        candidate(place, place + 1, [&](const Candidate& found) { first.push_back(found); });
    }
    std::priority_queue<Candidate> queue(std::less<Candidate>(), std::move(first));
    const auto push = [&](const Candidate& found) { queue.push(found); };
    while (!queue.empty()) {
        const Candidate best = queue.top();
        queue.pop();
        Symbol& left = symbols[best.place];
        if (left.is_gone || left.next == kNone) continue;
        Symbol& right = symbols[left.next];
        const Merge* found = find(left.id, right.id);
        if (found == nullptr || found->id != best.id) continue;  // one of the two has become another since
        left.id = best.id;
        right.is_gone = true;
        left.next = right.next;
        if (left.next != kNone) symbols[left.next].previous = best.place;
        candidate(left.previous, best.place, push);
        candidate(best.place, left.next, push);
    }
    ids.clear();
    for (const Symbol& symbol : symbols) {
        if (!symbol.is_gone) ids.push_back(symbol.id);
    }
}

}  // namespace edgelora::tokenizer
