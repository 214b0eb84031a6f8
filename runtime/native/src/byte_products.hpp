// Whether products of bytes with signed weights overflow where onnxruntime runs: on x86 without VNNI they do.
#pragma once

#include "ort.hpp"

namespace edgelora {

// Computed anew at each call, in about a millisecond; true where it cannot be computed.
bool products_overflow(const Ort& ort);

}  // namespace edgelora
