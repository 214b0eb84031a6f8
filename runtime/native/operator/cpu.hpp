// What this processor can do, asked when the library is loaded.
//
// Nothing -> Cpu.
#pragma once

namespace edgelora::ops {

struct Cpu {
  bool avx2 = false;         // AVX2 with FMA and F16C
  bool avx512 = false;       // AVX-512 F, BW, DQ and VL
  bool avx512_vnni = false;  // dot products of bytes besides
  bool neon = false;
  bool dot_product = false;  // of bytes, in NEON
};

const Cpu& cpu();

// Names of the sets of vectors of floats that it has, a blank between them, the fastest last.
const char* path_names();

}  // namespace edgelora::ops
