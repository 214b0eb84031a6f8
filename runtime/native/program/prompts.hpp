// What is to be answered: the command line's prompt, standard input, or the lines of a file.
//
// Knows nothing about answering.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "arguments.hpp"
#include "parse_json.hpp"

namespace edgelora::program {

// One prompt: a text, or a list of messages for the chat template.
struct Job {
    Json prompt;
    std::string adapter;
    std::optional<Json> tools;
};

// All bytes of a file; throws Failure{BAD_INPUT} where it cannot be read.
std::string read_file(const std::string& path);

// Throws Failure{BAD_INPUT} naming the lines that hold no prompt.
std::vector<Job> read_jobs(const Arguments& arguments);

}  // namespace edgelora::program
