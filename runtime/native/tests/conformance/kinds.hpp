// The kinds of cases that the conformance program runs; `runtime/conformance/README.md` says what each one holds to.
//
// Knows nothing about how a kind is checked: each file beside this one brings a few, and the program has a table of them.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "parse_json.hpp"

namespace edgelora::conformance {

// What a case did not hold to, in words.
struct Failure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// The folder `runtime/conformance`, and its files.
struct Suite {
    std::filesystem::path folder;
    Json cases;
    Json refuse;
    Json encoders;
};

// Throws Failure, or Error where the runtime refused what it should not. Cases come in the order of the files, so that
// a kind may keep a model open for the cases of one artifact.
using Check = std::function<void(const Json& test)>;
using Kinds = std::map<std::string, Check>;

Kinds sampling_kinds();
Kinds refuse_kinds(const Suite& suite);
Kinds model_kinds(const Suite& suite);
Kinds text_kinds(const Suite& suite);
Kinds encoder_kinds(const Suite& suite);

// Throw Failure where the two differ.
void expect_same(const Json& found, const Json& expected, const std::string& what);

// `call` must throw an Error whose message holds to what every refusal does: one printable line under 500 characters
// that contains `message_has`. Gives the error back.
Error expect_refused(const std::function<void()>& call, const std::string& message_has);

// The content of a file; throws Failure where there is none.
std::string content_of(const std::filesystem::path& path);

}  // namespace edgelora::conformance
