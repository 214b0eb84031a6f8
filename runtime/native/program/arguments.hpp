// The command line of edgelora-run: words in, a checked structure out, and the help that teaches it.
//
// Knows nothing about artifacts; what a value means to the model is the library's matter.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "parse_json.hpp"

namespace edgelora::program {

struct Arguments {
    std::string artifact;
    std::string adapter = "none";
    std::optional<std::string> prompt, file, system, date, cache, onnxruntime, operators;
    bool is_chat = false, is_raw = false, is_json = false, is_list = false, is_verify = false, shows_memory = false;
    bool is_classify = false, is_tag = false, is_embed = false;
    bool shows_help = false, shows_version = false, keeps_twin = false;
    std::vector<std::string> choices, stops;
    Json template_variables;  // null where there are none
    std::int32_t max_new_tokens = 128, top_k = 0, threads = 0;
    std::int64_t adapter_bytes = 0;
    double temperature = 0.0, top_p = 1.0, min_p = 0.0, repetition_penalty = 1.0;
    std::optional<std::uint64_t> seed;
};

// Throws Failure{BAD_INPUT} for what cannot be used.
Arguments parse_arguments(const std::vector<std::string>& words);

// Whether any option is given that only a model that writes text knows.
bool asks_text(const Arguments& given);

std::string help();

}  // namespace edgelora::program
