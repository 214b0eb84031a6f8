// What is left of the steps, the text and the time of one rendering.
//
// Templates come from strangers: a sandbox keeps them from files, this from work without end.
#pragma once

#include <chrono>
#include <cstdint>

namespace edgelora::jinja {

constexpr uint64_t longest_template = 1u << 20;  // characters; released ones have some ten thousand
constexpr uint64_t longest_text = 1u << 22;      // of the result and of any text on the way
constexpr uint32_t deepest_value = 200;          // values in one another
constexpr uint32_t depth_of_loop = 1u << 20;     // so that no value can hold one, and no loop itself
constexpr int64_t largest_argument = 100'000;    // of a filter or method: a width, a count, a number of characters

class Budget {
   public:
    void step();                 // a turn of a loop, or a call
    void spend(uint64_t bytes);  // text that was made
    void check_size(uint64_t size) const;
    void descend();  // into an expression, a statement or a call; its end gives it back
    void ascend() { --depth_; }

   private:
    uint32_t steps_ = 0;
    uint64_t spent_ = 0;
    uint32_t depth_ = 0;
    std::chrono::steady_clock::time_point end_ = std::chrono::steady_clock::now() + std::chrono::seconds(10);
};

// One level of what calls itself.
class Level {
   public:
    explicit Level(Budget& budget) : budget_(budget) { budget_.descend(); }
    ~Level() { budget_.ascend(); }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Budget& budget_;
};

}  // namespace edgelora::jinja
