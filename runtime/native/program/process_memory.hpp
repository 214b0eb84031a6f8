// How much memory this process has, as Linux counts it.
//
// Knows nothing about what lies in it.
#pragma once

#include <string>

#include "parse_json.hpp"

namespace edgelora::program {

// Bytes by name: resident, private and shared parts of it, its proportional share, and what is anonymous: no part of a
// file, so that the system cannot drop it. Null where Linux does not tell.
Json process_memory();

// The same in one line for people.
std::string describe(const Json& memory);

}  // namespace edgelora::program
