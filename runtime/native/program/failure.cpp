#include "failure.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace edgelora::program {

void note(std::string_view text) {
    std::fprintf(stderr, "edgelora-run: %.*s\n", static_cast<int>(text.size()), text.data());
}

void say(std::string_view text) {
    if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0) return;
    if (errno == EPIPE) throw ReaderLeft{};
    const char* advice = errno == ENOSPC ? "; free some space and run it again" : "";
    throw OutputFailure(BAD_INPUT, std::string("standard output: ") + std::strerror(errno) + advice);
}

}  // namespace edgelora::program
