#include "template/parser.hpp"

#include <algorithm>

#include "template/expressions.hpp"

namespace edgelora::jinja {

namespace {

class Parser : Expressions {
   public:
    using Expressions::Expressions;

    Nodes run() {
        Nodes body = statements({});
        if (!is(Token::end)) unexpected("the end of the template");
        return body;
    }

   private:
    using Words = std::initializer_list<const char*>;

    // Statements and text up to a tag that `ends` names; its word is the next token then.
    Nodes statements(Words ends) {
        enter();
        Nodes body;
        Node* text = nullptr;  // output grows until a tag
        const auto output = [&]() -> Nodes& {
            if (text == nullptr) {
                body.push_back(make(Type::output, line()));
                text = body.back().get();
            }
            return text->items;
        };
        while (!is(Token::end)) {
            if (is(Token::data)) {
                auto node = make(Type::constant, line());
                node->value = Value(take().text);
                output().push_back(std::move(node));
            } else if (is(Token::variable_begin)) {
                take();
                output().push_back(tuple(true));
                if (!is(Token::variable_end)) unexpected("'}}'");
                take();
            } else {
                text = nullptr;
                take();  // {%
                if (std::any_of(ends.begin(), ends.end(), [&](const char* word) { return is_word(word); })) {
                    leave();
                    return body;
                }
                statement(body);
                if (!is(Token::block_end)) unexpected("the end of the tag");
                take();
            }
        }
        if (ends.size() > 0) refuse(line(), std::string("it ends without '") + *ends.begin() + "'");
        leave();
        return body;
    }

    Nodes block(Words ends, bool takes_word = true) {
        take_sign(":");
        if (!is(Token::block_end)) unexpected("the end of the tag");
        take();
        Nodes body = statements(ends);
        if (takes_word) take();
        return body;
    }

    void statement(Nodes& body) {
        if (!is(Token::name)) unexpected("a tag");
        const int first = line();
        const std::string tag = now().text;
        if (tag == "for") {
            body.push_back(loop());
        } else if (tag == "if") {
            body.push_back(branch());
        } else if (tag == "set") {
            body.push_back(set());
        } else if (tag == "macro") {
            body.push_back(macro());
        } else if (tag == "call") {
            body.push_back(call_block());
        } else if (tag == "filter") {
            take();
            auto node = make(Type::filter_block, first);
            node->a = filters(nullptr, true);
            node->body = block({"endfilter"});
            body.push_back(std::move(node));
        } else if (tag == "with") {
            body.push_back(with());
        } else if (tag == "print") {
            take();
            auto node = make(Type::output, first);
            while (!is(Token::block_end)) {
                if (!node->items.empty()) expect_sign(",");
                node->items.push_back(expression());
            }
            body.push_back(std::move(node));
        } else if (tag == "break" || tag == "continue") {
            take();
            body.push_back(make(tag == "break" ? Type::stop : Type::skip, first));
        } else if (tag == "generation") {  // marks what the assistant wrote; the text is the same
            take();
            Nodes inner = block({"endgeneration"});
            for (auto& node : inner) body.push_back(std::move(node));
        } else if (tag == "block" || tag == "extends" || tag == "include" || tag == "import" || tag == "from" ||
                   tag == "autoescape") {
            not_known(first, "the tag '" + tag + "'");
        } else {
            refuse(first, "unknown tag '" + tag + "'");
        }
    }

    Expression loop() {
        auto node = make(Type::loop, line());
        take();
        node->a = target("in");
        expect_word("in");
        node->b = tuple(false, "recursive");
        if (take_word("if")) node->c = expression();
        node->flag = take_word("recursive");
        node->body = block({"endfor", "else"}, false);
        if (take().text == "else") node->orelse = block({"endfor"});
        check_loop_name(*node);
        return node;
    }

    static void check_loop_name(const Node& node) {
        if (node.type == Type::name && node.role == Role::store && node.name == "loop") {
            refuse(node.line, "nothing can be assigned to 'loop' in a loop");
        }
        for_each_child(node, [](const Node& child) { check_loop_name(child); });
    }

    Expression branch() {
        auto first = make(Type::branch, line());
        Node* node = first.get();
        take();
        while (true) {
            node->a = tuple(false);
            node->body = block({"elif", "else", "endif"}, false);
            const std::string word = take().text;
            if (word == "elif") {
                first->items.push_back(make(Type::branch, line()));
                node = first->items.back().get();
                continue;
            }
            if (word == "else") first->orelse = block({"endif"});
            return first;
        }
    }

    Expression set() {
        const int first = line();
        take();
        auto place = target(nullptr, true);
        if (take_sign("=")) {
            auto node = make(Type::assign, first);
            node->a = std::move(place);
            node->b = tuple(true);
            return node;
        }
        auto node = make(Type::assign_block, first);
        node->a = std::move(place);
        node->b = filters(nullptr);
        node->body = block({"endset"});
        return node;
    }

    void signature(Node& node) {
        expect_sign("(");
        while (!is_sign(")")) {
            if (!node.items.empty()) expect_sign(",");
            auto parameter = name_target(Role::parameter);
            for (const char* const word : {"caller", "kwargs", "varargs"}) {
                if (parameter->name == word) not_known(parameter->line, "a parameter '" + parameter->name + "'");
            }
            for (const auto& other : node.items) {
                if (other->name == parameter->name) refuse(parameter->line, "two parameters '" + parameter->name + "'");
            }
            if (take_sign("=")) {
                node.more.push_back(expression());
            } else if (!node.more.empty()) {
                refuse(line(), "a parameter without a default behind one that has one");
            }
            node.items.push_back(std::move(parameter));
        }
        expect_sign(")");
    }

    Expression macro() {
        auto node = make(Type::macro, line());
        take();
        node->name = name_target(Role::store)->name;
        signature(*node);
        node->body = block({"endmacro"});
        return node;
    }

    Expression call_block() {
        auto node = make(Type::call_block, line());
        take();
        if (is_sign("(")) signature(*node);
        node->a = expression();
        if (node->a->type != Type::call) refuse(node->line, "expected a call");
        const auto& names = node->a->names;
        if (std::find(names.begin(), names.end(), "caller") != names.end())
            refuse(node->line, "'caller' is given twice");
        node->body = block({"endcall"});
        return node;
    }

    Expression with() {
        auto node = make(Type::with, line());
        take();
        while (!is(Token::block_end)) {
            if (!node->items.empty()) expect_sign(",");
            auto place = target();
            if (place->type != Type::name) not_known(place->line, "several names at once in the tag 'with'");
            place->role = Role::parameter;
            node->items.push_back(std::move(place));
            expect_sign("=");
            node->more.push_back(expression());
        }
        node->body = block({"endwith"});
        return node;
    }
};

}  // namespace

Nodes parse(std::string_view source) { return Parser(cut(source)).run(); }

}  // namespace edgelora::jinja
