// An adapter as inputs of a graph, bound where they lie.
//
// Knows nothing about which graph, or how the adapter was packed.
#pragma once

#include <memory>
#include <utility>

#include "packed.hpp"
#include "values.hpp"

namespace edgelora {

// Inputs of the graph as onnxruntime values over memory that stays where it is; known by identity.
struct BoundAdapter {
    Packed packed;
    SharedValues values;  // over `packed`
};

using SharedAdapter = std::shared_ptr<const BoundAdapter>;

// What a packer made, ready to be bound without a copy.
inline SharedAdapter bind_packed(const Ort& ort, Packed packed) {
    auto adapter = std::make_shared<BoundAdapter>(BoundAdapter{std::move(packed), nullptr});
    adapter->values = packed_values(ort, adapter->packed, 0, adapter->packed.rows);
    return adapter;
}

}  // namespace edgelora
