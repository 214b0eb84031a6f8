#include "template/resolve.hpp"

#include <map>
#include <optional>
#include <set>

#include "template/lexer.hpp"
#include "template/tables.hpp"

namespace edgelora::jinja {

namespace {

using From = Load::From;

// The variables of one function, by the level of their block and their name.
struct Scope {
    Scope(Function& function_, Scope* outer_) : function(function_), outer(outer_) {
        for (Scope* scope = outer; scope != nullptr; scope = scope->outer) scope->function.has_inner = true;
    }
    int slot(int level, const std::string& name) {
        const auto [place, is_new] = slots.try_emplace({level, name}, function.slots);
        function.slots += is_new ? 1 : 0;
        return place->second;
    }
    Function& function;
    Scope* outer;
    std::map<std::pair<int, std::string>, int> slots;
};

struct Variable {
    int level;
    Scope* scope;
};

// The names of one block, as jinja2's idtracking follows them.
class Symbols {
   public:
    Symbols(const Symbols* parent, Scope& scope)
        : parent_(parent), scope_(&scope), level_(parent == nullptr ? 0 : parent->level_ + 1) {}

    std::optional<Variable> find(const std::string& name) const {
        for (const Symbols* block = this; block != nullptr; block = block->parent_) {
            if (block->names_.count(name) > 0) return Variable{block->level_, block->scope_};
        }
        return std::nullopt;
    }

    // Whether the variable that `name` means is a parameter.
    bool is_parameter(const std::string& name) const {
        for (const Symbols* block = this; block != nullptr; block = block->parent_) {
            if (block->names_.count(name) == 0) continue;
            const auto load = block->loads_.find(name);
            return load != block->loads_.end() && load->second.from == From::parameter;
        }
        return false;
    }

    void load(const std::string& name) {
        if (!find(name)) define(name, {From::context, {}});
    }

    void store(const std::string& name) {
        stores_.insert(name);
        if (names_.count(name) > 0) return;
        const auto outer = find(name);
        define(name, outer ? First{From::outer, outer} : First{From::nothing, {}});
    }

    void parameter(const std::string& name) {
        stores_.insert(name);
        define(name, {From::parameter, {}});
    }

    void visit(const Node& node, bool as_parameter = false) {
        const auto all = [&](const Nodes& nodes) {
            for (const auto& child : nodes) visit(*child);
        };
        switch (node.type) {
            case Type::name:
                if (as_parameter || node.role == Role::parameter) {
                    parameter(node.name);
                } else if (node.role == Role::store) {
                    store(node.name);
                } else {
                    load(node.name);
                }
                break;
            case Type::attribute_target: load(node.name); break;
            case Type::branch:
                visit(*node.a);
                branches(node);
                break;
            case Type::macro: store(node.name); break;
            case Type::assign:
                visit(*node.b);
                visit(*node.a);
                break;
            case Type::loop: visit(*node.b); break;
            case Type::with: all(node.more); break;
            case Type::call_block:
            case Type::filter_block:
            case Type::assign_block: visit(*node.a); break;
            default: for_each_child(node, [&](const Node& child) { visit(child, as_parameter); });
        }
    }

    Frame frame() const {
        Frame frame;
        for (const auto& [name, first] : loads_) {
            Load load{first.from, scope_->slot(level_, name), {}, name};
            if (first.outer) load.outer = place(name, *first.outer, *scope_);
            frame.loads.push_back(std::move(load));
        }
        return frame;
    }

    static Place place(const std::string& name, const Variable& variable, Scope& from) {
        int up = 0;
        for (Scope* scope = &from; scope != variable.scope; scope = scope->outer) ++up;
        return {up, variable.scope->slot(variable.level, name)};
    }

    Scope& scope() const { return *scope_; }

   private:
    struct First {
        From from;
        std::optional<Variable> outer;
    };

    void define(const std::string& name, First first) {
        names_.insert(name);
        loads_[name] = first;
    }

    void branches(const Node& node) {
        Symbols copies[3] = {*this, *this, *this};
        const Nodes* bodies[3] = {&node.body, &node.items, &node.orelse};
        std::set<std::string> stores;
        for (int at = 0; at < 3; ++at) {
            for (const auto& child : *bodies[at]) copies[at].visit(*child);
            stores.insert(copies[at].stores_.begin(), copies[at].stores_.end());
        }
        for (const auto& name : stores_) stores.erase(name);
        for (const Symbols& copy : copies) {
            names_.insert(copy.names_.begin(), copy.names_.end());
            for (const auto& [name, first] : copy.loads_) loads_[name] = first;
            stores_.insert(copy.stores_.begin(), copy.stores_.end());
        }
        for (const auto& name : stores) {
            const auto outer = parent_ == nullptr ? std::nullopt : parent_->find(name);
            loads_[name] = outer ? First{From::outer, outer} : First{From::context, {}};
        }
    }

    const Symbols* parent_;
    Scope* scope_;
    int level_;
    std::set<std::string> names_, stores_;
    std::map<std::string, First> loads_;
};

// Which of `names` are read before something else takes the name.
class Undeclared {
   public:
    Undeclared(const Nodes& nodes, std::set<std::string> names) : names_(std::move(names)) {
        for (const auto& node : nodes) visit(*node);
    }
    bool has(const std::string& name) const { return found_.count(name) > 0; }

   private:
    void visit(const Node& node) {
        if (!found_.empty() && found_ == names_) return;
        if (node.type == Type::name) {
            if (node.role == Role::load && names_.count(node.name) > 0) {
                found_.insert(node.name);
            } else {
                names_.erase(node.name);
            }
        }
        for_each_child(node, [&](const Node& child) { visit(child); });
    }
    std::set<std::string> names_, found_;
};

std::unique_ptr<Node> copy_target(const Node& target) {
    auto copy = std::make_unique<Node>();
    copy->type = target.type;
    copy->line = target.line;
    copy->name = target.name;
    copy->role = target.role;
    for (const auto& item : target.items) copy->items.push_back(copy_target(*item));
    return copy;
}

class Resolver {
   public:
    void body(Nodes& nodes, const Symbols& symbols, bool in_loop) {
        for (auto& node : nodes) statement(*node, symbols, in_loop);
    }

   private:
    static Place place(const Node& node, const std::string& name, const Symbols& symbols) {
        const auto variable = symbols.find(name);
        if (!variable) not_known(node.line, "the name '" + name + "' in this place");
        return Symbols::place(name, *variable, symbols.scope());
    }

    void all(Nodes& nodes, const Symbols& symbols, bool in_default = false) {
        for (auto& node : nodes) {
            if (node) expression(*node, symbols, in_default);
        }
    }

    void expression(Node& node, const Symbols& symbols, bool in_default = false) {
        switch (node.type) {
            case Type::name:
                if (node.name == "self") not_known(node.line, "the name 'self'");
                node.place = place(node, node.name, symbols);
                node.must_be_set = node.role == Role::load && !in_default && symbols.is_parameter(node.name);
                break;
            case Type::attribute_target: node.place = place(node, node.name, symbols); break;
            case Type::filter:
                node.filter = find_filter(node.name);
                if (node.filter == nullptr) not_known(node.line, "the filter '" + node.name + "'");
                break;
            case Type::test:
                node.test = find_test(node.name);
                if (node.test == nullptr) not_known(node.line, "the test '" + node.name + "'");
                break;
            case Type::attribute:
                if (node.name.rfind("__", 0) == 0) not_known(node.line, "the attribute '" + node.name + "'");
                break;
            case Type::call:
                if (node.a->type == Type::attribute && is_unknown_method(node.a->name)) {
                    not_known(node.line, "the method '" + node.a->name + "'");
                }
                break;
            default: break;
        }
        for (auto* child : {&node.a, &node.b, &node.c}) {
            if (*child) expression(**child, symbols, in_default);
        }
        all(node.items, symbols, in_default);
        all(node.more, symbols, in_default);
    }

    void statement(Node& node, const Symbols& symbols, bool in_loop) {
        switch (node.type) {
            case Type::output: all(node.items, symbols); break;
            case Type::assign:
                expression(*node.b, symbols);
                expression(*node.a, symbols);
                break;
            case Type::assign_block: {
                Symbols inner(&symbols, symbols.scope());
                for (const auto& child : node.body) inner.visit(*child);
                body(node.body, inner, in_loop);
                expression(*node.a, symbols);
                if (node.b) expression(*node.b, inner);
                node.frame = inner.frame();
                break;
            }
            case Type::filter_block: {
                Symbols inner(&symbols, symbols.scope());
                for_each_child(node, [&](const Node& child) { inner.visit(child); });
                body(node.body, inner, in_loop);
                expression(*node.a, inner);
                node.frame = inner.frame();
                break;
            }
            case Type::with: {
                Symbols inner(&symbols, symbols.scope());
                for (const auto& target : node.items) inner.visit(*target);
                for (const auto& child : node.body) inner.visit(*child);
                all(node.items, inner);
                all(node.more, symbols);
                body(node.body, inner, in_loop);
                node.frame = inner.frame();
                break;
            }
            case Type::branch:
                expression(*node.a, symbols);
                body(node.body, symbols, in_loop);
                body(node.items, symbols, in_loop);
                body(node.orelse, symbols, in_loop);
                break;
            case Type::macro:
                node.place = place(node, node.name, symbols);
                macro(node, symbols);
                break;
            case Type::call_block:
                macro(node, symbols);
                expression(*node.a, symbols);
                break;
            case Type::loop: loop(node, symbols, in_loop); break;
            case Type::stop:
            case Type::skip:
                if (!in_loop) refuse(node.line, "'break' and 'continue' stand in loops alone");
                break;
            default: refuse(node.line, "an expression in the place of a tag");
        }
    }

    void macro(Node& node, const Symbols& symbols) {
        node.function = std::make_unique<Function>();
        Scope scope(*node.function, &symbols.scope());
        Symbols inner(&symbols, scope);
        const Undeclared undeclared(node.body, {"caller", "kwargs", "varargs"});
        const auto visit = [&] {
            for (const Nodes* nodes : {&node.items, &node.more, &node.body}) {
                for (const auto& child : *nodes) inner.visit(*child);
            }
        };
        visit();
        for (const auto& [name, special] :
             {std::pair{"caller", &node.caller}, {"kwargs", &node.kwargs}, {"varargs", &node.varargs}}) {
            if (!undeclared.has(name)) continue;
            inner.parameter(name);
            *special = Symbols::place(name, *inner.find(name), scope);
        }
        visit();
        all(node.items, inner);
        all(node.more, inner, true);
        body(node.body, inner, false);
        node.frame = inner.frame();
    }

    void loop(Node& node, const Symbols& symbols, bool in_loop) {
        expression(*node.b, symbols);
        std::optional<Scope> own;
        if (node.flag) {
            node.function = std::make_unique<Function>();
            own.emplace(*node.function, &symbols.scope());
        }
        Symbols inner(&symbols, node.flag ? *own : symbols.scope());
        Symbols otherwise(&symbols, inner.scope());
        const bool is_extended = node.flag || Undeclared(node.body, {"loop"}).has("loop");
        if (is_extended) inner.parameter("loop");
        inner.visit(*node.a, true);
        for (const auto& child : node.body) inner.visit(*child);
        for (const auto& child : node.orelse) otherwise.visit(*child);
        if (is_extended) node.place = place(node, "loop", inner);
        if (node.c) {
            node.test_function = std::make_unique<Function>();
            Scope scope(*node.test_function, &symbols.scope());
            Symbols test(&symbols, scope);
            test.visit(*node.a, true);
            test.visit(*node.c);
            node.test_target = copy_target(*node.a);
            expression(*node.test_target, test);
            expression(*node.c, test);
            node.test_frame = test.frame();
        }
        expression(*node.a, inner);
        body(node.body, inner, true);
        body(node.orelse, otherwise, in_loop && !node.flag);
        node.frame = inner.frame();
        node.else_frame = otherwise.frame();
    }
};

}  // namespace

Program resolve(Nodes body) {
    Program program;
    program.body = std::move(body);
    Scope scope(program.function, nullptr);
    Symbols symbols(nullptr, scope);
    for (const auto& node : program.body) symbols.visit(*node);
    Resolver().body(program.body, symbols, false);
    program.frame = symbols.frame();
    return program;
}

}  // namespace edgelora::jinja
