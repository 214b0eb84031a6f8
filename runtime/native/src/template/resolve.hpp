// Tree -> tree whose names know their variables, with the scopes that jinja2 compiles to.
//
// jinja2 gives each name of each block a variable of the Python function that the block becomes, and decides while it
// compiles where that variable gets its first value from. The same is done here, so that a name means what it means
// there.
#pragma once

#include "template/ast.hpp"

namespace edgelora::jinja {

struct Program {
    Nodes body;
    Frame frame;
    Function function;
};

Program resolve(Nodes body);  // throws Error{artifact or unsupported}, which names the line

}  // namespace edgelora::jinja
