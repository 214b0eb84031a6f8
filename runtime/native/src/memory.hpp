// Memory that starts at a cache line and holds zeros; what is never written is never taken from the system.
//
// Knows nothing about what lies in it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>

#include "errors.hpp"

namespace edgelora {

constexpr size_t kCacheLine = 64;  // bytes

// Owns `n_bytes` of zeros. Throws Error{memory} when the system has no more.
class Memory {
  public:
    Memory() = default;
    explicit Memory(size_t n_bytes) : n_bytes_(n_bytes) {
        if (n_bytes == 0) {
            return;
        }
        if (n_bytes <= SIZE_MAX - kCacheLine) {
            block_.reset(std::calloc(n_bytes + kCacheLine, 1));
        }
        if (block_ == nullptr) {
            throw Error(Code::memory, "no memory for " + std::to_string(n_bytes) +
                                          " bytes; close other programs, or use shorter texts and fewer adapters");
        }
        const auto address = reinterpret_cast<uintptr_t>(block_.get());
        data_ = static_cast<char*>(block_.get()) + (kCacheLine - address % kCacheLine) % kCacheLine;
    }

    size_t n_bytes() const { return n_bytes_; }

    // The beginning; nullptr where there are no bytes.
    template <typename T>
    T* as() {
        return reinterpret_cast<T*>(data_);
    }
    template <typename T>
    const T* as() const {
        return reinterpret_cast<const T*>(data_);
    }

  private:
    struct Free {
        void operator()(void* block) const { std::free(block); }
    };
    std::unique_ptr<void, Free> block_;
    char* data_ = nullptr;
    size_t n_bytes_ = 0;
};

// The product of counts that fit into memory; throws Error{memory} where it is beyond size_t.
inline size_t checked_product(size_t one, size_t other) {
    if (other != 0 && one > SIZE_MAX / other) {
        throw Error(Code::memory, "more memory is needed than this machine can address; use shorter texts");
    }
    return one * other;
}

}  // namespace edgelora
