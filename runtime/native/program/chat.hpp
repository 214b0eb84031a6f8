// A conversation with an artifact, whose adapter may change between two answers.
//
// Knows nothing about sampling, chat templates or how adapters are found; all of it is the library's.
#pragma once

#include "arguments.hpp"

namespace edgelora::program {

// Answer line after line until the input ends; what is wrong with one is told, and the conversation goes on.
void chat(const Arguments& arguments);

}  // namespace edgelora::program
