#include "windows.hpp"

#include <algorithm>

namespace edgelora {

std::vector<Window> plan_windows(std::size_t n_tokens, std::size_t size) {
    const std::size_t step = std::max<std::size_t>(1, size - size / 4);
    std::vector<Window> windows = {{0, std::min(size, n_tokens), 0, n_tokens}};
    while (windows.back().start + size < n_tokens) {
        Window& last = windows.back();
        const std::size_t start = last.start + step;
        // The earlier one is as far from its end at (end - 1 + start) / 2 as the later one from its start.
        last.last = (last.end - 1 + start) / 2 + 1;
        windows.push_back({start, std::min(start + size, n_tokens), last.last, n_tokens});
    }
    return windows;
}

}  // namespace edgelora
