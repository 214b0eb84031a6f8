// Equality, order and hashes of values, and the dicts that need them.

#include <algorithm>
#include <cmath>
#include <functional>

#include "template/values.hpp"

namespace edgelora::jinja {

namespace {

size_t hash_of(const Value& key) {
    switch (key.kind()) {
        case Kind::boolean:
        case Kind::integer: return std::hash<double>()(static_cast<double>(key.whole()));
        case Kind::real: return std::hash<double>()(key.real());
        case Kind::text: return std::hash<std::string>()(key.bytes());
        case Kind::tuple: {
            size_t hash = 17;
            for (const Value& item : key.items()) hash = hash * 31 + hash_of(item);
            return hash;
        }
        default: return static_cast<size_t>(key.kind());
    }
}

// A whole number and a float, compared exactly: -1, 0 or 1.
int compare(int64_t one, double other) {
    if (other >= 9.3e18) return -1;
    if (other <= -9.3e18) return 1;
    const double whole = std::floor(other);
    if (whole >= 9223372036854775808.0) return -1;
    if (whole < -9223372036854775808.0) return 1;
    const auto near = static_cast<int64_t>(whole);
    if (one != near) return one < near ? -1 : 1;
    return other > whole ? -1 : 0;
}

int compare_numbers(const Value& one, const Value& other) {
    if (one.is_whole() && other.is_whole()) return one.whole() < other.whole() ? -1 : one.whole() > other.whole();
    if (one.is_whole()) return compare(one.whole(), other.real());
    if (other.is_whole()) return -compare(other.whole(), one.real());
    return one.real() < other.real() ? -1 : one.real() > other.real();
}

}  // namespace

const Value* Dict::find(const Value& key) const {
    const auto [first, last] = places.equal_range(hash_of(key));
    for (auto place = first; place != last; ++place) {
        if (equals(entries[place->second].first, key)) return &entries[place->second].second;
    }
    return nullptr;
}

const Value* Dict::find_key(std::string_view key) const { return find(Value(std::string(key))); }

void Dict::put(const Value& key, const Value& value) {
    check_hashable(key);
    if (const Value* found = find(key)) {
        size -= found->size();
        const_cast<Value&>(*found) = value;
    } else {
        places.emplace(hash_of(key), entries.size());
        entries.emplace_back(key, value);
        size += 8 + key.size();
    }
    size += value.size();
    depth = std::max({depth, key.depth() + 1, value.depth() + 1});
    if (depth > deepest_value) fail_as_too_deep();
}

bool equals(const Value& one, const Value& other) {
    if (one.is_number() && other.is_number()) return compare_numbers(one, other) == 0;
    if (one.kind() != other.kind()) return false;
    switch (one.kind()) {
        case Kind::text: return one.bytes() == other.bytes();
        case Kind::list:
        case Kind::tuple: {
            if (one.heap() == other.heap()) return true;
            const Items &left = one.items(), &right = other.items();
            if (left.size() != right.size()) return false;
            for (size_t at = 0; at < left.size(); ++at) {
                if (!equals(left[at], right[at])) return false;
            }
            return true;
        }
        case Kind::dict: {
            if (one.heap() == other.heap()) return true;
            if (one.entries().entries.size() != other.entries().entries.size()) return false;
            for (const auto& [key, value] : one.entries().entries) {
                const Value* found = other.entries().find(key);
                if (found == nullptr || !equals(value, *found)) return false;
            }
            return true;
        }
        case Kind::object: {
            if (one.heap() == other.heap()) return true;
            for (const Value* value : {&one, &other}) {
                const std::string type = type_name(*value);
                if (type != "Namespace" && type != "generator" && type != "Macro") lack("to compare a " + type);
            }
            return false;
        }
        default: return true;  // none, undefined
    }
}

bool less(const Value& one, const Value& other) {
    if (one.is_number() && other.is_number()) return compare_numbers(one, other) < 0;
    if (one.is(Kind::text) && other.is(Kind::text)) return one.bytes() < other.bytes();
    if (one.is_sequence() && one.kind() == other.kind()) {
        const Items &left = one.items(), &right = other.items();
        for (size_t at = 0; at < left.size() && at < right.size(); ++at) {
            if (!equals(left[at], right[at])) return less(left[at], right[at]);
        }
        return left.size() < right.size();
    }
    for (const Value* value : {&one, &other}) {
        if (value->is(Kind::undefined)) fail(value->bytes());
    }
    fail(std::string("'<' not supported between instances of '") + type_name(one) + "' and '" + type_name(other) + "'");
}

void check_hashable(const Value& value) {
    if (value.is(Kind::list) || value.is(Kind::dict)) fail(std::string("unhashable type: '") + type_name(value) + "'");
    if (value.is(Kind::object)) lack(std::string("a key of type ") + type_name(value));
    if (value.is(Kind::tuple)) {
        for (const Value& item : value.items()) check_hashable(item);
    }
}

}  // namespace edgelora::jinja
