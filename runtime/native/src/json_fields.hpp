// Take the fields of an object of JSON one by one, each of its type, for a struct that is built from them.
//
// Knows nothing about what the fields mean: names and types are checked here, values by whoever asks.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "parse_json.hpp"

namespace edgelora {

// A value and the words that an error names its place with.
class Field {
  public:
    Field(const Json& value, std::string where) : value_(&value), where_(std::move(where)) {}

    // Each throws Error{artifact}, naming the place, where the value is of another type.
    std::string text() const;
    std::int64_t whole() const;  // beyond 64 bits: the largest or smallest there is
    double number() const;
    bool flag() const;
    std::vector<std::string> texts() const;
    std::vector<std::int64_t> wholes() const;
    std::vector<Field> items() const;
    std::vector<std::pair<std::string, Field>> entries() const;
    Json object() const;
    std::optional<std::string> text_or_null() const;

    bool is_null() const { return value_->is_null(); }

    // Fields of an object. `at` throws where it is missing, `find` gives nothing.
    Field at(std::string_view name) const;
    std::optional<Field> find(std::string_view name) const;
    std::optional<std::string> find_text(std::string_view name) const;  // nothing where it is missing or null

  private:
    const Json& checked_object() const;
    [[noreturn]] void refuse(const char* expected) const;

    const Json* value_;
    std::string where_;
};

}  // namespace edgelora
