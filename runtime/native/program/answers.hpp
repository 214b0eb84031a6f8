// Answer prompts one after the other, as a stream of text, as labels, spans or vectors, or as one JSON object; list and
// verify.
//
// Knows nothing about how a prompt was given.
#pragma once

#include "arguments.hpp"
#include "handles.hpp"

namespace edgelora::program {

void answer_all(const Arguments& arguments);
void list_adapters(const Arguments& arguments);
// Every byte of every file, and every adapter's probe; returns the exit code.
int verify(const Arguments& arguments);

}  // namespace edgelora::program
