// Inputs of a graph that adapters were packed into: arrays, ready to be bound where they lie.
//
// Knows nothing about what the numbers mean.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "memory.hpp"
#include "ort.hpp"

namespace edgelora {

// One input; several may lie in the same memory.
struct PackedInput {
    std::shared_ptr<const Memory> memory;
    std::size_t start = 0;  // bytes before it
    ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    std::vector<std::int64_t> shape;
    bool has_rows = true;  // whether the first of `shape` counts rows

    // Numbers in it.
    std::size_t count() const {
        std::size_t product = 1;
        for (const std::int64_t size : shape) {
            product *= static_cast<std::size_t>(size);
        }
        return product;
    }
    std::size_t number_bytes() const {
        return type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT   ? sizeof(float)
               : type == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64 ? sizeof(std::int64_t)
                                                             : 1;
    }
    std::size_t n_bytes() const { return count() * number_bytes(); }
    template <typename T>
    const T* as() const {
        return reinterpret_cast<const T*>(memory->as<char>() + start);
    }
};

struct Packed {
    std::vector<PackedInput> inputs;
    std::size_t rows = 1;  // 1 (shared by every row) or the number of rows

    std::size_t idle_bytes = 0;  // of gains, where all of them are zero

    bool is_none() const { return n_bytes() == idle_bytes; }
    std::size_t n_bytes() const {
        std::size_t total = 0;
        for (const PackedInput& input : inputs) {
            total += input.n_bytes();
        }
        return total;
    }
};

}  // namespace edgelora
