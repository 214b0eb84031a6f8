#include "cache.hpp"

#include <cstring>
#include <utility>

namespace edgelora {

Cache::Cache(std::shared_ptr<const Ort> ort, CacheShape shape) : ort_(std::move(ort)), shape_(shape) {}

void Cache::clear(std::size_t rows) {
    values_ = nullptr;
    parts_.clear();
    capacity_ = 0;
    rows_ = rows;
}

void Cache::grow(std::size_t capacity, std::size_t n_kept) {
    const std::size_t token_bytes = shape_.width * shape_.number_bytes();
    const std::size_t n_heads = rows_ * shape_.n_heads;
    std::vector<Memory> grown;  // all of them or none: memory may be lacking
    for (std::size_t part = 0; part < shape_.n_parts; ++part) {
        grown.emplace_back(checked_product(checked_product(n_heads, capacity), token_bytes));
        for (std::size_t head = 0; n_kept > 0 && head < n_heads; ++head) {
            std::memcpy(grown.back().as<char>() + head * capacity * token_bytes,
                        parts_[part].as<char>() + head * capacity_ * token_bytes, n_kept * token_bytes);
        }
    }
    std::swap(parts_, grown);
    std::swap(capacity_, capacity);
    try {
        values_ = values_of(0, rows_);
    } catch (...) {
        std::swap(parts_, grown);
        std::swap(capacity_, capacity);
        throw;
    }
}

SharedValues Cache::values_of(std::size_t first, std::size_t count) const {
    const std::size_t row_bytes = shape_.n_heads * capacity_ * shape_.width * shape_.number_bytes();
    const std::vector<int64_t> shape = {static_cast<int64_t>(count), static_cast<int64_t>(shape_.n_heads),
                                        static_cast<int64_t>(capacity_), static_cast<int64_t>(shape_.width)};
    const auto type = shape_.is_int8 ? ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8 : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    auto values = std::make_shared<Values>();
    values->reserve(parts_.size());
    for (Memory& part : parts_) {
        values->push_back(ort_->value_over(part.as<char>() + first * row_bytes, count * row_bytes, shape, type));
    }
    return values;
}

Memory Cache::copy_row(std::size_t n_tokens) const {
    const std::size_t token_bytes = shape_.width * shape_.number_bytes();
    Memory copy(checked_product(shape_.bytes_per_token(), n_tokens));
    char* to = copy.as<char>();
    for (const Memory& part : parts_) {
        for (std::size_t head = 0; head < shape_.n_heads; ++head, to += n_tokens * token_bytes) {
            std::memcpy(to, part.as<char>() + head * capacity_ * token_bytes, n_tokens * token_bytes);
        }
    }
    return copy;
}

void Cache::fill_row(const Memory& copy, std::size_t n_copied, std::size_t n_tokens) {
    const std::size_t token_bytes = shape_.width * shape_.number_bytes();
    const char* from = copy.as<char>();
    for (Memory& part : parts_) {
        for (std::size_t head = 0; head < shape_.n_heads; ++head, from += n_copied * token_bytes) {
            std::memcpy(part.as<char>() + head * capacity_ * token_bytes, from, n_tokens * token_bytes);
        }
    }
}

}  // namespace edgelora
