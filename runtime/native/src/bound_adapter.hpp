// An adapter as inputs of a graph, bound where they lie.
//
// Knows nothing about which graph, or how the adapter was packed.
#pragma once

#include <cstddef>
#include <limits>
#include <memory>
#include <utility>

#include "packed.hpp"
#include "values.hpp"

namespace edgelora {

// Inputs of the graph as onnxruntime values over memory that stays where it is; known by identity.
struct BoundAdapter;
using SharedAdapter = std::shared_ptr<const BoundAdapter>;

struct BoundAdapter {
    Packed packed;
    SharedValues values;   // over `packed`
    SharedAdapter before;  // of an activated adapter: what the tokens before its invocation go through

    // How many first tokens of a row went through the base, where the adapter acts from index `start` on.
    std::size_t n_through_base(std::size_t start) const {
        return packed.is_none() ? std::numeric_limits<std::size_t>::max() : start;
    }
};

// What a packer made, ready to be bound without a copy.
inline SharedAdapter bind_packed(const Ort& ort, Packed packed, SharedAdapter before = nullptr) {
    auto adapter = std::make_shared<BoundAdapter>(BoundAdapter{std::move(packed), nullptr, std::move(before)});
    adapter->values = packed_values(ort, adapter->packed, 0, adapter->packed.rows);
    return adapter;
}

}  // namespace edgelora
