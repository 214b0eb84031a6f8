// Source of a template -> tokens, as jinja2's lexer with trim_blocks and lstrip_blocks cuts them.
//
// Knows nothing about which tags or operators make sense together.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "template/values.hpp"

namespace edgelora::jinja {

enum class Token : uint8_t {
    data,
    variable_begin,
    variable_end,
    block_begin,
    block_end,
    name,
    text,
    number,
    sign,
    end
};

struct Lexeme {
    Token token;
    std::string text;  // of data, names, texts and signs
    Value number;
    int line;
};

// What is wrong with a template, or not known here; the message has the line.
[[noreturn]] void refuse(int line, const std::string& reason);        // no template of jinja2 either
[[noreturn]] void not_known(int line, const std::string& construct);  // jinja2 has it

std::vector<Lexeme> cut(std::string_view source);

}  // namespace edgelora::jinja
