// Which of the linear's paths this processor takes.
#include "linear_path.hpp"

#include <cstring>

#include "cpu.hpp"

namespace edgelora::ops::in_place {

static const Path* const known[] = {
// the best comes first
#if defined(__x86_64__) || defined(__i386__)
    &linear_avx512,
    &linear_avx2,
#elif defined(__aarch64__)
    &linear_neon_dot,
    &linear_neon,
#endif
    &linear_plain,
};

static bool has(const Path& path) {
#if defined(__x86_64__) || defined(__i386__)
  if (&path == &linear_avx512) return cpu().avx512_vnni;
  if (&path == &linear_avx2) return cpu().avx2;
#elif defined(__aarch64__)
  if (&path == &linear_neon_dot) return cpu().dot_product;
  if (&path == &linear_neon) return cpu().neon;
#endif
  return &path == &linear_plain;
}

const Path& linear_path() {
  for (const Path* path : known) {
    if (has(*path)) return *path;
  }
  return linear_plain;
}

const Path* linear_path_named(const char* name) {
  for (const Path* path : known) {
    if (std::strcmp(path->name, name) == 0 && has(*path)) return path;
  }
  return nullptr;
}

}  // namespace edgelora::ops::in_place
