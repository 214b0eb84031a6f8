// A flag by which one thread ends the call of another, between two tokens or two pieces of a prompt.
//
// Knows nothing about what the call does.
#pragma once

#include <atomic>

#include "errors.hpp"

namespace edgelora {

class Cancel {
  public:
    // End the call that was given this flag, and every later one until `reset`; from any thread, or a signal handler.
    void request() noexcept { is_requested_.store(true, std::memory_order_relaxed); }
    void reset() noexcept { is_requested_.store(false, std::memory_order_relaxed); }
    bool is_requested() const noexcept { return is_requested_.load(std::memory_order_relaxed); }

  private:
    std::atomic<bool> is_requested_{false};
};

// Throw Error{cancelled} where `cancel` was requested; nullptr never is.
inline void check_cancel(const Cancel* cancel) {
    if (cancel != nullptr && cancel->is_requested()) {
        throw Error(Code::cancelled, "the call was cancelled");
    }
}

}  // namespace edgelora
