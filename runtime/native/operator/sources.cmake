# The sources of edgelora_ops, and the flags of those that are compiled for one instruction set each.
set(EDGELORA_OPS_SOURCES
  operator/register.cpp
  operator/cpu.cpp
  operator/low_rank.cpp
  operator/low_rank_operator.cpp
  operator/low_rank_block.cpp
  operator/low_rank_plain.cpp
)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|i.86)$")
  list(APPEND EDGELORA_OPS_SOURCES operator/low_rank_avx2.cpp operator/low_rank_avx512.cpp)
  set_source_files_properties(operator/low_rank_avx2.cpp PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-mf16c")
  set_source_files_properties(operator/low_rank_avx512.cpp PROPERTIES COMPILE_OPTIONS
    "-mavx2;-mfma;-mf16c;-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl")
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64|ARM64)$")
  list(APPEND EDGELORA_OPS_SOURCES operator/low_rank_neon.cpp)
endif()
