#include "json_fields.hpp"

#include <cmath>
#include <limits>
#include <utility>

namespace edgelora {

void Field::refuse(const char* expected) const {
    throw Error(Code::artifact, where_ + ": expected " + expected + ", found " + show(*value_));
}

std::string Field::text() const {
    if (!value_->is_string()) refuse("text");
    return value_->get<std::string>();
}

std::optional<std::string> Field::text_or_null() const {
    if (is_null()) return std::nullopt;
    return text();
}

std::int64_t Field::whole() const {
    constexpr auto most = std::numeric_limits<std::int64_t>::max();
    constexpr auto least = std::numeric_limits<std::int64_t>::min();
    if (value_->is_number_unsigned()) {
        const auto value = value_->get<std::uint64_t>();
        return value > static_cast<std::uint64_t>(most) ? most : static_cast<std::int64_t>(value);
    }
    if (value_->is_number_integer()) return value_->get<std::int64_t>();
    if (!value_->is_number_float()) refuse("a whole number");
    const auto value = value_->get<double>();
    if (std::trunc(value) != value) refuse("a whole number");
    // 1.0 and 1e3 are whole numbers to JSON Schema, and to languages with one type for all numbers.
    constexpr double beyond = 9223372036854775808.0;
    return value >= beyond ? most : value < -beyond ? least : static_cast<std::int64_t>(value);
}

double Field::number() const {
    if (!value_->is_number()) refuse("a number");
    return value_->get<double>();
}

bool Field::flag() const {
    if (!value_->is_boolean()) refuse("true or false");
    return value_->get<bool>();
}

std::vector<std::string> Field::texts() const {
    std::vector<std::string> found;
    for (const Field& item : items()) found.push_back(item.text());
    return found;
}

std::vector<std::int64_t> Field::wholes() const {
    std::vector<std::int64_t> found;
    for (const Field& item : items()) found.push_back(item.whole());
    return found;
}

std::vector<Field> Field::items() const {
    if (!value_->is_array()) refuse("a list");
    std::vector<Field> found;
    found.reserve(value_->size());
    for (const Json& item : *value_) found.emplace_back(item, where_ + "[" + std::to_string(found.size()) + "]");
    return found;
}

std::vector<std::pair<std::string, Field>> Field::entries() const {
    std::vector<std::pair<std::string, Field>> found;
    for (const auto& [key, item] : checked_object().get_ref<const Json::object_t&>()) {
        found.emplace_back(key, Field(item, where_ + ": " + show(key)));
    }
    return found;
}

Json Field::object() const { return checked_object(); }

Field Field::at(std::string_view name) const {
    if (const auto found = find(name)) return *found;
    throw Error(Code::artifact, where_ + ": field " + show(name) + " is missing");
}

std::optional<Field> Field::find(std::string_view name) const {
    const Json* found = find_key(checked_object(), name);
    if (found == nullptr) return std::nullopt;
    return Field(*found, where_ + ": " + std::string(name));
}

std::optional<std::string> Field::find_text(std::string_view name) const {
    const auto found = find(name);
    return found ? found->text_or_null() : std::nullopt;
}

const Json& Field::checked_object() const {
    if (!value_->is_object()) refuse("an object");
    return *value_;
}

}  // namespace edgelora
