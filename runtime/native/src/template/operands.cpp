// Names, literals, and what stands behind them: attributes, keys, calls, filters and tests.

#include <algorithm>

#include "template/expressions.hpp"

namespace edgelora::jinja {

Expressions::Expression Expressions::primary(bool has_attributes) {
    const int first = line();
    if (is_sign("[")) return list();
    if (is_sign("{")) return dict();
    if (take_sign("(")) {
        auto value = tuple(true, nullptr, true);
        expect_sign(")");
        return value;
    }
    auto node = make(Type::constant, first);
    if (is(Token::text)) {
        std::string text;
        while (is(Token::text)) text += take().text;
        node->value = Value(std::move(text));
    } else if (is(Token::number)) {
        node->value = take().number;
    } else if (is(Token::name)) {
        const std::string name = take().text;
        if (name == "true" || name == "True" || name == "false" || name == "False") {
            node->value = Value(name == "true" || name == "True");
        } else if (name == "none" || name == "None") {
            node->value = Value::none();
        } else {
            node->type = Type::name;
            node->name = name;
            if (has_attributes && take_sign(".")) {
                node->type = Type::attribute_target;
                node->attribute = expect_name();
            }
        }
    } else {
        unexpected("an expression");
    }
    return node;
}

Expressions::Expression Expressions::list() {
    auto node = make(Type::list, line());
    expect_sign("[");
    while (!is_sign("]")) {
        if (!node->items.empty()) expect_sign(",");
        if (is_sign("]")) break;
        node->items.push_back(expression());
    }
    expect_sign("]");
    measure(*node);
    return node;
}

Expressions::Expression Expressions::dict() {
    auto node = make(Type::dict, line());
    expect_sign("{");
    while (!is_sign("}")) {
        if (!node->items.empty()) expect_sign(",");
        if (is_sign("}")) break;
        node->items.push_back(expression());
        expect_sign(":");
        node->more.push_back(expression());
    }
    expect_sign("}");
    measure(*node);
    return node;
}

Expressions::Expression Expressions::postfix(Expression value) {
    while (true) {
        if (is_sign(".") || is_sign("[")) {
            value = subscript(std::move(value));
        } else if (is_sign("(")) {
            value = call(std::move(value));
        } else {
            return value;
        }
    }
}

Expressions::Expression Expressions::filters_and_tests(Expression value) {
    while (true) {
        if (is_sign("|")) {
            value = filters(std::move(value));
        } else if (is_word("is")) {
            value = test(std::move(value));
        } else if (is_sign("(")) {
            value = call(std::move(value));
        } else {
            return value;
        }
    }
}

Expressions::Expression Expressions::call(Expression callee) {
    auto node = make(Type::call, line());
    node->a = std::move(callee);
    arguments(*node);
    return node;
}

Expressions::Expression Expressions::subscript(Expression value) {
    const int first = line();
    if (take_sign(".")) {
        if (is(Token::number) && now().number.is(Kind::integer)) {
            auto key = make(Type::constant, first);
            key->value = take().number;
            return join(Type::item, std::move(value), std::move(key), first);
        }
        auto node = make(Type::attribute, first);
        node->a = std::move(value);
        node->name = expect_name();
        measure(*node);
        return node;
    }
    expect_sign("[");
    Nodes keys;
    bool is_slice = false;
    auto slice = make(Type::slice, first);
    while (!is_sign("]")) {
        if (!keys.empty()) expect_sign(",");
        Expression part = is_sign(":") ? nullptr : expression();
        if (!is_sign(":")) {
            keys.push_back(std::move(part));
            continue;
        }
        is_slice = true;
        slice->items.push_back(std::move(part));
        while (slice->items.size() < 3 && take_sign(":")) {
            const bool is_empty = is_sign(":") || is_sign("]") || is_sign(",");
            slice->items.push_back(is_empty ? nullptr : expression());
        }
        slice->items.resize(3);
        if (!is_sign("]")) not_known(first, "a slice beside other keys");
    }
    expect_sign("]");
    if (is_slice) {
        if (!keys.empty()) not_known(first, "a slice beside other keys");
        slice->a = std::move(value);
        measure(*slice);
        return slice;
    }
    if (keys.size() == 1) return join(Type::item, std::move(value), std::move(keys[0]), first);
    auto key = make(Type::tuple, first);
    key->items = std::move(keys);
    measure(*key);
    return join(Type::item, std::move(value), std::move(key), first);
}

void Expressions::arguments(Node& call) {
    const int first = line();
    expect_sign("(");
    bool needs_comma = false;
    while (!is_sign(")")) {
        if (needs_comma) {
            expect_sign(",");
            if (is_sign(")")) break;
        }
        needs_comma = true;
        const bool is_named = is(Token::name) && ahead().token == Token::sign && ahead().text == "=";
        const bool is_many = is_sign("*") || is_sign("**");
        if (call.c || (!is_named && is_sign("*") && call.b) ||
            (!is_named && !is_many && (call.b || !call.names.empty()))) {
            refuse(first, "invalid syntax for function call expression");
        }
        if (take_sign("*")) {
            call.b = expression();
        } else if (take_sign("**")) {
            call.c = expression();
        } else if (is_named) {
            call.names.push_back(take().text);
            take();
            if (std::count(call.names.begin(), call.names.end(), call.names.back()) > 1) {
                refuse(first, "the argument '" + call.names.back() + "' is given twice");
            }
            call.more.push_back(expression());
        } else {
            call.items.push_back(expression());
        }
    }
    expect_sign(")");
    measure(call);
}

Expressions::Expression Expressions::filters(Expression value, bool begins) {
    while (is_sign("|") || begins) {
        if (!begins) take();
        begins = false;
        auto node = make(Type::filter, line());
        node->name = expect_name();
        while (take_sign(".")) node->name += "." + expect_name();
        node->a = std::move(value);
        if (is_sign("(")) {
            arguments(*node);
        } else {
            measure(*node);
        }
        value = std::move(node);
    }
    return value;
}

Expressions::Expression Expressions::test(Expression value) {
    auto node = make(Type::test, line());
    take();
    const bool is_negated = take_word("not");
    node->line = line();
    node->name = expect_name();
    while (take_sign(".")) node->name += "." + expect_name();
    node->a = std::move(value);
    const bool begins = is(Token::name) || is(Token::text) || is(Token::number) || is_sign("[") || is_sign("{");
    if (is_sign("(")) {
        arguments(*node);
    } else if (begins && !is_word("else") && !is_word("or") && !is_word("and")) {
        if (is_word("is")) refuse(line(), "tests cannot be chained");
        node->items.push_back(postfix(primary()));
    }
    measure(*node);
    if (!is_negated) return node;
    const int first = node->line;
    return join(Type::negation, std::move(node), nullptr, first);
}

}  // namespace edgelora::jinja
