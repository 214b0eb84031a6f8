// Labels, spans and vectors of texts: what `--classify`, `--tag` and `--embed` print.
//
// Knows nothing about adapters or graphs; it calls the C interface and shows what comes back.
#pragma once

#include "arguments.hpp"
#include "handles.hpp"
#include "prompts.hpp"

namespace edgelora::program {

// Answer as the task of the artifact does; throws Failure where another one is asked for.
void encode_all(const Arguments& arguments, const Model& model, const std::vector<Job>& jobs);

}  // namespace edgelora::program
