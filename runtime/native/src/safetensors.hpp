// Read `.safetensors` files that are in memory or mapped, without copying what need not be converted.
//
// Knows nothing about adapters: names and numbers, and a header that is checked before anything is trusted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace edgelora {

// One tensor of a file; `bytes` is a view of it.
struct StoredTensor {
    std::string dtype;
    std::vector<std::int64_t> shape;
    std::string_view bytes;

    std::size_t count() const;  // of its numbers
    bool is_float() const;
};

// Every tensor of a file whose content is `bytes`, in the order of the header; the views live as long as `bytes`.
// Throws Error{artifact} when it is truncated or its header disagrees with its data.
std::vector<std::pair<std::string, StoredTensor>> parse_safetensors(std::string_view bytes, const std::string& where);

// The numbers of a tensor of floats where they lie, nullptr where they are no float32 or not aligned.
const float* float32_view(const StoredTensor& tensor);

// The numbers of a tensor of floats as float32; what is beyond it becomes infinite.
std::vector<float> to_float32(const StoredTensor& tensor);

}  // namespace edgelora
