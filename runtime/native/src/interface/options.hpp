// The option structures of the C interface as the runtime's own.
//
// Knows nothing about models.
#pragma once

#include "interface/guard.hpp"
#include "sampling.hpp"

namespace edgelora::interface {

edgelora_load_options read_load_options(const edgelora_load_options* given);
edgelora_generate_options read_generate_options(const edgelora_generate_options* given);
edgelora_encoder_options read_encoder_options(const edgelora_encoder_options* given);
edgelora_conversation read_conversation(const edgelora_conversation* given);

// How tokens are chosen, not checked yet.
SamplingOptions sampling_of(const edgelora_generate_options& options);

}  // namespace edgelora::interface
