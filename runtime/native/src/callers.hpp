// Let the callers of a model in one at a time and in their order, whichever threads they come from.
//
// Knows nothing about models.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "cancel.hpp"

namespace edgelora {

class Callers {
  public:
    // The right to use the model, given back where it ends: in the thread that took it.
    class Turn {
      public:
        explicit Turn(Callers& callers) : callers_(&callers) {}
        Turn(Turn&& other) noexcept : callers_(other.callers_) { other.callers_ = nullptr; }
        Turn(const Turn&) = delete;
        Turn& operator=(const Turn&) = delete;
        Turn& operator=(Turn&&) = delete;
        ~Turn() {
            if (callers_ != nullptr) {
                callers_->leave();
            }
        }

      private:
        Callers* callers_;
    };

    // Waits for the callers before and keeps all others out; a call within a call of its thread is part of it.
    // Throws Error{invalid_input} once it was closed, Error{cancelled} where `cancel` is requested meanwhile.
    Turn enter(const Cancel* cancel = nullptr);
    // Refuse every later call, those that wait already too, with `reason`.
    void close(std::string reason);
    bool is_closed() const;

  private:
    void leave();
    void give_way();

    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::uint64_t next_ = 0;           // place in the queue of whoever comes next
    std::uint64_t served_ = 0;         // place of the one whose turn it is
    std::set<std::uint64_t> left_;     // places of those who went away while they waited
    std::thread::id owner_;            // of the turn
    std::uint64_t depth_ = 0;          // calls within one another
    bool is_closed_ = false;
    std::string reason_;
};

}  // namespace edgelora
