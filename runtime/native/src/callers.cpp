#include "callers.hpp"

#include <chrono>
#include <utility>

#include "errors.hpp"

namespace edgelora {

namespace {

constexpr std::chrono::milliseconds kPause{10};  // between two looks at a flag that nobody announces

}  // namespace

Callers::Turn Callers::enter(const Cancel* cancel) {
    std::unique_lock<std::mutex> lock(mutex_);
    const bool is_within = depth_ > 0 && owner_ == std::this_thread::get_id();
    if (!is_within) {
        const std::uint64_t place = next_++;
        while (served_ != place) {
            if (cancel == nullptr) {
                changed_.wait(lock);
            } else if (cancel->is_requested()) {
                left_.insert(place);
                check_cancel(cancel);
            } else {
                changed_.wait_for(lock, kPause);
            }
        }
        owner_ = std::this_thread::get_id();
    }
    if (is_closed_) {
        if (!is_within) {
            give_way();
        }
        throw Error(Code::invalid_input, reason_);
    }
    ++depth_;
    return Turn(*this);
}

void Callers::close(std::string reason) {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_closed_ = true;
    reason_ = std::move(reason);
}

bool Callers::is_closed() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return is_closed_;
}

void Callers::leave() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (--depth_ == 0) {
        give_way();
    }
}

// Let the next in the queue have the turn; the lock is held.
void Callers::give_way() {
    owner_ = std::thread::id();
    ++served_;
    while (left_.erase(served_) > 0) {
        ++served_;
    }
    changed_.notify_all();
}

}  // namespace edgelora
