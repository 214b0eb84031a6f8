// Tests: what stands behind "is", and what select and reject ask.

#include "template/letters.hpp"
#include "template/machine.hpp"
#include "template/operations.hpp"

namespace edgelora::jinja {

namespace {

template <Kind kind>
Value is_kind(Machine&, const Value& value, const Args& args) {
    args.bind({});
    return Value(value.is(kind));
}

Value defined(Machine&, const Value& value, const Args& args) {
    args.bind({});
    return Value(!value.is(Kind::undefined));
}

template <bool flag>
Value is_flag(Machine&, const Value& value, const Args& args) {
    args.bind({});
    return Value(value.is(Kind::boolean) && (value.whole() != 0) == flag);
}

Value number(Machine&, const Value& value, const Args& args) {
    args.bind({});
    return Value(value.is_number());
}

Value sequence(Machine&, const Value& value, const Args& args) {
    args.bind({});
    int64_t length = 0;
    return Value(value.as<View>() == nullptr && length_of(value, length));
}

Value iterable(Machine&, const Value& value, const Args& args) {
    args.bind({});
    return Value(iterate(value) != nullptr || value.as<Loop>() != nullptr);
}

Value callable(Machine&, const Value& value, const Args& args) {
    args.bind({});
    if (!value.is(Kind::object)) return Value(value.is(Kind::undefined));
    const std::string type = type_name(value);
    return Value(type == "Macro" || type == "method" || type == "function" || type == "LoopContext" ||
                 type == "Joiner");
}

Value escaped(Machine&, const Value& value, const Args& args) {
    args.bind({});
    return Value(value.is_safe());
}

// Whether all letters of a text have one case, and there are some.
template <bool is_upper>
Value has_case(Machine& machine, const Value& value, const Args& args) {
    args.bind({});
    return call_text_method(machine, Value(to_text(value)), is_upper ? "isupper" : "islower", {});
}

Value remainder(Machine& machine, const Value& value, const Value& by) {
    if (value.is(Kind::text)) lack("the remainder of a text");
    return binary(machine.budget, "%", value, by);
}

template <int64_t rest>
Value of_two(Machine& machine, const Value& value, const Args& args) {
    args.bind({});
    return Value(equals(remainder(machine, value, Value(int64_t{2})), Value(rest)));
}

Value divisible(Machine& machine, const Value& value, const Args& args) {
    return Value(equals(remainder(machine, value, args.bind({"num"}, 1)[0]), Value(int64_t{0})));
}

Value same(Machine&, const Value& value, const Args& args) {
    const Value other = args.bind({"other"}, 1)[0];
    for (const Value* one : {&value, &other}) {
        if (one->is(Kind::none) || one->is(Kind::boolean))
            return Value(value.kind() == other.kind() && value.whole() == other.whole());
    }
    lack("the test 'sameas' of such values");
}

Value in(Machine& machine, const Value& value, const Args& args) {
    return Value(contains(machine.budget, args.bind({"seq"}, 1)[0], value));
}

enum class Sign { equal, unequal, less, less_equal, greater, greater_equal };

template <Sign sign>
Value compared(Machine& machine, const Value& value, const Args& args) {
    static const char* const signs[] = {"==", "!=", "<", "<=", ">", ">="};
    if (!args.named.empty() || args.items.size() != 1) fail("a comparison takes one argument");
    return Value(compare(machine.budget, signs[static_cast<int>(sign)], value, args.items[0]));
}

const Test tests[] = {
    {"odd", of_two<1>},
    {"even", of_two<0>},
    {"divisibleby", divisible},
    {"defined", defined},
    {"undefined", is_kind<Kind::undefined>},
    {"none", is_kind<Kind::none>},
    {"boolean", is_kind<Kind::boolean>},
    {"false", is_flag<false>},
    {"true", is_flag<true>},
    {"integer", is_kind<Kind::integer>},
    {"float", is_kind<Kind::real>},
    {"lower", has_case<false>},
    {"upper", has_case<true>},
    {"string", is_kind<Kind::text>},
    {"mapping", is_kind<Kind::dict>},
    {"number", number},
    {"sequence", sequence},
    {"iterable", iterable},
    {"callable", callable},
    {"sameas", same},
    {"escaped", escaped},
    {"in", in},
    {"==", compared<Sign::equal>},
    {"eq", compared<Sign::equal>},
    {"equalto", compared<Sign::equal>},
    {"!=", compared<Sign::unequal>},
    {"ne", compared<Sign::unequal>},
    {">", compared<Sign::greater>},
    {"gt", compared<Sign::greater>},
    {"greaterthan", compared<Sign::greater>},
    {"ge", compared<Sign::greater_equal>},
    {">=", compared<Sign::greater_equal>},
    {"<", compared<Sign::less>},
    {"lt", compared<Sign::less>},
    {"lessthan", compared<Sign::less>},
    {"<=", compared<Sign::less_equal>},
    {"le", compared<Sign::less_equal>},
};

}  // namespace

const Test* find_test(std::string_view name) {
    for (const Test& test : tests) {
        if (test.name == name) return &test;
    }
    return nullptr;
}

}  // namespace edgelora::jinja
