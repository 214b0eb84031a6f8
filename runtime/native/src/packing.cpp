// The packer for graphs with slots; `docs/format.md` ("Slots") is the definition.
#include <algorithm>
#include <cstring>

#include "packers.hpp"

namespace edgelora {

namespace {

constexpr size_t kTile = 32;  // rows and columns of a block that is transposed within the first cache

class SlotPacker : public Packer {
  public:
    explicit SlotPacker(std::vector<Slot> slots) : slots_(std::move(slots)) {}

    Names names() const override {
        Names names;
        for (const Slot& slot : slots_) {
            names.push_back(slot.a);
            names.push_back(slot.b);
        }
        for (const Slot& slot : slots_) {
            if (slot.gain) names.push_back(*slot.gain);
        }
        return names;
    }

    std::vector<ValueType> types() const override {
        const std::optional<std::int64_t> any;
        std::vector<ValueType> types;
        for (const Slot& slot : slots_) {
            types.push_back({ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, {any, slot.in_features, any}});
            types.push_back({ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, {any, any, slot.out_features}});
        }
        for (const Slot& slot : slots_) {
            if (slot.gain) types.push_back({ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, {any, 1, slot.out_features}});
        }
        return types;
    }

    Packed pack(const Adapter& adapter) const override;
    Packed blend(const WeightedParts& parts) const override;
    Packed stack(const std::vector<const Packed*>& rows) const override;

  private:
    std::vector<Slot> slots_;
};

// Zeros to be written to, a (rows, in_features, rank) and b (rows, rank, out_features) of each slot in turn, then gains
// (rows, 1, out_features) where there is a place for them, each from a cache line on, in one block of memory.
class Slots {
  public:
    Slots(const std::vector<Slot>& slots, std::vector<size_t> ranks, size_t rows) : ranks_(std::move(ranks)) {
        for (size_t index = 0; index < slots.size(); ++index) {
            const auto rank = static_cast<std::int64_t>(ranks_[index]);
            add_input(rows, slots[index].in_features, rank);
            add_input(rows, rank, slots[index].out_features);
        }
        for (const Slot& slot : slots) {
            if (slot.gain) add_input(rows, 1, slot.out_features);
        }
        memory_ = std::make_shared<Memory>(total_);
        packed_.rows = rows;
        for (PackedInput& input : packed_.inputs) {
            input.memory = memory_;
        }
    }

    float* a(size_t slot) { return at(2 * slot); }
    float* b(size_t slot) { return at(2 * slot + 1); }
    // `input` is what `gain_input` says.
    float* gain(size_t input) { return at(input); }

    Packed take() {
        packed_.idle_bytes = idle_bytes();
        return std::move(packed_);
    }

  private:
    void add_input(size_t rows, std::int64_t height, std::int64_t width) {
        const size_t count = checked_product(static_cast<size_t>(height), static_cast<size_t>(width));
        const size_t n_bytes = checked_product(checked_product(rows, count), sizeof(float));
        packed_.inputs.push_back({nullptr, total_, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
                                  {static_cast<std::int64_t>(rows), height, width}, true});
        total_ += (n_bytes + kCacheLine - 1) / kCacheLine * kCacheLine;
    }

    size_t idle_bytes() const {
        size_t found = 0;
        for (size_t input = 2 * ranks_.size(); input < packed_.inputs.size(); ++input) {
            const PackedInput& gain = packed_.inputs[input];
            const float* values = gain.as<float>();
            if (std::any_of(values, values + gain.count(), [](float value) { return value != 0; })) return 0;
            found += gain.n_bytes();
        }
        return found;
    }

    float* at(size_t input) {
        return reinterpret_cast<float*>(memory_->as<char>() + packed_.inputs[input].start);
    }

    std::vector<size_t> ranks_;
    size_t total_ = 0;
    std::shared_ptr<Memory> memory_;
    Packed packed_;
};

// The place of a slot's gain among the inputs.
size_t gain_input(const std::vector<Slot>& slots, size_t slot) {
    const auto begin = slots.begin();
    const auto before = std::count_if(begin, begin + static_cast<std::ptrdiff_t>(slot),
                                      [](const Slot& one) { return one.gain.has_value(); });
    return 2 * slots.size() + static_cast<size_t>(before);
}

size_t rank_of(const Packed& packed, size_t slot) {
    return static_cast<size_t>(packed.inputs[2 * slot].shape[2]);
}

const float* a_of(const Packed& packed, size_t slot) {
    return packed.inputs[2 * slot].as<float>();
}

const float* b_of(const Packed& packed, size_t slot) {
    return packed.inputs[2 * slot + 1].as<float>();
}

bool have_equal_a(const Factors& one, const Factors& other) {
    return one.rank == other.rank && one.in_features == other.in_features &&
           (one.a == other.a || std::equal(one.a, one.a + one.rank * one.in_features, other.a));
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

namespace {

Packed SlotPacker::pack(const Adapter& adapter) const {
    std::vector<std::vector<RankGroup>> groups;
    std::vector<size_t> ranks;
    for (const Slot& slot : slots_) {
        groups.push_back(rank_groups(slot, adapter));
        size_t rank = 0;
        for (const RankGroup& group : groups.back()) {
            rank += rank_of(*group.first);
        }
        ranks.push_back(rank);
    }
    Slots packed(slots_, ranks, 1);
    for (size_t index = 0; index < slots_.size(); ++index) {
        const size_t in = in_features(slots_[index]);
        const size_t out = out_features(slots_[index]);
        size_t start = 0;
        for (const RankGroup& group : groups[index]) {
            const Factors& first = *group.first;
            transpose(first.a, rank_of(first), in, 1.0F, packed.a(index) + start, ranks[index]);
            for (const auto& [part, item] : group.parts) {
                transpose(item->b, static_cast<size_t>(part->out_features), rank_of(*item),
                          static_cast<float>(item->scaling), packed.b(index) + start * out + part->offset, out);
                if (slots_[index].gain && item->gain != nullptr) {
                    std::copy_n(item->gain, part->out_features,
                                packed.gain(gain_input(slots_, index)) + part->offset);
                }
            }
            start += rank_of(first);
        }
    }
    return packed.take();
}

Packed SlotPacker::blend(const WeightedParts& parts) const {
    std::vector<size_t> ranks(slots_.size(), 0);
    for (size_t index = 0; index < slots_.size(); ++index) {
        for (const auto& part : parts) {
            ranks[index] += rank_of(*part.first, index);
        }
    }
    Slots blended(slots_, ranks, 1);
    for (size_t index = 0; index < slots_.size(); ++index) {
        const size_t in = in_features(slots_[index]);
        const size_t out = out_features(slots_[index]);
        size_t start = 0;
        for (const auto& [packed, weight] : parts) {
            const size_t rank = rank_of(*packed, index);
            for (size_t row = 0; rank > 0 && row < in; ++row) {
                std::memcpy(blended.a(index) + row * ranks[index] + start, a_of(*packed, index) + row * rank,
                            rank * sizeof(float));
            }
            const float* from = b_of(*packed, index);
            const auto factor = static_cast<float>(weight);
            std::transform(from, from + rank * out, blended.b(index) + start * out,
                           [factor](float value) { return value * factor; });
            if (slots_[index].gain) {
                const size_t input = gain_input(slots_, index);
                const float* own = packed->inputs[input].as<float>();
                float* sum = blended.gain(input);
                std::transform(own, own + out, sum, sum,
                               [factor](float value, float before) { return before + value * factor; });
            }
            start += rank;
        }
    }
    return blended.take();
}

Packed SlotPacker::stack(const std::vector<const Packed*>& rows) const {
    std::vector<size_t> ranks(slots_.size(), 0);
    for (const Packed* packed : rows) {
        for (size_t index = 0; index < slots_.size(); ++index) {
            ranks[index] = std::max(ranks[index], rank_of(*packed, index));
        }
    }
    Slots stacked(slots_, ranks, rows.size());
    for (size_t index = 0; index < slots_.size(); ++index) {
        const size_t in = in_features(slots_[index]);
        const size_t out = out_features(slots_[index]);
        for (size_t row = 0; row < rows.size(); ++row) {
            const size_t rank = rank_of(*rows[row], index);
            float* a = stacked.a(index) + row * in * ranks[index];
            for (size_t feature = 0; rank > 0 && feature < in; ++feature) {
                std::memcpy(a + feature * ranks[index], a_of(*rows[row], index) + feature * rank, rank * sizeof(float));
            }
            if (rank > 0) {
                std::memcpy(stacked.b(index) + row * ranks[index] * out, b_of(*rows[row], index),
                            rank * out * sizeof(float));
            }
            if (slots_[index].gain) {
                const size_t input = gain_input(slots_, index);
                std::copy_n(rows[row]->inputs[input].as<float>(), out, stacked.gain(input) + row * out);
            }
        }
    }
    return stacked.take();
}

}  // namespace

std::unique_ptr<Packer> make_slot_packer(const std::vector<Slot>& slots) {
    return std::make_unique<SlotPacker>(slots);
}

}  // namespace edgelora
