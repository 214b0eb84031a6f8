// Packs adapters for one of the two graphs that take them: with slots, or fused.
//
// Knows nothing about files or sessions; both graphs answer the same, and a session says which one it runs.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "adapter.hpp"
#include "graph.hpp"
#include "head.hpp"
#include "manifest.hpp"
#include "packed.hpp"

namespace edgelora {

using WeightedParts = std::vector<std::pair<const Packed*, double>>;

// One form of graph inputs.
class Packer {
  public:
    virtual ~Packer() = default;
    // The inputs, in the order of what is packed.
    virtual Names names() const = 0;
    // What each of them has to be in the graph, in the same order.
    virtual std::vector<ValueType> types() const = 0;
    virtual Packed pack(const Adapter& adapter) const = 0;
    // Packed adapters added up, each times its weight; no parts are no adapter.
    virtual Packed blend(const WeightedParts& parts) const = 0;
    // One adapter or blend for each row of a batch.
    virtual Packed stack(const std::vector<const Packed*>& rows) const = 0;
};

// For the graph with slots: two inputs for each slot, and behind them one for each that has a place for gains.
std::unique_ptr<Packer> make_slot_packer(const std::vector<Slot>& slots);
// For the fused graph: three inputs for all slots.
std::unique_ptr<Packer> make_fused_packer(const std::vector<Slot>& slots);
// For a graph whose head is fed as well: `slots` packs the rest. What an adapter lacks of the head is that of the base.
std::unique_ptr<Packer> make_head_packer(std::unique_ptr<Packer> slots, const std::vector<HeadTensor>& head,
                                         const BaseHead& base, bool has_base_head);

// The adapted parts of a slot that share A, and with it their ranks.
struct RankGroup {
    const Factors* first;
    std::vector<std::pair<const SlotPart*, const Factors*>> parts;
};

std::vector<RankGroup> rank_groups(const Slot& slot, const Adapter& adapter);

}  // namespace edgelora
