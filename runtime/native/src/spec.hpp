// The SPEC in which a call names its adapters, and the names that one can hold.
//
// Knows nothing about files or graphs.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace edgelora {

// One adapter of a SPEC; a SPEC of none is the base.
struct SpecTerm {
    std::string name;
    double weight = 1.0;

    bool operator==(const SpecTerm& other) const { return name == other.name && weight == other.weight; }
    bool operator<(const SpecTerm& other) const {
        return name != other.name ? name < other.name : weight < other.weight;
    }
};

using Spec = std::vector<SpecTerm>;

// `none`, `NAME`, `NAME:WEIGHT`, or several of these joined by `+`; throws Error{adapter}.
Spec parse_spec(std::string_view text);

// The same, every name one of `known` (in the order in which they are told); throws Error{adapter} with the nearest one.
Spec parse_spec(std::string_view text, const std::vector<std::string>& known);

// Throw Error{adapter} for a name that a SPEC, a command line or a file system could not hold.
void check_name(std::string_view name);

// The name most like `name`, nullptr where none is like it.
const std::string* closest_name(std::string_view name, const std::vector<std::string>& known);

}  // namespace edgelora
