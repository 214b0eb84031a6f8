// Tokens -> tree, with the grammar of jinja2, the tags of transformers and no others.
//
// Knows nothing about what names mean; `resolve.hpp` does.
#pragma once

#include <string_view>

#include "template/ast.hpp"

namespace edgelora::jinja {

Nodes parse(std::string_view source);  // throws Error{artifact or unsupported}, which names the line

}  // namespace edgelora::jinja
