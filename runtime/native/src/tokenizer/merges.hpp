// The merges of a BPE model, by the pair of ids that each joins.
//
// Knows nothing about text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace edgelora::tokenizer {

struct Merge {
    std::uint32_t rank;  // the lower goes first
    std::int32_t id;     // of the token that the pair becomes
};

class Merges {
  public:
    // Puts a merge in; one of the same pair is replaced. Throws Error(artifact) for pairs that collide on purpose.
    void add(std::int32_t left, std::int32_t right, Merge merge);

    // Joins neighbours, those of the lowest rank before all others and the leftmost of the same rank, as long as any
    // can be joined. Takes n log n steps.
    void apply(std::vector<std::int32_t>& ids) const;

    const Merge* find(std::int32_t left, std::int32_t right) const {
        if (slots_.empty()) return nullptr;
        const std::uint64_t key = key_of(left, right);
        const std::size_t mask = slots_.size() - 1;
        for (std::size_t place = hash_of(key) & mask;; place = (place + 1) & mask) {
            const Slot& slot = slots_[place];
            if (slot.key == key) return &slot.merge;
            if (slot.key == kFree) return nullptr;
        }
    }

  private:
    static constexpr std::uint64_t kFree = ~std::uint64_t{0};  // ids are not negative

    struct Slot {
        std::uint64_t key = kFree;
        Merge merge{};
    };

    static std::uint64_t key_of(std::int32_t left, std::int32_t right) {
        return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
    }
    static std::size_t hash_of(std::uint64_t key) {
        key *= 0x9e3779b97f4a7c15U;
        key ^= key >> 32;
        key *= 0xd6e8feb86659fd93U;
        return static_cast<std::size_t>(key ^ key >> 32);
    }
    void grow();
    void apply_to_few(std::vector<std::int32_t>& ids) const;

    std::vector<Slot> slots_;
    std::size_t count_ = 0;
};

}  // namespace edgelora::tokenizer
