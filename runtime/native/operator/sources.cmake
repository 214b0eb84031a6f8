# The sources of edgelora_ops, and the flags of those that are compiled for one instruction set each.
set(EDGELORA_OPS_SOURCES
  cpu.cpp
  low_rank.cpp
  low_rank_block.cpp
  low_rank_operator.cpp
  low_rank_plain.cpp
  register.cpp
)
set(EDGELORA_AVX2 "-mavx2;-mfma;-mf16c")
set(EDGELORA_AVX512 "${EDGELORA_AVX2};-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|i.86)$")
  list(APPEND EDGELORA_OPS_SOURCES low_rank_avx2.cpp low_rank_avx512.cpp)
  set_source_files_properties(low_rank_avx2.cpp PROPERTIES COMPILE_OPTIONS "${EDGELORA_AVX2}")
  set_source_files_properties(low_rank_avx512.cpp PROPERTIES COMPILE_OPTIONS "${EDGELORA_AVX512}")
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64|ARM64)$")
  list(APPEND EDGELORA_OPS_SOURCES low_rank_neon.cpp)
endif()
