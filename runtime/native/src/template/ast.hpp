// The tree of a template: one kind of node, with the fields that jinja2's nodes have.
//
// Knows nothing about how it is made or run.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "template/values.hpp"

namespace edgelora::jinja {

struct Filter;
struct Test;

enum class Type : uint8_t {
    // statements
    output,        // items
    assign,        // a target, b value
    assign_block,  // a target, b filter or null, body
    loop,          // a target, b iterable, body, orelse, c condition or null, flag: recursive
    branch,        // a condition, body, items: the elif branches, orelse
    macro,         // name, items: parameters, more: defaults, body
    call_block,    // a call, items: parameters, more: defaults, body
    filter_block,  // body, a filter
    with,          // items: targets, more: values, body
    stop,          // break
    skip,          // continue
    // expressions
    name,              // name, role
    attribute_target,  // name, attribute: of a namespace
    constant,          // value
    list,              // items
    tuple,             // items
    dict,              // items: keys, more: values
    choice,            // a condition, b then, c else or null
    call,       // a function, items: arguments, names and more: by name, b *arguments or null, c **arguments or null
    filter,     // a value, or null in a block; name, and as in a call
    test,       // a value, name, and as in a call
    attribute,  // a value, name
    item,       // a value, b key
    slice,      // a value, items: start, stop, step, each may be null
    concat,     // items
    compare,    // a first, items, names: operators
    negation,   // a: not
    minus,      // a
    plus,       // a
    both,       // a, b: and
    either,     // a, b: or
    binary,     // a, b, name: the operator
};

enum class Role : uint8_t { load, store, parameter };

// Where a variable lies: in the function that is running, or in one around it.
struct Place {
    int functions_up = 0;
    int slot = -1;
};

// What happens when a frame is entered: each of its variables gets its first value.
struct Load {
    enum class From : uint8_t { nothing, context, outer, parameter } from;
    int slot;
    Place outer;       // of `outer`
    std::string name;  // of `context`
};

struct Frame {
    std::vector<Load> loads;
};

// What a macro, a call block, a recursive loop or the condition of a loop runs in.
struct Function {
    int slots = 0;
    bool has_inner = false;  // functions in it may look at its slots later
};

struct Node;
using Nodes = std::vector<std::unique_ptr<Node>>;

struct Node {
    Type type;
    int line;
    std::string name, attribute;
    std::vector<std::string> names;
    Value value;
    Role role = Role::load;
    bool flag = false;
    int depth = 1;  // of an expression
    std::unique_ptr<Node> a, b, c;
    Nodes items, more, body, orelse;

    // What `resolve` finds out.
    Place place;               // of names and macros, and of the variable "loop"
    bool must_be_set = false;  // a parameter that is read: nothing else may be in its place
    Frame frame, test_frame, else_frame;
    std::unique_ptr<Node> test_target;  // of a loop with a condition: its target, as variables of the condition
    std::unique_ptr<Function> function, test_function;
    Place caller, kwargs, varargs;  // of macros that use them; slot -1 where they do not
    const Filter* filter = nullptr;
    const Test* test = nullptr;
};

// Calls `visit` for each field of a node that is a node, in the order of jinja2.
template <class Visit>
void for_each_child(const Node& node, Visit visit) {
    const auto one = [&](const std::unique_ptr<Node>& child) {
        if (child) visit(*child);
    };
    const auto all = [&](const Nodes& children) {
        for (const auto& child : children) one(child);
    };
    if (node.type == Type::loop) {
        one(node.a), one(node.b), all(node.body), all(node.orelse), one(node.c);
    } else if (node.type == Type::branch) {
        one(node.a), all(node.body), all(node.items), all(node.orelse);
    } else if (node.type == Type::filter_block) {
        all(node.body), one(node.a);
    } else if (node.type == Type::call || node.type == Type::filter || node.type == Type::test) {
        one(node.a), all(node.items), all(node.more), one(node.b), one(node.c);
    } else if (node.type == Type::dict) {
        for (size_t at = 0; at < node.items.size(); ++at) one(node.items[at]), one(node.more[at]);
    } else {
        one(node.a), one(node.b), one(node.c), all(node.items), all(node.more), all(node.body), all(node.orelse);
    }
}

}  // namespace edgelora::jinja
