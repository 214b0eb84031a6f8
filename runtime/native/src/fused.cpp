// The packer for fused graphs; `docs/format.md` ("The fused graph") is the definition.
#include <algorithm>
#include <cstring>
#include <map>

#include "grid_of_factors.hpp"
#include "packers.hpp"

namespace edgelora {

namespace {

constexpr std::size_t kLane = 16;   // input features, or output columns, side by side for one rank
constexpr std::size_t kPanel = 8;   // ranks of A that are read together
enum Place { kFactors = 0, kBlocks = 1, kWeights = 2 };  // of the inputs
enum Kind : std::int32_t { kFloat32 = 0, kFloat16 = 1, kInt8 = 2 };

std::size_t round_up(std::size_t n_bytes) {
    return (n_bytes + kCacheLine - 1) / kCacheLine * kCacheLine;
}

template <typename T>
void append(std::vector<char>& block, const std::vector<T>& numbers) {
    const std::size_t start = block.size();
    block.resize(start + round_up(numbers.size() * sizeof(T)), 0);
    if (!numbers.empty()) {
        std::memcpy(block.data() + start, numbers.data(), numbers.size() * sizeof(T));
    }
}

// (ranks, count) as (lanes, ranks, 16) behind `lanes`, zeros after the last of `count`.
template <typename T>
void append_lanes(std::vector<T>& lanes, const T* rows, std::size_t ranks, std::size_t count) {
    const std::size_t n_lanes = (count + kLane - 1) / kLane;
    std::size_t to = lanes.size();
    lanes.resize(to + n_lanes * ranks * kLane, T());
    for (std::size_t lane = 0; lane < n_lanes; ++lane) {
        const std::size_t width = std::min(kLane, count - lane * kLane);
        for (std::size_t rank = 0; rank < ranks; ++rank, to += kLane) {
            std::copy_n(rows + rank * count + lane * kLane, width, lanes.begin() + static_cast<std::ptrdiff_t>(to));
        }
    }
}

// The numbers of both sides of a slot in one type: A first, then B of each part.
template <typename T>
void append_sides(std::vector<char>& block, const std::vector<RankRows>& sides,
                  const std::vector<std::vector<T>>& numbers) {
    const RankRows& a = sides.front();
    std::vector<T> panels;
    for (std::size_t first = 0; first < a.ranks; first += kPanel) {
        append_lanes(panels, numbers.front().data() + first * a.count, std::min(kPanel, a.ranks - first), a.count);
    }
    append(block, panels);
    for (std::size_t side = 1; side < sides.size(); ++side) {
        std::vector<T> lanes;
        append_lanes(lanes, numbers[side].data(), sides[side].ranks, sides[side].count);
        append(block, lanes);
    }
}

std::optional<std::vector<std::vector<std::uint16_t>>> find_halves(const std::vector<RankRows>& sides) {
    std::vector<std::vector<std::uint16_t>> found;
    for (const RankRows& side : sides) {
        std::vector<std::uint16_t> halves;
        halves.reserve(side.values.size());
        for (const float value : side.values) {
            const auto half = exact_half(value);
            if (!half) {
                return std::nullopt;
            }
            halves.push_back(*half);
        }
        found.push_back(std::move(halves));
    }
    return found;
}

// Where the ranks of a part begin among those of its slot, and how many are its own.
struct PartRanks {
    std::int32_t start = 0;
    std::int32_t count = 0;
    const Factors* factors = nullptr;  // where the adapter touches the part
};

// A of all groups, then B of each part with a row for each rank; `places` are the ranks of the parts.
std::vector<RankRows> slot_sides(const Slot& slot, const std::vector<RankGroup>& groups,
                                 std::vector<PartRanks>& places) {
    RankRows a;
    a.count = static_cast<std::size_t>(slot.in_features);
    std::map<const SlotPart*, PartRanks> found;
    for (const RankGroup& group : groups) {
        const Factors& first = *group.first;
        for (const auto& [part, factors] : group.parts) {
            found[part] = {static_cast<std::int32_t>(a.ranks), static_cast<std::int32_t>(first.rank), factors};
        }
        a.ranks += static_cast<std::size_t>(first.rank);
        a.values.insert(a.values.end(), first.a, first.a + static_cast<std::size_t>(first.rank) * a.count);
    }
    std::vector<RankRows> sides = {std::move(a)};
    for (const SlotPart& part : slot.parts) {
        const PartRanks place = found.count(&part) > 0 ? found[&part] : PartRanks();
        RankRows side{static_cast<std::size_t>(place.count), static_cast<std::size_t>(part.out_features), {}};
        side.values.resize(side.ranks * side.count);
        for (std::size_t column = 0; column < side.count && side.ranks > 0; ++column) {
            for (std::size_t rank = 0; rank < side.ranks; ++rank) {
                side.values[rank * side.count + column] = place.factors->b[column * side.ranks + rank];
            }
        }
        sides.push_back(std::move(side));
        places.push_back(place);
    }
    return sides;
}

// DoRA's gain of every column, zero where a part has none; empty where no part has one.
std::vector<float> slot_gains(const Slot& slot, const std::vector<PartRanks>& places) {
    std::vector<float> gains;
    for (std::size_t part = 0; part < places.size(); ++part) {
        const Factors* factors = places[part].factors;
        if (factors == nullptr || factors->gain == nullptr) continue;
        gains.resize(static_cast<std::size_t>(slot.out_features), 0.0F);
        std::copy_n(factors->gain, factors->out_features,
                    gains.begin() + static_cast<std::ptrdiff_t>(slot.parts[part].offset));
    }
    return gains;
}

// The block of a slot; empty where the adapter does not touch it. Its factors are as narrow as they are without loss.
std::vector<char> make_block(const Slot& slot, const Adapter& adapter) {
    const std::vector<RankGroup> groups = rank_groups(slot, adapter);
    std::vector<char> block;
    if (groups.empty()) {
        return block;
    }
    std::vector<PartRanks> places;
    const std::vector<RankRows> sides = slot_sides(slot, groups, places);
    const auto codes = find_codes(sides);
    const auto halves = codes ? std::nullopt : find_halves(sides);
    const Kind kind = codes ? kInt8 : halves ? kFloat16 : kFloat32;
    const std::vector<float> gains = slot_gains(slot, places);
    std::vector<std::int32_t> head = {kind, static_cast<std::int32_t>(sides.front().ranks),
                                      static_cast<std::int32_t>(places.size()), gains.empty() ? 0 : 1};
    std::vector<float> scales;
    for (std::size_t part = 0; part < places.size(); ++part) {
        head.push_back(places[part].start);
        head.push_back(places[part].count);
        for (std::int32_t rank = 0; rank < places[part].count; ++rank) {
            const auto of_a = static_cast<std::size_t>(places[part].start + rank);
            const float of_both =
                codes ? (*codes)[0].scales[of_a] * (*codes)[1 + part].scales[static_cast<std::size_t>(rank)] : 1.0F;
            scales.push_back(of_both * static_cast<float>(places[part].factors->scaling));
        }
    }
    append(block, head);
    append(block, scales);
    append(block, gains);
    if (codes) {
        std::vector<std::vector<std::int8_t>> numbers;
        for (const RankCodes& side : *codes) {
            numbers.push_back(side.codes);
        }
        append_sides(block, sides, numbers);
    } else if (halves) {
        append_sides(block, sides, *halves);
    } else {
        std::vector<std::vector<float>> numbers;
        for (const RankRows& side : sides) {
            numbers.push_back(side.values);
        }
        append_sides(block, sides, numbers);
    }
    return block;
}

class FusedPacker : public Packer {
  public:
    explicit FusedPacker(std::vector<Slot> slots) : slots_(std::move(slots)) {}

    Names names() const override { return {"adapter.factors", "adapter.blocks", "adapter.weights"}; }

    std::vector<ValueType> types() const override {
        const std::optional<std::int64_t> any;
        return {{ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, {any}},
                {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, {any, any, static_cast<std::int64_t>(slots_.size())}},
                {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, {any, any}}};
    }

    // A single piece for a single row.
    Packed pack(const Adapter& adapter) const override {
        std::vector<std::vector<char>> blocks;
        std::vector<std::int64_t> starts;
        std::size_t total = 0;
        for (const Slot& slot : slots_) {
            blocks.push_back(make_block(slot, adapter));
            starts.push_back(blocks.back().empty() ? -1 : static_cast<std::int64_t>(total));
            total += blocks.back().size();
        }
        auto memory = std::make_shared<Memory>(total);
        for (std::size_t slot = 0; slot < blocks.size(); ++slot) {
            if (!blocks[slot].empty()) {
                std::memcpy(memory->as<char>() + starts[slot], blocks[slot].data(), blocks[slot].size());
            }
        }
        return join(std::move(memory), starts, {1.0F}, 1);
    }

    // Packed adapters as pieces of one row; no parts give no pieces.
    Packed blend(const WeightedParts& parts) const override {
        std::vector<const Packed*> packed;
        for (const auto& part : parts) {
            packed.push_back(part.first);
        }
        const Joined joined = join_factors(packed);
        std::vector<std::int64_t> blocks;
        std::vector<float> weights;
        for (const auto& [part, weight] : parts) {
            move_blocks(*part, joined, blocks);
            for (std::size_t piece = 0; piece < n_pieces(*part); ++piece) {
                weights.push_back(part->inputs[kWeights].as<float>()[piece] * static_cast<float>(weight));
            }
        }
        return join(joined.memory, blocks, weights, 1);
    }

    // Each row at its own rank; rows with fewer pieces have none in their place.
    Packed stack(const std::vector<const Packed*>& rows) const override {
        const Joined joined = join_factors(rows);
        std::size_t pieces = 0;
        for (const Packed* row : rows) {
            pieces = std::max(pieces, n_pieces(*row));
        }
        std::vector<std::int64_t> blocks;
        std::vector<float> weights;
        for (std::size_t row = 0; row < rows.size(); ++row) {
            move_blocks(*rows[row], joined, blocks);
            const float* own = rows[row]->inputs[kWeights].as<float>();
            weights.insert(weights.end(), own, own + n_pieces(*rows[row]));
            blocks.resize((row + 1) * pieces * slots_.size(), -1);
            weights.resize((row + 1) * pieces, 0.0F);
        }
        return join(joined.memory, blocks, weights, rows.size());
    }

  private:
    // The factors of several adapters behind each other, each once, and where those of each memory begin.
    struct Joined {
        std::shared_ptr<const Memory> memory;
        std::map<const Memory*, std::size_t> starts;
    };

    static std::size_t n_pieces(const Packed& packed) {
        return static_cast<std::size_t>(packed.inputs[kWeights].shape[1]);
    }

    static Joined join_factors(const std::vector<const Packed*>& all) {
        Joined joined;
        std::vector<std::shared_ptr<const Memory>> different;
        std::size_t total = 0;
        for (const Packed* packed : all) {
            const auto& memory = packed->inputs[kFactors].memory;
            if (joined.starts.emplace(memory.get(), total).second) {
                different.push_back(memory);
                total += round_up(memory->n_bytes());
            }
        }
        if (different.size() == 1) {
            joined.memory = different.front();
            return joined;
        }
        auto memory = std::make_shared<Memory>(total);
        for (const auto& one : different) {
            if (one->n_bytes() > 0) {
                std::memcpy(memory->as<char>() + joined.starts[one.get()], one->as<char>(), one->n_bytes());
            }
        }
        joined.memory = std::move(memory);
        return joined;
    }

    static void move_blocks(const Packed& packed, const Joined& joined, std::vector<std::int64_t>& blocks) {
        const auto start = static_cast<std::int64_t>(joined.starts.at(packed.inputs[kFactors].memory.get()));
        const std::int64_t* own = packed.inputs[kBlocks].as<std::int64_t>();
        for (std::size_t index = 0; index < packed.inputs[kBlocks].count(); ++index) {
            blocks.push_back(own[index] < 0 ? own[index] : own[index] + start);
        }
    }

    Packed join(std::shared_ptr<const Memory> factors, const std::vector<std::int64_t>& blocks,
                const std::vector<float>& weights, std::size_t rows) const {
        const std::size_t after = round_up(blocks.size() * sizeof(std::int64_t));
        auto rest = std::make_shared<Memory>(after + weights.size() * sizeof(float));
        if (!weights.empty()) {
            std::copy(blocks.begin(), blocks.end(), rest->as<std::int64_t>());
            std::memcpy(rest->as<char>() + after, weights.data(), weights.size() * sizeof(float));
        }
        const auto n_rows = static_cast<std::int64_t>(rows);
        const auto pieces = static_cast<std::int64_t>(weights.size() / rows);
        const auto n_bytes = static_cast<std::int64_t>(factors->n_bytes());
        Packed packed;
        packed.rows = rows;
        packed.inputs = {{std::move(factors), 0, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, {n_bytes}, false},
                         {rest, 0, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
                          {n_rows, pieces, static_cast<std::int64_t>(slots_.size())}, true},
                         {rest, after, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, {n_rows, pieces}, true}};
        return packed;
    }

    std::vector<Slot> slots_;
};

}  // namespace

std::unique_ptr<Packer> make_fused_packer(const std::vector<Slot>& slots) {
    return std::make_unique<FusedPacker>(slots);
}

}  // namespace edgelora
