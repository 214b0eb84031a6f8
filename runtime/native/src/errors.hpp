// Every error that the runtime raises on purpose.
//
// Knows nothing about where it is shown: a program prints the message alone, the C interface gives code and message.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace edgelora {

// What kind of error it is; the numbers are those of the C interface, where 0 is success.
enum class Code {
    invalid_input = 1,  // a prompt, a message list or an option cannot be used as given
    artifact,           // the artifact cannot be read: a missing file, a wrong hash, a newer format
    adapter,            // the adapter does not fit: unknown name, malformed SPEC, wrong shapes, no effect
    cancelled,          // the caller asked to stop
    unsupported,        // the artifact is sound, and asks for something that this runtime does not have
    memory,             // the system gives no more memory
    internal,           // a mistake of the runtime itself, or an error of onnxruntime
};

// Something that somebody can put right; the message says in one line what was found, what was expected, what to do.
struct Error : std::runtime_error {
    Error(Code code_, std::string message) : std::runtime_error(std::move(message)), code(code_) {}
    Code code;
};

}  // namespace edgelora
