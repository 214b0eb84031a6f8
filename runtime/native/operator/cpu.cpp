#include "cpu.hpp"

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace edgelora::ops {

static Cpu look() {
  Cpu found;
#if (defined(__x86_64__) || defined(__i386__)) && defined(__GNUC__)
  __builtin_cpu_init();
  found.avx2 =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  found.avx512 = found.avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                 __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  found.avx512_vnni = found.avx512 && __builtin_cpu_supports("avx512vnni");
#elif defined(__aarch64__)
  found.neon = true;  // part of the architecture
#if defined(__linux__)
  found.dot_product = (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#elif defined(__APPLE__)
  int there = 0;
  size_t size = sizeof there;
  found.dot_product = sysctlbyname("hw.optional.arm.FEAT_DotProd", &there, &size, nullptr, 0) == 0 && there != 0;
#endif
#endif
  return found;
}

const Cpu& cpu() {
  static const Cpu found = look();
  return found;
}

const char* path_names() {
#if defined(__x86_64__) || defined(__i386__)
  return cpu().avx512 ? "plain avx2 avx512" : cpu().avx2 ? "plain avx2" : "plain";
#elif defined(__aarch64__)
  return "plain neon";
#else
  return "plain";
#endif
}

}  // namespace edgelora::ops
