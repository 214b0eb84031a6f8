# What the runtime is built from beside the standard library. A project that brings its own (Android, Apple) defines the
# targets edgelora_json, edgelora_pcre2 or edgelora_utf8proc before it adds this folder.

set(APT "on Debian and Ubuntu: sudo apt-get install --no-install-recommends $(cat runtime/native/apt-packages.txt)")
find_package(Threads REQUIRED)

# A header, and a static library where there is one, as the target `name`.
function(edgelora_package name header library package)
  if(TARGET ${name})
    return()
  endif()
  find_path(${name}_INCLUDE ${header})
  set(found "${${name}_INCLUDE}")
  if(library)
    find_library(${name}_LIBRARY NAMES lib${library}.a ${library})
    if(NOT ${name}_LIBRARY)
      set(found "")
    endif()
  endif()
  if(NOT found)
    message(FATAL_ERROR "${package} was not found (${header}); ${APT}")
  endif()
  add_library(${name} INTERFACE)
  target_include_directories(${name} SYSTEM INTERFACE ${${name}_INCLUDE})
  if(library)
    target_link_libraries(${name} INTERFACE ${${name}_LIBRARY})
  endif()
endfunction()

edgelora_package(edgelora_json nlohmann/json.hpp "" nlohmann-json3-dev)
edgelora_package(edgelora_pcre2 pcre2.h pcre2-8 libpcre2-dev)
edgelora_package(edgelora_utf8proc utf8proc.h utf8proc libutf8proc-dev)
target_compile_definitions(edgelora_pcre2 INTERFACE PCRE2_CODE_UNIT_WIDTH=8 PCRE2_STATIC)
target_compile_definitions(edgelora_utf8proc INTERFACE UTF8PROC_STATIC)

find_path(EDGELORA_ORT_FOUND onnxruntime_c_api.h HINTS ${EDGELORA_ORT_INCLUDE} PATH_SUFFIXES onnxruntime NO_CACHE)
if(NOT EDGELORA_ORT_FOUND)
  message(FATAL_ERROR "the headers of onnxruntime were not found (onnxruntime_c_api.h); `make native` fetches them, or "
    "give -DEDGELORA_ORT_INCLUDE=FOLDER, as `node runtime/native/tools/fetch_headers.mjs` prints it")
endif()
add_library(edgelora_onnxruntime INTERFACE)
target_include_directories(edgelora_onnxruntime SYSTEM INTERFACE ${EDGELORA_ORT_FOUND})
