#include "template/expressions.hpp"

#include <algorithm>

namespace edgelora::jinja {

namespace {

constexpr int deepest_expression = 150;  // operators in a row count

std::string shown(const Lexeme& lexeme) {
    switch (lexeme.token) {
        case Token::data: return "text";
        case Token::variable_begin: return "{{";
        case Token::variable_end: return "}}";
        case Token::block_begin: return "{%";
        case Token::block_end: return "the end of the tag";
        case Token::end: return "the end of the template";
        case Token::number: return "a number";
        case Token::text: return "a text";
        default: return "'" + lexeme.text + "'";
    }
}

}  // namespace

const Lexeme& Expressions::take() {
    const Lexeme& taken = lexemes_[at_];
    if (at_ + 1 < lexemes_.size()) ++at_;
    return taken;
}

bool Expressions::take_sign(const char* sign) {
    if (!is_sign(sign)) return false;
    take();
    return true;
}

bool Expressions::take_word(const char* word) {
    if (!is_word(word)) return false;
    take();
    return true;
}

void Expressions::expect_sign(const char* sign) {
    if (!take_sign(sign)) unexpected(std::string("'") + sign + "'");
}

void Expressions::expect_word(const char* word) {
    if (!take_word(word)) unexpected(std::string("'") + word + "'");
}

std::string Expressions::expect_name() {
    if (!is(Token::name)) unexpected("a name");
    return take().text;
}

void Expressions::unexpected(const std::string& expected) const {
    refuse(line(), "expected " + expected + ", got " + shown(now()));
}

Expressions::Expression Expressions::make(Type type, int line) const {
    auto node = std::make_unique<Node>();
    node->type = type;
    node->line = line;
    return node;
}

void Expressions::measure(Node& node) const {
    node.depth = 1;
    for_each_child(node, [&](const Node& child) { node.depth = std::max(node.depth, child.depth + 1); });
    if (node.depth > deepest_expression) refuse(node.line, "an expression is nested too deep");
}

Expressions::Expression Expressions::join(Type type, Expression one, Expression other, int line) const {
    auto node = make(type, line);
    node->a = std::move(one);
    node->b = std::move(other);
    measure(*node);
    return node;
}

Expressions::Expression Expressions::tuple(bool has_choice, const char* end_word, bool is_in_brackets) {
    return items(false, has_choice, end_word, is_in_brackets, false);
}

Expressions::Expression Expressions::target(const char* end_word, bool has_attributes) {
    auto found = items(true, false, end_word, false, has_attributes);
    set_role(*found, Role::store);
    return found;
}

void Expressions::set_role(Node& target, Role role) const {
    if (target.type == Type::tuple) {
        for (auto& item : target.items) set_role(*item, role);
    } else if (target.type == Type::name) {
        target.role = role;
    } else if (target.type != Type::attribute_target) {
        refuse(target.line, "nothing can be assigned to this");
    }
}

Expressions::Expression Expressions::name_target(Role role) {
    auto found = make(Type::name, line());
    found->name = expect_name();
    found->role = role;
    for (const char* const word : {"true", "false", "none", "True", "False", "None"}) {
        if (found->name == word) refuse(found->line, "nothing can be assigned to '" + found->name + "'");
    }
    return found;
}

Expressions::Expression Expressions::items(bool is_target, bool has_choice, const char* end_word, bool is_in_brackets,
                                           bool has_attributes) {
    Nodes found;
    bool is_tuple = false;
    const int first = line();
    while (true) {
        if (!found.empty()) expect_sign(",");
        if (is(Token::variable_end) || is(Token::block_end) || is_sign(")") ||
            (end_word != nullptr && is_word(end_word)))
            break;
        found.push_back(is_target ? primary(has_attributes) : expression(has_choice));
        if (!is_sign(",")) break;
        is_tuple = true;
    }
    if (!is_tuple && !found.empty()) return std::move(found[0]);
    if (!is_tuple && !is_in_brackets) unexpected("an expression");
    auto node = make(Type::tuple, first);
    node->items = std::move(found);
    measure(*node);
    return node;
}

Expressions::Expression Expressions::choice() {
    enter();
    const int first = line();
    auto value = either();
    while (take_word("if")) {
        auto node = make(Type::choice, first);
        node->a = either();
        node->b = std::move(value);
        if (take_word("else")) node->c = choice();
        measure(*node);
        value = std::move(node);
    }
    leave();
    return value;
}

Expressions::Expression Expressions::either() {
    const int first = line();
    auto value = both();
    while (take_word("or")) value = join(Type::either, std::move(value), both(), first);
    return value;
}

Expressions::Expression Expressions::both() {
    const int first = line();
    auto value = negation();
    while (take_word("and")) value = join(Type::both, std::move(value), negation(), first);
    return value;
}

Expressions::Expression Expressions::negation() {
    const int first = line();
    if (!take_word("not")) return comparison();
    enter();
    auto value = join(Type::negation, negation(), nullptr, first);
    leave();
    return value;
}

Expressions::Expression Expressions::comparison() {
    auto node = make(Type::compare, line());
    node->a = sum();
    while (true) {
        static const char* const operators[] = {"==", "!=", "<", "<=", ">", ">="};
        const auto* found =
            std::find_if(std::begin(operators), std::end(operators), [&](const char* o) { return is_sign(o); });
        if (found != std::end(operators)) {
            take();
            node->names.emplace_back(*found);
        } else if (take_word("in")) {
            node->names.emplace_back("in");
        } else if (is_word("not") && ahead().token == Token::name && ahead().text == "in") {
            take();
            take();
            node->names.emplace_back("not in");
        } else {
            break;
        }
        node->items.push_back(sum());
    }
    if (node->items.empty()) return std::move(node->a);
    measure(*node);
    return node;
}

Expressions::Expression Expressions::sum() {
    const int first = line();
    auto value = concat();
    while (is_sign("+") || is_sign("-")) {
        const std::string sign = take().text;
        value = join(Type::binary, std::move(value), concat(), first);
        value->name = sign;
    }
    return value;
}

Expressions::Expression Expressions::concat() {
    auto node = make(Type::concat, line());
    node->items.push_back(product());
    while (take_sign("~")) node->items.push_back(product());
    if (node->items.size() == 1) return std::move(node->items[0]);
    measure(*node);
    return node;
}

Expressions::Expression Expressions::product() {
    const int first = line();
    auto value = power();
    while (is_sign("*") || is_sign("/") || is_sign("//") || is_sign("%")) {
        const std::string sign = take().text;
        value = join(Type::binary, std::move(value), power(), first);
        value->name = sign;
    }
    return value;
}

Expressions::Expression Expressions::power() {
    const int first = line();
    auto value = unary(true);
    while (take_sign("**")) {
        value = join(Type::binary, std::move(value), unary(true), first);
        value->name = "**";
    }
    return value;
}

Expressions::Expression Expressions::unary(bool has_filters) {
    enter();
    const int first = line();
    Expression value;
    if (take_sign("-")) {
        value = join(Type::minus, unary(false), nullptr, first);
    } else if (take_sign("+")) {
        value = join(Type::plus, unary(false), nullptr, first);
    } else {
        value = primary();
    }
    value = postfix(std::move(value));
    if (has_filters) value = filters_and_tests(std::move(value));
    leave();
    return value;
}

}  // namespace edgelora::jinja
