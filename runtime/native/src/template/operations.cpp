#include "template/operations.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "template/tables.hpp"

namespace edgelora::jinja {

namespace {

[[noreturn]] void unsupported(std::string_view sign, const Value& one, const Value& other) {
    for (const Value* value : {&one, &other}) {
        if (value->is(Kind::undefined)) fail(value->bytes());
    }
    fail("unsupported operand type(s) for " + std::string(sign) + ": '" + type_name(one) + "' and '" +
         type_name(other) + "'");
}

[[noreturn]] void too_large() { lack("a number beyond 64 bits"); }

Value real(double number) {
    if (std::isnan(number)) lack("a number that is none");
    return Value(number);
}

// Whole numbers, of which Python's floor division and remainder go down.
Value whole(std::string_view sign, int64_t one, int64_t other) {
    int64_t result = 0;
    if (sign == "+") {
        if (__builtin_add_overflow(one, other, &result)) too_large();
    } else if (sign == "-") {
        if (__builtin_sub_overflow(one, other, &result)) too_large();
    } else if (sign == "*") {
        if (__builtin_mul_overflow(one, other, &result)) too_large();
    } else if (sign == "**") {
        if (other < 0) {
            if (one == 0) fail("0.0 cannot be raised to a negative power");
            return real(std::pow(static_cast<double>(one), static_cast<double>(other)));
        }
        result = 1;
        if (one == 0 || one == 1 || one == -1) return Value(other == 0 ? int64_t{1} : other % 2 == 0 ? one * one : one);
        for (; other > 0; --other) {
            if (__builtin_mul_overflow(result, one, &result)) too_large();
        }
    } else {
        if (other == 0) fail("division by zero");
        if (sign == "/") {
            constexpr int64_t exact = int64_t{1} << 53;
            if (one > exact || one < -exact || other > exact || other < -exact) too_large();
            return Value(static_cast<double>(one) / static_cast<double>(other));
        }
        if (one == std::numeric_limits<int64_t>::min() && other == -1) too_large();
        result = sign == "//" ? one / other : one % other;
        const bool is_down = one % other != 0 && (one % other < 0) != (other < 0);
        if (is_down) result += sign == "//" ? -1 : other;
    }
    return Value(result);
}

Value floating(std::string_view sign, double one, double other) {
    if (sign == "+") return real(one + other);
    if (sign == "-") return real(one - other);
    if (sign == "*") return real(one * other);
    if (sign == "**") {
        if (one == 0 && other < 0) fail("0.0 cannot be raised to a negative power");
        if (one < 0 && other != std::floor(other)) lack("a complex number");
        const double power = std::pow(one, other);
        if (std::isinf(power) && !std::isinf(one) && !std::isinf(other)) fail("(34, 'Numerical result out of range')");
        return real(power);
    }
    if (other == 0) fail("float division by zero");
    if (sign == "/") return real(one / other);
    double rest = std::fmod(one, other);
    double quotient = (one - rest) / other;
    if (rest != 0) {
        if ((other < 0) != (rest < 0)) {
            rest += other;
            quotient -= 1;
        }
    } else {
        rest = std::copysign(0.0, other);
    }
    if (sign == "%") return real(rest);
    if (quotient == 0) return real(std::copysign(0.0, one / other));
    const double down = std::floor(quotient);
    return real(quotient - down > 0.5 ? down + 1 : down);
}

std::string escaped(const std::string& text) {
    std::string safe;
    for (const char c : text) {
        switch (c) {
            case '&': safe += "&amp;"; break;
            case '<': safe += "&lt;"; break;
            case '>': safe += "&gt;"; break;
            case '"': safe += "&#34;"; break;
            case '\'': safe += "&#39;"; break;
            default: safe += c;
        }
    }
    return safe;
}

Value repeat(Budget& budget, const Value& value, int64_t times) {
    times = std::max<int64_t>(times, 0);
    if (value.size() > 0 && static_cast<uint64_t>(times) > longest_text / value.size())
        budget.check_size(longest_text + 1);
    if (value.size() == 0) times = std::min<int64_t>(times, 1);
    if (value.is(Kind::text)) {
        std::string text;
        for (; times > 0; --times) text += value.bytes();
        return Value(std::move(text), value.is_safe());
    }
    Items items;
    for (; times > 0; --times) items.insert(items.end(), value.items().begin(), value.items().end());
    return value.is(Kind::list) ? Value::list(std::move(items)) : Value::tuple(std::move(items));
}

Value plus(std::string_view sign, const Value& one, const Value& other) {
    if (one.is(Kind::text) && other.is(Kind::text)) {
        if (!one.is_safe() && !other.is_safe()) return Value(one.bytes() + other.bytes());
        const std::string left = one.is_safe() ? one.bytes() : escaped(one.bytes());
        return Value(left + (other.is_safe() ? other.bytes() : escaped(other.bytes())), true);
    }
    if (!one.is_sequence() || one.kind() != other.kind()) unsupported(sign, one, other);
    Items items = one.items();
    items.insert(items.end(), other.items().begin(), other.items().end());
    return one.is(Kind::list) ? Value::list(std::move(items)) : Value::tuple(std::move(items));
}

int64_t to_index(const Value& value, int64_t otherwise) {
    if (value.is(Kind::none)) return otherwise;
    if (!value.is_whole()) lack("a slice by what is no whole number");
    return value.whole();
}

std::string shown_type(const Value& value) {
    return value.is(Kind::none) ? "None" : std::string(type_name(value)) + " object";
}

Value no_attribute(const Value& value, const std::string& name) {
    return Value::undefined("'" + shown_type(value) + "' has no attribute '" + name + "'");
}

}  // namespace

Value escape(const Value& value) { return value.is_safe() ? value : Value(escaped(to_text(value)), true); }

Value measured(Budget& budget, Value value) {
    budget.check_size(value.size());
    if (value.is(Kind::text)) {
        budget.spend(value.size());
    } else if (value.is_sequence()) {
        budget.spend(8 * value.items().size());
    } else if (value.is(Kind::dict)) {
        budget.spend(8 * value.entries().entries.size());
    }
    return value;
}

Value binary(Budget& budget, std::string_view sign, const Value& one, const Value& other) {
    if (one.is(Kind::undefined)) fail(one.bytes());
    if (sign == "%" && one.is(Kind::text)) fail("a format");  // the machine has it
    if (one.is_whole() && other.is_whole()) return whole(sign, one.whole(), other.whole());
    if (one.is_number() && other.is_number()) return floating(sign, one.real(), other.real());
    if (sign == "+") {
        budget.check_size(one.size() + other.size());
        return measured(budget, plus(sign, one, other));
    }
    if (sign == "*") {
        for (const auto& [value, times] : {std::pair(&one, &other), std::pair(&other, &one)}) {
            if ((value->is(Kind::text) || value->is_sequence()) && times->is_whole()) {
                return measured(budget, repeat(budget, *value, times->whole()));
            }
        }
    }
    if (sign == "-") {
        for (const Value* value : {&one, &other}) {
            if (value->as<View>() != nullptr) lack("a difference of views");
        }
    }
    unsupported(sign, one, other);
}

Value negate(const Value& value) {
    if (value.is(Kind::real)) return Value(-value.real());
    if (value.is(Kind::undefined)) fail(value.bytes());
    if (!value.is_whole()) fail(std::string("bad operand type for unary -: '") + type_name(value) + "'");
    if (value.whole() == std::numeric_limits<int64_t>::min()) too_large();
    return Value(-value.whole());
}

Value keep_sign(const Value& value) {
    if (value.is(Kind::real)) return value;
    if (value.is(Kind::undefined)) fail(value.bytes());
    if (!value.is_whole()) fail(std::string("bad operand type for unary +: '") + type_name(value) + "'");
    return Value(value.whole());
}

bool contains(Budget& budget, const Value& all, const Value& item) {
    if (all.is(Kind::text)) {
        if (!item.is(Kind::text))
            fail(std::string("'in <string>' requires string as left operand, not ") + type_name(item));
        return all.bytes().find(item.bytes()) != std::string::npos;
    }
    if (all.is(Kind::dict)) {
        check_hashable(item);
        return all.entries().find(item) != nullptr;
    }
    const auto iterator = iterate(all);
    if (iterator == nullptr) fail(std::string("argument of type '") + type_name(all) + "' is not iterable");
    for (Value other; iterator->next(other);) {
        budget.spend(8);
        if (equals(other, item)) return true;
    }
    return false;
}

bool compare(Budget& budget, std::string_view sign, const Value& one, const Value& other) {
    if (sign == "==") return equals(one, other);
    if (sign == "!=") return !equals(one, other);
    if (sign == "in") return contains(budget, other, one);
    if (sign == "not in") return !contains(budget, other, one);
    if (sign == "<") return less(one, other);
    if (sign == ">") return less(other, one);
    return !(sign == "<=" ? less(other, one) : less(one, other));
}

Value get_attribute(const Value& value, const std::string& name) {
    if (value.is(Kind::undefined)) fail(value.bytes());
    switch (find_method(value, name)) {
        case Method::known: return Value::object(std::make_shared<Bound>(value, name));
        case Method::unsafe:
            return Value::undefined("access to attribute '" + name + "' of '" + type_name(value) +
                                    "' object is unsafe.");
        case Method::none: break;
    }
    if (value.is(Kind::dict)) {
        const Value* found = value.entries().find_key(name);
        return found == nullptr ? no_attribute(value, name) : *found;
    }
    if (value.is(Kind::tuple) && static_cast<const List&>(*value.heap()).is_group) {
        if (name == "grouper" || name == "list") return value.items()[name == "list"];
    }
    if (value.is_number() ||
        (value.is(Kind::object) && (value.as<Iterator>() != nullptr || value.as<View>() != nullptr))) {
        for (const char* const other :
             {"real", "imag", "numerator", "denominator", "mapping", "gi_yieldfrom", "gi_running", "gi_suspended",
              "gi_frame", "gi_code", "close", "send", "throw", "isdisjoint"}) {
            if (name == other) lack("the attribute '" + name + "'");
        }
    }
    if (value.is(Kind::object) && name[0] != '_') {
        Value found = value.object().attribute(name);
        if (!found.is(Kind::missing)) return found;
    }
    return no_attribute(value, name);
}

Value get_item(const Value& value, const Value& key) {
    if (value.is(Kind::undefined)) fail(value.bytes());
    if (value.is(Kind::dict) && !key.is(Kind::list) && !key.is(Kind::dict)) {
        const Value* found = value.entries().find(key);
        if (found != nullptr) return *found;
    }
    int64_t length = 0;
    const bool has_places = value.is(Kind::text) || value.is_sequence() || value.as<Range>() != nullptr;
    if (has_places && key.is_whole() && length_of(value, length)) {
        const int64_t at = key.whole() < 0 ? key.whole() + length : key.whole();
        if (at >= 0 && at < length) {
            if (value.is(Kind::text)) return characters(value, at, 1, 1);
            if (const auto* range = value.as<Range>()) return Value(range->start + at * range->step);
            return value.items()[static_cast<size_t>(at)];
        }
    }
    if (key.is(Kind::text)) {
        if (key.bytes().rfind("__", 0) == 0) lack("the attribute '" + key.bytes() + "'");
        return value.is(Kind::dict) && find_method(value, key.bytes()) == Method::none
                   ? no_attribute(value, key.bytes())
                   : get_attribute(value, key.bytes());
    }
    return Value::undefined(shown_type(value) + " has no element " + (key.is(Kind::object) ? "" : repr(key)));
}

Value slice(const Value& value, const Value& start, const Value& stop, const Value& step) {
    if (value.is(Kind::undefined)) fail(value.bytes());
    const auto* range = value.as<Range>();
    int64_t length = 0;
    if (!(value.is(Kind::text) || value.is_sequence() || range != nullptr) || !length_of(value, length)) {
        lack(std::string("a slice of a ") + type_name(value));  // of constants jinja2 makes what is undefined
    }
    const int64_t by = to_index(step, 1);
    if (by == 0) fail("slice step cannot be zero");
    const auto clip = [&](const Value& index, int64_t otherwise) {
        if (index.is(Kind::none)) return otherwise;
        int64_t at = to_index(index, 0);
        if (at < 0) at = at < -length ? -1 : at + length;
        return std::clamp<int64_t>(at, by < 0 ? -1 : 0, by < 0 ? length - 1 : length);
    };
    const int64_t first = clip(start, by < 0 ? length - 1 : 0);
    const int64_t last = clip(stop, by < 0 ? -1 : length);
    const int64_t near = std::clamp<int64_t>(by, -length - 1, length + 1);  // further steps reach no item
    const int64_t count = Range(first, last, near).count();
    if (value.is(Kind::text)) return characters(value, first, count, near);
    if (range != nullptr) {
        if (near != by) lack("a step of this size");
        return Value::object(std::make_shared<Range>(range->start + first * range->step,
                                                     range->start + last * range->step, range->step * by));
    }
    Items items;
    for (int64_t at = 0; at < count; ++at) items.push_back(value.items()[static_cast<size_t>(first + at * near)]);
    return value.is(Kind::list) ? Value::list(std::move(items)) : Value::tuple(std::move(items));
}

}  // namespace edgelora::jinja
