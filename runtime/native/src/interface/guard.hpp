// What every function of the C interface stands behind: exceptions become codes, pointers become checked values.
//
// Knows nothing about models; text that comes in is held to UTF-8 here, and nowhere else.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "edgelora.h"
#include "errors.hpp"
#include "parse_json.hpp"

namespace edgelora::interface {

// Put an error at `*error` where the caller wants one; returns its code.
edgelora_status fail(edgelora_error** error, edgelora_status code, std::string_view message) noexcept;

// What an exception that is none of ours is for the caller; must be called where one is being handled.
edgelora_status fail_with_current(edgelora_error** error) noexcept;

// Run `body`; whatever it throws becomes a code and an error.
template <typename Body>
edgelora_status guard(edgelora_error** error, Body&& body) noexcept {
    if (error != nullptr) *error = nullptr;
    try {
        body();
        return EDGELORA_OK;
    } catch (...) {
        return fail_with_current(error);
    }
}

// Set what is given out to nothing first, so that a failure leaves nothing behind; throws where it has no place.
template <typename T>
void clear(T* out, const char* name) {
    if (out == nullptr) throw Error(Code::invalid_input, std::string(name) + " is NULL, expected a place for the result");
    *out = T{};
}

// The same for a text and its length, which may have no place.
inline void clear(char** out, const char* name, std::size_t* n_bytes) {
    if (n_bytes != nullptr) *n_bytes = 0;
    clear(out, name);
}

// A pointer that must be there.
template <typename T>
T& need(T* pointer, const char* name) {
    if (pointer == nullptr) throw Error(Code::invalid_input, std::string(name) + " is NULL, which it must not be");
    return *pointer;
}

// UTF-8 of known length.
std::string_view text_of(const char* text, std::size_t n_bytes, const char* name);

// UTF-8 that ends with a zero byte; `optional_text_of` takes NULL for nothing.
std::string text_of(const char* text, const char* name);
std::optional<std::string> optional_text_of(const char* text, const char* name);

// Token ids of known length.
std::vector<std::int32_t> ids_of(const std::int32_t* ids, std::size_t n_ids, const char* name);

// Rows of token ids, one behind the other.
std::vector<std::vector<std::int32_t>> rows_of(const std::int32_t* ids, const std::size_t* lengths, std::size_t n_rows);

// A JSON text; `optional_json_of` takes NULL for nothing.
Json json_of(const char* text, const char* name);
std::optional<Json> optional_json_of(const char* text, const char* name);

// A JSON list of texts.
std::vector<std::string> texts_of(const char* text, const char* name);

// Memory of the caller's with a copy, a zero byte behind it.
void give_text(std::string_view text, char** out, std::size_t* n_bytes);
void give_floats(const std::vector<float>& numbers, float** out, std::size_t* n_numbers);
void give_ids(const std::vector<std::int32_t>& ids, std::int32_t** out, std::size_t* n_ids);

// The first `struct_size` bytes of what the caller gave over the defaults: an older caller knows fewer members.
template <typename Options>
Options read_options(const Options* given, const char* name, void (*init)(Options*, std::size_t)) {
    Options options;
    init(&options, sizeof options);
    if (given == nullptr) return options;
    const std::size_t size = given->struct_size;
    if (size < sizeof given->struct_size || size > 4096 || size % alignof(Options) != 0) {  // it ends with a member
        throw Error(Code::invalid_input, std::string(name) + " has the struct_size " + std::to_string(size) +
                                             ", expected the size of the structure as its header has it");
    }
    std::memcpy(&options, given, size < sizeof options ? size : sizeof options);
    return options;
}

// Write the first `struct_size` bytes of `defaults`, and the size itself.
template <typename Options>
void write_defaults(Options* options, std::size_t struct_size, Options defaults) {
    if (options == nullptr || struct_size < sizeof options->struct_size) return;
    const std::size_t known = struct_size < sizeof defaults ? struct_size : sizeof defaults;
    defaults.struct_size = static_cast<std::uint32_t>(known);
    std::memcpy(options, &defaults, known);
}

}  // namespace edgelora::interface
