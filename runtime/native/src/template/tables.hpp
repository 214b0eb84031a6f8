// What templates can call by name: filters, tests and methods.
//
// Knows nothing about the tree; `machine.hpp` runs it.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "template/values.hpp"

namespace edgelora::jinja {

class Machine;

struct Args {
    Items items;
    std::vector<std::pair<std::string, Value>> named;

    // The arguments in the order of `names`, missing where none is given; fails for others.
    Items bind(std::initializer_list<const char*> names, size_t required = 0) const;
};

using Operation = Value (*)(Machine& machine, const Value& value, const Args& args);

struct Filter {
    const char* name;
    Operation run;
};

struct Test {
    const char* name;
    Operation run;
};

const Filter* find_filter(std::string_view name);
const Test* find_test(std::string_view name);
Value run_filter(Machine& machine, const Filter& filter, const Value& value, const Args& args);

// The tables of one file each; find_filter looks through them all.
const Filter* find_text_filter(std::string_view name);
const Filter* find_sequence_filter(std::string_view name);

enum class Method : uint8_t { none, known, unsafe };
Method find_method(const Value& value, std::string_view name);  // unsafe: it would change the value
bool is_unknown_method(std::string_view name);                  // Python has it for some type, and no type has it here
Value call_method(Machine& machine, const Value& value, const std::string& name, const Args& args);
Value call_text_method(Machine& machine, const Value& text, const std::string& name, const Args& args);

// A function that every template gets; missing where there is none of this name.
Value find_global(const std::string& name);

// One argument of a filter or method as what it must be.
int64_t to_whole(const Value& value);
bool to_flag(const Value& value);  // of what Python wants to be a whole number; false where it is missing
const std::string& to_bytes(const Value& value, const char* what);
void check_arguments(const Args& args);  // no number that no chat needs

Value join_texts(Machine& machine, const std::string& separator, const Items& items, bool any_type);
Value replace(Machine& machine, const std::string& text, const std::string& old, const std::string& with,
              int64_t count);
std::vector<std::string> split_lines(const std::string& text, bool keep_ends);
Value format_percent(Machine& machine, const std::string& form, const Value& values);
Value format_braces(Machine& machine, const std::string& form, const Args& args);
std::string to_json(Machine& machine, const Value& value, const Args& args);
std::string strftime(const std::string& form, const std::string& date);  // "YYYY-MM-DD" at midnight; now where empty

}  // namespace edgelora::jinja
