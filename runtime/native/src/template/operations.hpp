// What operators, attributes, keys and slices do with values, as Python and jinja2's sandbox have it.
#pragma once

#include <string>
#include <string_view>

#include "template/values.hpp"

namespace edgelora::jinja {

Value binary(Budget& budget, std::string_view sign, const Value& one, const Value& other);
Value negate(const Value& value);
Value keep_sign(const Value& value);  // +value
bool contains(Budget& budget, const Value& all, const Value& item);
bool compare(Budget& budget, std::string_view sign, const Value& one, const Value& other);

Value get_attribute(const Value& value, const std::string& name);
Value get_item(const Value& value, const Value& key);
Value slice(const Value& value, const Value& start, const Value& stop, const Value& step);

Value escape(const Value& value);  // for HTML, a text that is marked as safe

Value measured(Budget& budget, Value value);  // fails for a value that grows beyond what any chat needs

// A method that is bound to a value.
struct Bound : Object {
    Bound(Value self_, std::string name_) : self(std::move(self_)), name(std::move(name_)) { depth = self.depth() + 1; }
    const char* type() const override { return "method"; }
    Value self;
    std::string name;
};

}  // namespace edgelora::jinja
