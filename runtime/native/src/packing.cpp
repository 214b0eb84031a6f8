#include "packing.hpp"

#include <algorithm>
#include <cstring>

namespace edgelora {

namespace {

constexpr size_t kLineFloats = kCacheLine / sizeof(float);
constexpr size_t kTile = 32;  // rows and columns of a block that is transposed within the first cache

// The adapted parts of a slot that share A, and with it their ranks.
struct RankGroup {
    const Factors* first;
    std::vector<std::pair<const SlotPart*, const Factors*>> parts;
};

bool have_equal_a(const Factors& one, const Factors& other) {
    return one.rank == other.rank && one.in_features == other.in_features &&
           (one.a == other.a || std::equal(one.a, one.a + one.rank * one.in_features, other.a));
}

std::vector<RankGroup> rank_groups(const Slot& slot, const Adapter& adapter) {
    std::vector<RankGroup> groups;
    for (const SlotPart& part : slot.parts) {
        const auto found = adapter.factors.find(part.module);
        if (found == adapter.factors.end()) {
            continue;
        }
        const Factors& item = found->second;
        const auto same = std::find_if(groups.begin(), groups.end(), [&item](const RankGroup& group) {
            return have_equal_a(*group.first, item);
        });
        if (same == groups.end()) {
            groups.push_back({&item, {{&part, &item}}});
        } else {
            same->parts.emplace_back(&part, &item);
        }
    }
    return groups;
}

size_t in_features(const Slot& slot) {
    return static_cast<size_t>(slot.in_features);
}

size_t out_features(const Slot& slot) {
    return static_cast<size_t>(slot.out_features);
}

size_t rank_of(const Factors& factors) {
    return static_cast<size_t>(factors.rank);
}

// to[column * to_stride + row] = from[row * columns + column] * scale
void transpose(const float* from, size_t rows, size_t columns, float scale, float* to, size_t to_stride) {
    for (size_t first_row = 0; first_row < rows; first_row += kTile) {
        const size_t last_row = std::min(rows, first_row + kTile);
        for (size_t first = 0; first < columns; first += kTile) {
            const size_t last = std::min(columns, first + kTile);
            for (size_t column = first; column < last; ++column) {
                for (size_t row = first_row; row < last_row; ++row) {
                    to[column * to_stride + row] = from[row * columns + column] * scale;
                }
            }
        }
    }
}

}  // namespace

Packed::Packed(const std::vector<Slot>& slots, std::vector<size_t> ranks, size_t rows)
    : rows_(rows), ranks_(std::move(ranks)) {
    size_t total = 0;
    starts_.reserve(2 * slots.size());
    for (size_t index = 0; index < slots.size(); ++index) {
        for (const auto width : {in_features(slots[index]), out_features(slots[index])}) {
            starts_.push_back(total);
            const size_t count = checked_product(checked_product(rows, width), ranks_[index]);
            total += (count + kLineFloats - 1) / kLineFloats * kLineFloats;
        }
    }
    memory_ = Memory(checked_product(total, sizeof(float)));
}

Packed pack_adapter(const Adapter& adapter, const std::vector<Slot>& slots) {
    std::vector<std::vector<RankGroup>> groups;
    std::vector<size_t> ranks;
    for (const Slot& slot : slots) {
        groups.push_back(rank_groups(slot, adapter));
        size_t rank = 0;
        for (const RankGroup& group : groups.back()) {
            rank += rank_of(*group.first);
        }
        ranks.push_back(rank);
    }
    Packed packed(slots, ranks);
    for (size_t index = 0; index < slots.size(); ++index) {
        const size_t in = in_features(slots[index]);
        const size_t out = out_features(slots[index]);
        size_t start = 0;
        for (const RankGroup& group : groups[index]) {
            const Factors& first = *group.first;
            transpose(first.a, rank_of(first), in, 1.0F, packed.a(index) + start, ranks[index]);
            for (const auto& [part, item] : group.parts) {
                transpose(item->b, static_cast<size_t>(part->out_features), rank_of(*item),
                          static_cast<float>(item->scaling), packed.b(index) + start * out + part->offset, out);
            }
            start += rank_of(first);
        }
    }
    return packed;
}

Packed blend_packed(const std::vector<std::pair<const Packed*, double>>& parts, const std::vector<Slot>& slots) {
    std::vector<size_t> ranks(slots.size(), 0);
    for (size_t index = 0; index < slots.size(); ++index) {
        for (const auto& part : parts) {
            ranks[index] += part.first->rank(index);
        }
    }
    Packed blended(slots, ranks);
    for (size_t index = 0; index < slots.size(); ++index) {
        const size_t in = in_features(slots[index]);
        const size_t out = out_features(slots[index]);
        size_t start = 0;
        for (const auto& [packed, weight] : parts) {
            const size_t rank = packed->rank(index);
            for (size_t row = 0; rank > 0 && row < in; ++row) {
                std::memcpy(blended.a(index) + row * ranks[index] + start, packed->a(index) + row * rank,
                            rank * sizeof(float));
            }
            const float* from = packed->b(index);
            const auto factor = static_cast<float>(weight);
            std::transform(from, from + rank * out, blended.b(index) + start * out,
                           [factor](float value) { return value * factor; });
            start += rank;
        }
    }
    return blended;
}

Packed stack_packed(const std::vector<const Packed*>& rows, const std::vector<Slot>& slots) {
    std::vector<size_t> ranks(slots.size(), 0);
    for (const Packed* packed : rows) {
        for (size_t index = 0; index < slots.size(); ++index) {
            ranks[index] = std::max(ranks[index], packed->rank(index));
        }
    }
    Packed stacked(slots, ranks, rows.size());
    for (size_t index = 0; index < slots.size(); ++index) {
        const size_t in = in_features(slots[index]);
        const size_t out = out_features(slots[index]);
        for (size_t row = 0; row < rows.size(); ++row) {
            const size_t rank = rows[row]->rank(index);
            float* a = stacked.a(index) + row * in * ranks[index];
            for (size_t feature = 0; rank > 0 && feature < in; ++feature) {
                std::memcpy(a + feature * ranks[index], rows[row]->a(index) + feature * rank, rank * sizeof(float));
            }
            if (rank > 0) {
                std::memcpy(stacked.b(index) + row * ranks[index] * out, rows[row]->b(index),
                            rank * out * sizeof(float));
            }
        }
    }
    return stacked;
}

}  // namespace edgelora
