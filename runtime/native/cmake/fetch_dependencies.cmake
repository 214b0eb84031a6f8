# For devices whose systems have none of them: fetches what the runtime is built from, in the versions of Debian 12, and
# defines the targets that dependencies.cmake would look for. Include it before runtime/native is added.
include(FetchContent)
set(FETCHCONTENT_QUIET ON)
set(BUILD_SHARED_LIBS OFF)
set(PCRE2_BUILD_PCRE2GREP OFF CACHE BOOL "" FORCE)
set(PCRE2_BUILD_TESTS OFF CACHE BOOL "" FORCE)
set(PCRE2_SUPPORT_JIT OFF CACHE BOOL "" FORCE) # the runtime does without
FetchContent_Declare(json GIT_REPOSITORY https://github.com/nlohmann/json.git GIT_TAG v3.11.2 GIT_SHALLOW ON)
FetchContent_Declare(pcre2 GIT_REPOSITORY https://github.com/PCRE2Project/pcre2.git GIT_TAG pcre2-10.42 GIT_SHALLOW ON)
FetchContent_Declare(utf8proc GIT_REPOSITORY https://github.com/JuliaStrings/utf8proc.git GIT_TAG v2.8.0 GIT_SHALLOW ON)
FetchContent_MakeAvailable(json pcre2 utf8proc)

add_library(edgelora_json INTERFACE)
target_link_libraries(edgelora_json INTERFACE nlohmann_json::nlohmann_json)
add_library(edgelora_pcre2 INTERFACE)
target_link_libraries(edgelora_pcre2 INTERFACE pcre2-8-static)
target_include_directories(edgelora_pcre2 SYSTEM INTERFACE ${pcre2_BINARY_DIR} ${pcre2_SOURCE_DIR}/src)
add_library(edgelora_utf8proc INTERFACE)
target_link_libraries(edgelora_utf8proc INTERFACE utf8proc)
target_include_directories(edgelora_utf8proc SYSTEM INTERFACE ${utf8proc_SOURCE_DIR})
