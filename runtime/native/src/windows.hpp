// A text that is longer than a model reads at once, in windows that overlap by a quarter.
#pragma once

#include <cstddef>
#include <vector>

namespace edgelora {

// Tokens `start` to `end` are read together; those from `first` to `last` count here.
struct Window {
    std::size_t start;
    std::size_t end;
    std::size_t first;
    std::size_t last;
};

// Windows of `size` tokens over a text, the last one as long as what is left; one where all fits. A token counts where
// it is farthest from an edge, the first of equal ones; the ends of the text are no edges.
std::vector<Window> plan_windows(std::size_t n_tokens, std::size_t size);

}  // namespace edgelora
