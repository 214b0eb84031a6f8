// Labels, spans and vectors of texts: what `--classify`, `--tag` and `--embed` print.
//
// Knows nothing about adapters or graphs; it calls the C interface and shows what comes back.
#pragma once

#include "arguments.hpp"

namespace edgelora::program {

// Throws Failure for an artifact of another task.
void encode_all(const Arguments& arguments);

}  // namespace edgelora::program
