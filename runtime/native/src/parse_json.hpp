// Parse JSON that somebody else wrote: every reader of a file comes through here.
//
// Knows nothing about what the JSON means; `docs/format.md` ("What a reader refuses") says what is refused and why.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "errors.hpp"

namespace edgelora {

// Objects keep the order of the text. Looking a key up reads from the first one on: iterate over long objects.
using Json = nlohmann::ordered_json;

constexpr std::size_t kDeepestJson = 100;             // lists and objects inside one another
constexpr std::size_t kLongestJson = 64 * 1048576;    // bytes; a tokenizer.json that people have is 33 MB

// The value of `content`; throws Error(`code`) in one line: `where`, what is wrong with it, and `advice`.
// Whole numbers of up to 64 bits stay whole; larger ones become the nearest float64.
Json parse_json(std::string_view content, const std::string& where, Code code, const std::string& advice,
                std::size_t limit = kLongestJson);

// The same for a file of an artifact.
Json parse_json(std::string_view content, const std::string& where);

// A value as a message shows it: in one line, and cut where it is long.
std::string show(const Json& value);
std::string show(std::string_view text);
inline std::string show(const std::string& text) { return show(std::string_view(text)); }
inline std::string show(const char* text) { return show(std::string_view(text)); }

// As many of `lines` as one line of an error has room for, and how many there are more.
std::string join_some(const std::vector<std::string>& lines, const std::string& separator = "; ");

// What a library said, in one line of bearable length; it may have said anything, at any length.
std::string one_line(std::string_view text);

// The value under a key of an object, nullptr where there is none (or where `value` is no object).
const Json* find_key(const Json& value, std::string_view key);

// What Python takes for false, as PEFT writes "not used": null, false, 0, "", [] and {}.
bool is_nothing(const Json& value);

// Whether two values are equal whatever the order of the keys of their objects.
bool is_same(const Json& one, const Json& other);

}  // namespace edgelora
