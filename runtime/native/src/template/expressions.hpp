// Tokens -> expressions; `parser.cpp` has the statements around them.
#pragma once

#include <initializer_list>

#include "template/ast.hpp"
#include "template/lexer.hpp"

namespace edgelora::jinja {

class Expressions {
   public:
    explicit Expressions(std::vector<Lexeme> lexemes) : lexemes_(std::move(lexemes)) {}

   protected:
    using Expression = std::unique_ptr<Node>;

    const Lexeme& now() const { return lexemes_[at_]; }
    const Lexeme& ahead() const { return lexemes_[std::min(at_ + 1, lexemes_.size() - 1)]; }
    int line() const { return now().line; }
    const Lexeme& take();
    bool is(Token token) const { return now().token == token; }
    bool is_sign(const char* sign) const { return is(Token::sign) && now().text == sign; }
    bool is_word(const char* word) const { return is(Token::name) && now().text == word; }
    bool take_sign(const char* sign);
    bool take_word(const char* word);
    void expect_sign(const char* sign);
    void expect_word(const char* word);
    std::string expect_name();
    [[noreturn]] void unexpected(const std::string& expected) const;

    Expression make(Type type, int line) const;
    Expression tuple(bool has_choice, const char* end_word = nullptr, bool is_in_brackets = false);
    Expression target(const char* end_word = nullptr, bool has_attributes = false);
    Expression name_target(Role role);
    Expression expression(bool has_choice = true) { return has_choice ? choice() : either(); }
    Expression filters(Expression value, bool begins = false);
    void enter() {
        if (++depth_ > 100) refuse(line(), "it is nested too deep");
    }
    void leave() { --depth_; }

   private:
    Expression items(bool is_target, bool has_choice, const char* end_word, bool is_in_brackets, bool has_attributes);
    Expression choice();
    Expression either();
    Expression both();
    Expression negation();
    Expression comparison();
    Expression sum();
    Expression concat();
    Expression product();
    Expression power();
    Expression unary(bool has_filters);
    Expression primary(bool has_attributes = false);
    Expression postfix(Expression value);
    Expression filters_and_tests(Expression value);
    Expression call(Expression callee);
    Expression subscript(Expression value);
    Expression test(Expression value);
    Expression list();
    Expression dict();
    void arguments(Node& call);
    Expression join(Type type, Expression one, Expression other, int line) const;
    void measure(Node& node) const;
    void set_role(Node& target, Role role) const;

    std::vector<Lexeme> lexemes_;
    size_t at_ = 0;
    int depth_ = 0;
};

}  // namespace edgelora::jinja
