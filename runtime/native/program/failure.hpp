// What ends the program: one line and an exit code, the same codes as those of the command `edgelora`.
//
// Knows nothing about what failed.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace edgelora::program {

constexpr int DONE = 0, CHECK_FAILED = 1, BAD_INPUT = 2, OUR_FAULT = 70, INTERRUPTED = 130;

struct Failure : std::runtime_error {
    Failure(int code_, const std::string& line, bool is_of_files_ = false)
        : std::runtime_error(line), code(code_), is_of_files(is_of_files_) {}
    int code;
    bool is_of_files;  // of an artifact or an adapter, and not of how the program was called
};

// Standard output cannot be written: no answer can be given any more.
struct OutputFailure : Failure {
    using Failure::Failure;
};

// Standard output is gone, as `head` leaves it: no failure of anybody.
struct ReaderLeft {};

// Say something that is no result, in one line on standard error.
void note(std::string_view text);

// Write a part of the result to standard output now; throws where that cannot be done.
void say(std::string_view text);

}  // namespace edgelora::program
