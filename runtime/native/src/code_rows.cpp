#include "code_rows.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace edgelora {
namespace {

constexpr std::size_t kScaleBytes = 4;  // a little-endian float32
constexpr char kNoCode = static_cast<char>(-128);

std::size_t rank_of(const StoredTensor& tensor) { return static_cast<std::size_t>(tensor.shape[0]); }

std::size_t codes_of(const StoredTensor& tensor) { return static_cast<std::size_t>(tensor.shape[1]) - kScaleBytes; }

// Codes and scale of one rank.
std::string_view row_of(const StoredTensor& tensor, std::size_t row) {
    const std::size_t n_bytes = codes_of(tensor) + kScaleBytes;
    return tensor.bytes.substr(row * n_bytes, n_bytes);
}

float scale_of(std::string_view row) {
    float scale = 0;
    std::memcpy(&scale, row.data() + row.size() - kScaleBytes, kScaleBytes);
    return scale;
}

}  // namespace

bool are_code_rows(const StoredTensor& tensor) {
    const std::vector<std::int64_t>& shape = tensor.shape;
    if (tensor.dtype != "I8" || shape.size() != 3 || shape[0] < 1 || shape[2] != 1) return false;
    if (shape[1] <= static_cast<std::int64_t>(kScaleBytes)) return false;
    const auto rank = static_cast<std::size_t>(shape[0]), n_bytes = static_cast<std::size_t>(shape[1]);
    return tensor.bytes.size() / n_bytes == rank && tensor.bytes.size() % n_bytes == 0;
}

std::string find_wrong_codes(const StoredTensor& tensor) {
    for (std::size_t row = 0; row < rank_of(tensor); row++) {
        const float scale = scale_of(row_of(tensor, row));
        if (!std::isfinite(scale) || !(scale > 0)) return "has a scale that is no number above 0";
    }
    for (std::size_t row = 0; row < rank_of(tensor); row++) {
        if (row_of(tensor, row).substr(0, codes_of(tensor)).find(kNoCode) == std::string_view::npos) continue;
        return "has the code -128, expected -127 to 127";
    }
    return "";
}

std::vector<float> widen_codes(const StoredTensor& tensor, bool transposed) {
    const std::size_t rank = rank_of(tensor), count = codes_of(tensor);
    const std::size_t step = transposed ? rank : 1;  // from one number of a row to the next
    std::vector<float> values(rank * count);
    for (std::size_t row = 0; row < rank; row++) {
        const std::string_view bytes = row_of(tensor, row);
        const float scale = scale_of(bytes);
        float* const first = values.data() + (transposed ? row : row * count);
        for (std::size_t index = 0; index < count; index++) {
            first[index * step] = static_cast<float>(static_cast<std::int8_t>(bytes[index])) * scale;
        }
    }
    return values;
}

}  // namespace edgelora
