// What every fuzzed reader holds to: it reads, or refuses with an Error in one printable line under 500 characters.
//
// Knows nothing about what is read. Any other exception, and any look beyond the input, ends the fuzzer.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "characters.hpp"
#include "errors.hpp"

namespace edgelora {

inline void check_refusal(const Error& error) {
    constexpr std::size_t longest = 500;
    const std::string_view message = error.what();
    bool is_right = !message.empty() && !find_bad_utf8(message) && count_characters(message) < longest;
    for (const char32_t point : decode_utf8(message)) is_right = is_right && is_printable(point);
    if (is_right) return;
    std::fprintf(stderr, "not one line: %s\n", error.what());
    std::abort();
}

template <typename Read>
int read_or_refuse(const std::uint8_t* data, std::size_t size, Read read) {
    try {
        read(std::string_view(reinterpret_cast<const char*>(data), size));
    } catch (const Error& error) {
        check_refusal(error);
    }
    return 0;
}

}  // namespace edgelora
