#include "fields.hpp"

#include <utility>

#include "../errors.hpp"
#include "code_points.hpp"

namespace edgelora::tokenizer {

void refuse_broken(const std::string& what) { throw Error(Code::artifact, what); }
void refuse_unsupported(const std::string& what) { throw Error(Code::unsupported, what); }

Fields::Fields(const Json& value, std::string place) : value_(value), place_(std::move(place)) {
    if (!value.is_object()) refuse_broken(place_ + " is " + show(value) + ", expected an object");
}

const Json* Fields::find(std::string_view key) const {
    const Json* found = find_key(value_, key);
    return found == nullptr || found->is_null() ? nullptr : found;
}

const Json& Fields::list(std::string_view key) const {
    const Json* found = find(key);
    if (found == nullptr || !found->is_array()) refuse_broken(place_ + " has no list " + std::string(key));
    return *found;
}

Fields Fields::object(std::string_view key) const {
    const Json* found = find(key);
    if (found == nullptr) refuse_broken(place_ + " has no " + std::string(key));
    return Fields(*found, place_ + "." + std::string(key));
}

std::string Fields::text(std::string_view key) const {
    const Json* found = find(key);
    if (found == nullptr || !found->is_string()) refuse_broken(place_ + " has no text " + std::string(key));
    return found->get_ref<const std::string&>();
}

std::string Fields::text(std::string_view key, std::string_view otherwise) const {
    return find(key) == nullptr ? std::string(otherwise) : text(key);
}

bool Fields::flag(std::string_view key, bool otherwise) const {
    const Json* found = find(key);
    if (found == nullptr) return otherwise;
    if (!found->is_boolean()) refuse_broken(place_ + "." + std::string(key) + " is " + show(*found) + ", no bool");
    return found->get<bool>();
}

std::uint64_t Fields::whole(std::string_view key, std::uint64_t otherwise) const {
    const Json* found = find(key);
    if (found == nullptr) return otherwise;
    if (!found->is_number_unsigned()) {
        refuse_broken(place_ + "." + std::string(key) + " is " + show(*found) + ", expected a whole number");
    }
    return found->get<std::uint64_t>();
}

char32_t Fields::character(std::string_view key) const {
    const std::string found = text(key);
    std::size_t at = 0;
    const char32_t point = found.empty() ? 0 : next_point(found, at);
    if (found.empty() || at != found.size()) {
        refuse_broken(place_ + "." + std::string(key) + " is " + show(found) + ", expected one character");
    }
    return point;
}

std::int32_t read_id(const Json& value, const std::string& place) {
    constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<std::int32_t>::max());
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() > most) {
        refuse_broken(place + " has the id " + show(value) + ", expected one of 0 to " + std::to_string(most));
    }
    return static_cast<std::int32_t>(value.get<std::uint64_t>());
}

}  // namespace edgelora::tokenizer
