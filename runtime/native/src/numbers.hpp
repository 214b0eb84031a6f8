// Whether what a graph computed are numbers.
#pragma once

#include <cstddef>
#include <string>

namespace edgelora {

// Throws Error{artifact} where any of `count` values is NaN or infinite upwards; `name` is that of the model.
void check_numbers(const float* values, std::size_t count, const std::string& name);

}  // namespace edgelora
