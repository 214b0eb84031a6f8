#include "template/budget.hpp"

#include <string>

#include "template/values.hpp"

namespace edgelora::jinja {

namespace {
constexpr uint32_t most_steps = 500'000;
constexpr uint64_t most_text = 1u << 28;
constexpr uint32_t deepest_call = 800;  // a thread of an app may have a stack of half a megabyte
}  // namespace

void Budget::step() {
    if (++steps_ > most_steps || ((steps_ & 63) == 0 && std::chrono::steady_clock::now() > end_)) {
        fail("it takes more steps than any chat needs");
    }
}

void Budget::spend(uint64_t bytes) {
    spent_ += bytes;
    if (spent_ > most_text) fail("it makes more text than any chat needs");
}

void Budget::check_size(uint64_t size) const {
    if (size > longest_text) fail("a text in it grows beyond " + std::to_string(longest_text) + " characters");
}

void Budget::descend() {
    if (++depth_ > deepest_call) {
        --depth_;  // its end is not reached
        fail("it is nested too deep, or calls itself without end");
    }
}

}  // namespace edgelora::jinja
