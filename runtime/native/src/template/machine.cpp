#include "template/machine.hpp"

#include <algorithm>

#include "template/operations.hpp"

namespace edgelora::jinja {

// The items of a loop for which its condition holds.
struct Condition : Iterator {
    bool next(Value& item) override {
        if (!entered) machine->enter(node->test_frame, *here);
        entered = true;
        while (source->next(item)) {
            machine->assign(*node->test_target, item, *here);
            if (is_true(machine->eval(*node->c, *here))) {
                item = machine->value_of(*node->test_target, *here);
                return true;
            }
        }
        return false;
    }
    Machine* machine = nullptr;
    const Node* node = nullptr;
    Activation* here = nullptr;
    std::unique_ptr<Activation> own;
    std::shared_ptr<Iterator> source;
    bool entered = false;
};

// Each item is a step.
struct Counted : Iterator {
    bool has_length() const override { return source->has_length(); }
    size_t length() const override { return source->length(); }
    bool next(Value& item) override {
        if (!source->next(item)) return false;
        budget->step();
        if (item.is_sequence()) measured(*budget, item);
        return true;
    }
    Budget* budget = nullptr;
    std::shared_ptr<Iterator> source;
};

Value Macro::attribute(std::string_view attribute) {
    if (attribute == "name") return node->type == Type::macro ? Value(node->name) : Value::none();
    for (const char* const other : {"arguments", "catch_kwargs", "catch_varargs", "caller", "explicit_caller"}) {
        if (attribute == other) lack("the attribute '" + std::string(attribute) + "' of a macro");
    }
    return Value();
}

bool Loop::peek() {
    Value item;
    if (after.is(Kind::missing) && source->next(item)) after = std::move(item);
    return !after.is(Kind::missing);
}

bool Loop::advance() {
    Value item = std::move(after);
    after = Value();
    if (item.is(Kind::missing) && !source->next(item)) return false;
    ++index0;
    before = std::move(current);
    current = std::move(item);
    return true;
}

int64_t Loop::length() {
    if (known_length < 0) {
        if (source->has_length()) {
            known_length = static_cast<int64_t>(source->length());
        } else {
            Items rest;
            for (Value item; source->next(item);) rest.push_back(item);
            known_length = static_cast<int64_t>(rest.size()) + index0 + 1 + (after.is(Kind::missing) ? 0 : 1);
            source = iterate(Value::list(std::move(rest)));
        }
    }
    return known_length;
}

Value Loop::attribute(std::string_view attribute) {
    if (attribute == "index") return Value(index0 + 1);
    if (attribute == "index0") return Value(index0);
    if (attribute == "first") return Value(index0 == 0);
    if (attribute == "last") return Value(!peek());
    if (attribute == "length") return Value(length());
    if (attribute == "revindex") return Value(length() - index0);
    if (attribute == "revindex0") return Value(length() - index0 - 1);
    if (attribute == "depth") return Value(depth0 + 1);
    if (attribute == "depth0") return Value(depth0);
    if (attribute == "previtem") return index0 == 0 ? Value::undefined("there is no previous item") : before;
    if (attribute == "nextitem") return peek() ? after : Value::undefined("there is no next item");
    return Value();
}

Machine::Machine(const Program& program, const Json& context, std::string date)
    : program_(program), context_(Value::from_json(context)), date_(std::move(date)) {}

Machine::~Machine() {
    for (const auto& space : namespaces_) {  // they may hold one another
        auto attributes = std::move(space->attributes);
        space->attributes = Dict();
    }
}

std::string Machine::run() {
    std::unique_ptr<Activation> own;
    Activation& here = activate(program_.function, nullptr, own);
    enter(program_.frame, here);
    Output out;
    run(program_.body, here, out);
    return std::move(out.bytes);
}

Activation& Machine::activate(const Function& function, Activation* outer, std::unique_ptr<Activation>& own) {
    auto made = std::make_unique<Activation>(function, outer);
    if (!function.has_inner) {
        own = std::move(made);
        return *own;
    }
    budget.spend(8 * (made->slots.size() + 1));
    kept_.push_back(std::move(made));
    return *kept_.back();
}

Value& Machine::slot(const Place& place, Activation& here) {
    Activation* activation = &here;
    for (int up = place.functions_up; up > 0; --up) activation = activation->outer;
    return activation->slots[static_cast<size_t>(place.slot)];
}

Value Machine::look_up(const std::string& name) const {
    const Value* found = context_.entries().find_key(name);
    if (found != nullptr) return *found;
    return find_global(name);
}

void Machine::enter(const Frame& frame, Activation& here) {
    for (const Load& load : frame.loads) {
        Value& value = here.slots[static_cast<size_t>(load.slot)];
        switch (load.from) {
            case Load::From::nothing: value = Value(); break;
            case Load::From::context: value = look_up(load.name); break;
            case Load::From::outer: value = slot(load.outer, here); break;
            case Load::From::parameter: break;
        }
    }
}

void Machine::leave(const Frame& frame, Activation& here) {
    for (const Load& load : frame.loads) here.slots[static_cast<size_t>(load.slot)] = Value();
}

void Machine::write(Output& out, const Value& value) {
    if (!value.is(Kind::text)) {
        if (!value.is(Kind::undefined)) write(out, Value(repr(value)));
        return;
    }
    out.length += value.text().length;
    budget.check_size(out.length);
    budget.spend(value.text().length);
    out.bytes += value.bytes();
}

void Machine::write_text(Output& out, const Value& value) {  // jinja2 prints no other value of such a block
    if (!value.is(Kind::text))
        fail(std::string("sequence item: expected str instance, ") + type_name(value) + " found");
    write(out, value);
}

Value Machine::text_of(Output& out) { return Value(std::move(out.bytes)); }

Machine::Flow Machine::run(const Nodes& body, Activation& here, Output& out) {
    for (const auto& node : body) {
        const Flow flow = run(*node, here, out);
        if (flow != Flow::next) return flow;
    }
    return Flow::next;
}

Machine::Flow Machine::run(const Node& node, Activation& here, Output& out) {
    const Level level(budget);
    switch (node.type) {
        case Type::output:
            for (const auto& item : node.items) write(out, eval(*item, here));
            return Flow::next;
        case Type::assign: assign(*node.a, eval(*node.b, here), here); return Flow::next;
        case Type::branch: {
            if (is_true(eval(*node.a, here))) return run(node.body, here, out);
            for (const auto& other : node.items) {
                if (is_true(eval(*other->a, here))) return run(other->body, here, out);
            }
            return run(node.orelse, here, out);
        }
        case Type::loop: return run_loop(node, here, out);
        case Type::stop: return Flow::stop;
        case Type::skip: return Flow::skip;
        case Type::macro:
        case Type::call_block: {
            auto macro = std::make_shared<Macro>();
            macro->node = &node;
            macro->home = &here;
            const Value made = Value::object(std::move(macro));
            if (node.type == Type::macro) {
                slot(node.place, here) = made;
            } else {
                write_text(out, eval_call(*node.a, here, &made));
            }
            return Flow::next;
        }
        case Type::assign_block:
        case Type::filter_block: {
            enter(node.frame, here);
            Output inner;
            const Flow flow = run(node.body, here, inner);
            if (flow != Flow::next) return flow;
            Value text = text_of(inner);
            if (node.type == Type::filter_block) {
                write_text(out, eval_filter(*node.a, here, &text));
            } else {
                assign(*node.a, node.b ? eval_filter(*node.b, here, &text) : text, here);
            }
            leave(node.frame, here);
            return Flow::next;
        }
        case Type::with: {
            enter(node.frame, here);
            for (size_t at = 0; at < node.items.size(); ++at) assign(*node.items[at], eval(*node.more[at], here), here);
            const Flow flow = run(node.body, here, out);
            if (flow == Flow::next) leave(node.frame, here);
            return flow;
        }
        default: fail("a statement is not known");
    }
}

Machine::Flow Machine::run_loop(const Node& node, Activation& here, Output& out) {
    const Value items = eval(*node.b, here);
    if (!node.flag) return turns(node, items, 0, here, here, out);
    std::unique_ptr<Activation> own;
    Activation& inner = activate(*node.function, &here, own);
    Output text;
    turns(node, items, 0, inner, here, text);
    write(out, text_of(text));
    return Flow::next;
}

// `outer` is where a loop's condition is at home, `here` the loop itself.
Machine::Flow Machine::turns(const Node& node, const Value& items, int64_t depth, Activation& here, Activation& outer,
                             Output& out) {
    auto counted = std::make_shared<Counted>();
    counted->budget = &budget;
    counted->source = iterate_or_fail(items);
    std::shared_ptr<Iterator> source = counted;
    if (node.c) {
        auto condition = std::make_shared<Condition>();
        condition->machine = this;
        condition->node = &node;
        condition->here = &activate(*node.test_function, &outer, condition->own);
        condition->source = source;
        source = condition;
    }
    auto loop = std::make_shared<Loop>();
    loop->source = source;
    loop->depth0 = depth;
    loop->home = &outer;
    if (node.flag) loop->node = &node;
    const bool is_extended = node.place.slot >= 0;
    bool is_empty = true;
    if (is_extended) slot(node.place, here) = Value();
    while (true) {
        Value item;
        if (is_extended) {
            if (!loop->advance()) break;
            item = loop->current;
        } else if (!source->next(item)) {
            break;
        }
        assign(*node.a, item, here);
        if (is_extended) slot(node.place, here) = Value::object(loop);
        enter(node.frame, here);
        const Flow flow = run(node.body, here, out);
        if (flow == Flow::stop) break;
        if (flow == Flow::next) is_empty = false;
    }
    leave(node.frame, here);
    if (!is_empty || node.orelse.empty()) return Flow::next;
    enter(node.else_frame, here);
    const Flow flow = run(node.orelse, here, out);
    if (flow == Flow::next) leave(node.else_frame, here);
    return flow;
}

void Machine::assign(const Node& target, const Value& value, Activation& here) {
    if (target.type == Type::name) {
        slot(target.place, here) = value;
    } else if (target.type == Type::attribute_target) {
        auto* const space = slot(target.place, here).as<Namespace>();
        if (space == nullptr) fail("cannot assign attribute on non-namespace object");
        space->attributes.put(Value(target.attribute), value);
    } else {
        const auto iterator = iterate_or_fail(value);
        Items items;
        for (Value item; items.size() <= target.items.size() && iterator->next(item);) items.push_back(item);
        if (items.size() != target.items.size())
            fail("the number of values to unpack is another one than that of names");
        for (size_t at = 0; at < items.size(); ++at) assign(*target.items[at], items[at], here);
    }
}

// What a target holds after it was assigned to.
Value Machine::value_of(const Node& target, Activation& here) {
    if (target.type == Type::name) return slot(target.place, here);
    Items items;
    for (const auto& item : target.items) items.push_back(value_of(*item, here));
    return Value::tuple(std::move(items));
}

Value Machine::call_macro(const Macro& macro, const Args& args) {
    const Node& node = *macro.node;
    std::unique_ptr<Activation> own;
    Activation& here = activate(*node.function, macro.home, own);
    auto named = args.named;
    const auto take = [&](const std::string& name) {
        for (auto entry = named.begin(); entry != named.end(); ++entry) {
            if (entry->first != name) continue;
            Value value = std::move(entry->second);
            named.erase(entry);
            return value;
        }
        return Value();
    };
    const size_t count = node.items.size();
    Items values;
    for (size_t at = 0; at < count; ++at)
        values.push_back(at < args.items.size() ? args.items[at] : take(node.items[at]->name));
    if (node.caller.slot >= 0) {
        const Value caller = take("caller");
        const bool has_caller = !caller.is(Kind::missing) && !caller.is(Kind::none);
        slot(node.caller, here) = has_caller ? caller : Value::undefined("No caller defined");
    }
    if (node.kwargs.slot >= 0) {
        auto rest = std::make_shared<Dict>();
        for (const auto& [name, value] : named) rest->put(Value(name), value);
        slot(node.kwargs, here) = Value::dict(std::move(rest));
    } else if (!named.empty()) {
        fail("macro '" + node.name + "' takes no keyword argument '" + named[0].first + "'");
    }
    if (node.varargs.slot >= 0) {
        Items rest(args.items.begin() + static_cast<std::ptrdiff_t>(std::min(count, args.items.size())),
                   args.items.end());
        slot(node.varargs, here) = Value::tuple(std::move(rest));
    } else if (args.items.size() > count) {
        fail("macro '" + node.name + "' takes not more than " + std::to_string(count) + " argument(s)");
    }
    for (size_t at = 0; at < count; ++at) slot(node.items[at]->place, here) = values[at];
    enter(node.frame, here);
    for (size_t at = 0; at < count; ++at) {
        if (!slot(node.items[at]->place, here).is(Kind::missing)) continue;
        const size_t first = count - node.more.size();
        Value value = at >= first ? eval(*node.more[at - first], here)
                                  : Value::undefined("parameter '" + node.items[at]->name + "' was not provided");
        slot(node.items[at]->place, here) = std::move(value);
    }
    Output out;
    run(node.body, here, out);
    return text_of(out);
}

Value Machine::call_loop(const Loop& loop, const Args& args) {
    const Items bound = args.bind({"iterable"}, 1);
    if (loop.node == nullptr) fail("The loop must have the 'recursive' marker to be called recursively.");
    std::unique_ptr<Activation> own;
    Activation& inner = activate(*loop.node->function, loop.home, own);
    Output out;
    turns(*loop.node, bound[0], loop.depth0 + 1, inner, *loop.home, out);
    return text_of(out);
}

}  // namespace edgelora::jinja
