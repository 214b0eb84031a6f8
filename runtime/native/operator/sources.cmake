# The sources of edgelora_ops, and the flags of those that are compiled for one instruction set each.
set(EDGELORA_OPS_SOURCES
  attention.cpp
  attention_operator.cpp
  attention_plain.cpp
  cpu.cpp
  linear_operator.cpp
  linear_path.cpp
  linear_plain.cpp
  low_rank.cpp
  low_rank_block.cpp
  low_rank_operator.cpp
  low_rank_plain.cpp
  low_rank_steps.cpp
  register.cpp
  round_rows_operator.cpp
)
set(EDGELORA_AVX2 "-mavx2;-mfma;-mf16c")
set(EDGELORA_AVX512 "${EDGELORA_AVX2};-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|i.86)$")
  list(APPEND EDGELORA_OPS_SOURCES
    attention_avx2.cpp attention_avx512.cpp linear_avx2.cpp linear_avx512.cpp low_rank_avx2.cpp low_rank_avx512.cpp)
  set_source_files_properties(attention_avx2.cpp low_rank_avx2.cpp PROPERTIES COMPILE_OPTIONS "${EDGELORA_AVX2}")
  set_source_files_properties(attention_avx512.cpp low_rank_avx512.cpp PROPERTIES COMPILE_OPTIONS "${EDGELORA_AVX512}")
  # Activations round alike on every path only if no product is fused with the sum behind it. GCC 12 takes registers that
  # its own header leaves open on purpose for a mistake.
  # Sixteen registers hold a tile's sums only in the order that the source has; GCC would put products first that it then
  # has no register for, a seventh of the time.
  set_source_files_properties(linear_avx2.cpp PROPERTIES COMPILE_OPTIONS
    "${EDGELORA_AVX2};-ffp-contract=off;$<$<CXX_COMPILER_ID:GNU>:-fno-tree-ter>")
  set_source_files_properties(linear_avx512.cpp PROPERTIES COMPILE_OPTIONS
    "${EDGELORA_AVX512};-mavx512vnni;-ffp-contract=off;-Wno-uninitialized;$<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>")
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64|ARM64)$")
  list(APPEND EDGELORA_OPS_SOURCES attention_neon.cpp linear_neon.cpp linear_neon_dot.cpp low_rank_neon.cpp)
  set_source_files_properties(linear_neon.cpp PROPERTIES COMPILE_OPTIONS "-ffp-contract=off")
  set_source_files_properties(linear_neon_dot.cpp PROPERTIES COMPILE_OPTIONS "-march=armv8.2-a+dotprod;-ffp-contract=off")
endif()
set_source_files_properties(linear_plain.cpp PROPERTIES COMPILE_OPTIONS "-ffp-contract=off")
