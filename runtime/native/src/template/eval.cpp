// Values of expressions.

#include "template/machine.hpp"
#include "template/operations.hpp"

namespace edgelora::jinja {

Value Machine::eval(const Node& node, Activation& here) {
    const Level level(budget);
    switch (node.type) {
        case Type::constant: return node.value;
        case Type::name: return eval_name(node, here);
        case Type::attribute: return get_attribute(eval(*node.a, here), node.name);
        case Type::item: {
            const Value value = eval(*node.a, here);
            return get_item(value, eval(*node.b, here));
        }
        case Type::call: return eval_call(node, here, nullptr);
        case Type::filter: return eval_filter(node, here, nullptr);
        case Type::test: {
            const Value value = eval(*node.a, here);
            return node.test->run(*this, value, eval_args(node, here));
        }
        case Type::choice:
            if (is_true(eval(*node.a, here))) return eval(*node.b, here);
            return node.c ? eval(*node.c, here)
                          : Value::undefined("the inline if-expression on line " + std::to_string(node.line) +
                                             " evaluated to false and no else section was defined.");
        case Type::negation: return Value(!is_true(eval(*node.a, here)));
        case Type::both: {
            Value value = eval(*node.a, here);
            return is_true(value) ? eval(*node.b, here) : value;
        }
        case Type::either: {
            Value value = eval(*node.a, here);
            return is_true(value) ? value : eval(*node.b, here);
        }
        case Type::compare: return eval_comparison(node, here);
        case Type::list:
        case Type::tuple:
        case Type::dict:
        case Type::slice: return eval_container(node, here);
        default: return eval_operation(node, here);
    }
}

Value Machine::eval_name(const Node& node, Activation& here) {
    const Value& value = slot(node.place, here);
    if (!value.is(Kind::missing)) return value;
    if (node.must_be_set) fail("the name '" + node.name + "' is used behind its block");
    return Value::undefined("'" + node.name + "' is undefined");
}

Value Machine::eval_container(const Node& node, Activation& here) {
    if (node.type == Type::slice) {
        const Value value = eval(*node.a, here);
        Value parts[3];
        for (size_t at = 0; at < 3; ++at) parts[at] = node.items[at] ? eval(*node.items[at], here) : Value::none();
        return slice(value, parts[0], parts[1], parts[2]);
    }
    if (node.type == Type::dict) {
        auto entries = std::make_shared<Dict>();
        for (size_t at = 0; at < node.items.size(); ++at) {
            const Value key = eval(*node.items[at], here);
            entries->put(key, eval(*node.more[at], here));
        }
        return measured(budget, Value::dict(std::move(entries)));
    }
    Items items;
    for (const auto& item : node.items) items.push_back(eval(*item, here));
    return measured(budget, node.type == Type::list ? Value::list(std::move(items)) : Value::tuple(std::move(items)));
}

Value Machine::eval_comparison(const Node& node, Activation& here) {
    Value one = eval(*node.a, here);
    for (size_t at = 0; at < node.items.size(); ++at) {
        Value other = eval(*node.items[at], here);
        if (!compare(budget, node.names[at], one, other)) return Value(false);
        one = std::move(other);
    }
    return Value(true);
}

Value Machine::eval_operation(const Node& node, Activation& here) {
    if (node.type == Type::concat) {
        Output joined;
        for (const auto& item : node.items) write(joined, eval(*item, here));
        return text_of(joined);
    }
    if (node.type == Type::minus) return negate(eval(*node.a, here));
    if (node.type == Type::plus) return keep_sign(eval(*node.a, here));
    if (node.type != Type::binary) fail("an expression is not known");
    const Value one = eval(*node.a, here);
    const Value other = eval(*node.b, here);
    if (node.name != "%" || !one.is(Kind::text)) return binary(budget, node.name, one, other);
    if (one.is_safe()) lack("a format that is marked as safe");
    return format_percent(*this, one.bytes(), other);
}

Args Machine::eval_args(const Node& node, Activation& here) {
    Args args;
    for (const auto& item : node.items) args.items.push_back(eval(*item, here));
    for (size_t at = 0; at < node.names.size(); ++at)
        args.named.emplace_back(node.names[at], eval(*node.more[at], here));
    if (node.b) {
        for (Value& item : to_items(eval(*node.b, here), budget)) args.items.push_back(std::move(item));
    }
    if (node.c) {
        const Value more = eval(*node.c, here);
        if (!more.is(Kind::dict)) fail("argument after ** must be a mapping");
        for (const auto& [key, value] : more.entries().entries) {
            if (!key.is(Kind::text)) fail("keywords must be strings");
            for (const auto& given : args.named) {
                if (given.first == key.bytes()) fail("multiple values for keyword argument '" + given.first + "'");
            }
            args.named.emplace_back(key.bytes(), value);
        }
    }
    return args;
}

Value Machine::eval_call(const Node& node, Activation& here, const Value* caller) {
    const Value function = eval(*node.a, here);
    Args args = eval_args(node, here);
    if (caller != nullptr) args.named.emplace_back("caller", *caller);
    return call(function, args);
}

Value Machine::eval_filter(const Node& node, Activation& here, const Value* block) {
    Value value;
    if (!node.a) {
        value = *block;
    } else if (node.a->type == Type::filter) {
        value = eval_filter(*node.a, here, block);
    } else {
        value = eval(*node.a, here);
    }
    const Args args = eval_args(node, here);
    return run_filter(*this, *node.filter, value, args);
}

}  // namespace edgelora::jinja
