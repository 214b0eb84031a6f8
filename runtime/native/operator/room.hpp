// Memory that a thread keeps from call to call: what another part of the work has used is in its cache already.
//
// bytes or floats -> memory that starts on a line of the cache; whatever the thread asked for before is gone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>

namespace edgelora::ops {

class Room {
 public:
  Room() = default;
  explicit Room(size_t bytes) : bytes_(bytes), own_(std::malloc(bytes + 64)) {
    if (own_ == nullptr) throw std::runtime_error("found no memory for " + std::to_string(bytes) + " bytes");
    const auto at = reinterpret_cast<uintptr_t>(own_.get());
    start_ = reinterpret_cast<uint8_t*>((at + 63) / 64 * 64);
  }
  uint8_t* get() const { return start_; }
  size_t bytes() const { return bytes_; }

 private:
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  size_t bytes_ = 0;
  std::unique_ptr<void, Free> own_;
  uint8_t* start_ = nullptr;
};

inline uint8_t* room(size_t bytes) {
  static thread_local Room kept;
  if (kept.bytes() < bytes) kept = Room(bytes);
  return kept.get();
}

inline float* float_room(size_t count) { return reinterpret_cast<float*>(room(count * sizeof(float))); }

}  // namespace edgelora::ops
