// Which of an operator's implementations over vectors of floats this processor takes.
//
// paths, name -> path.
#pragma once

#include <cstddef>
#include <sstream>
#include <stdexcept>
#include <string>

#include "cpu.hpp"

namespace edgelora::ops {

// The first of `known`, which are there from the fastest on, that this processor has; with a name, the one of that name.
// Throws std::invalid_argument for another name.
template <class Path, size_t count>
const Path& choose_path(const Path* const (&known)[count], const std::string& name) {
  for (const Path* path : known) {
    if (!name.empty() && name != path->name) continue;
    std::istringstream names(path_names());
    for (std::string one; names >> one;) {
      if (one == path->name) return *path;
    }
  }
  throw std::invalid_argument("path is '" + name + "', expected one of: " + path_names());
}

}  // namespace edgelora::ops
