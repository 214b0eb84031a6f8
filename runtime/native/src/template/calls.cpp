// What a template calls: macros and loops by way of the machine, methods, and the functions that every template gets.

#include <cstdlib>

#include "template/machine.hpp"
#include "template/operations.hpp"

namespace edgelora::jinja {

namespace {

struct Global : Object {
    explicit Global(std::string name_) : name(std::move(name_)) {}
    const char* type() const override { return "function"; }
    Value attribute(std::string_view) override { lack("an attribute of '" + name + "'"); }
    std::string name;
};

struct Cycler : Object {
    const char* type() const override { return "Cycler"; }
    Value attribute(std::string_view attribute) override {
        if (attribute == "current") return items[position];
        return attribute == "pos"     ? Value(static_cast<int64_t>(position))
               : attribute == "items" ? Value::tuple(items)
                                      : Value();
    }
    Items items;
    size_t position = 0;
};

struct Joiner : Object {
    const char* type() const override { return "Joiner"; }
    Value attribute(std::string_view attribute) override {
        return attribute == "sep" ? separator : attribute == "used" ? Value(used) : Value();
    }
    Value separator;
    bool used = false;
};

}  // namespace

Value find_global(const std::string& name) {
    for (const char* const global :
         {"range", "dict", "cycler", "joiner", "namespace", "raise_exception", "strftime_now"}) {
        if (name == global) return Value::object(std::make_shared<Global>(name));
    }
    return Value();
}

Value Machine::call(const Value& function, const Args& args) {
    const Level level(budget);
    budget.step();
    if (function.is(Kind::undefined)) fail(function.bytes());
    if (const auto* macro = function.as<Macro>()) return measured(budget, call_macro(*macro, args));
    if (const auto* global = function.as<Global>()) return measured(budget, call_global(global->name, args));
    if (const auto* loop = function.as<Loop>()) return measured(budget, call_loop(*loop, args));
    if (auto* joiner = function.as<Joiner>()) {
        args.bind({});
        const Value text = joiner->used ? joiner->separator : Value("");
        joiner->used = true;
        return text;
    }
    const auto* bound = function.as<Bound>();
    if (bound == nullptr) fail(std::string("'") + type_name(function) + "' object is not callable");
    const std::string& name = bound->name;
    if (auto* loop = bound->self.as<Loop>()) {
        if (!args.named.empty()) fail("loop." + name + " takes no arguments by name");
        if (name == "cycle") {
            if (args.items.empty()) fail("no items for cycling given");
            return args.items[static_cast<size_t>(loop->index0) % args.items.size()];
        }
        const Value now = Value::tuple(args.items);
        const bool is_changed = loop->last_changed.is(Kind::missing) || !equals(loop->last_changed, now);
        if (is_changed) loop->last_changed = now;
        return Value(is_changed);
    }
    if (auto* cycler = bound->self.as<Cycler>()) {
        args.bind({});
        const Value item = name == "next" ? cycler->items[cycler->position] : Value::none();
        cycler->position = name == "next" ? (cycler->position + 1) % cycler->items.size() : 0;
        return item;
    }
    check_arguments(args);
    return measured(budget, call_method(*this, bound->self, name, args));
}

Value Machine::call_global(const std::string& name, const Args& args) {
    if (name == "range") {
        if (!args.named.empty() || args.items.empty() || args.items.size() > 3) fail("range expects 1 to 3 arguments");
        for (const Value& item : args.items) {
            if (!item.is_whole())
                fail(std::string("'") + type_name(item) + "' object cannot be interpreted as an integer");
            if (std::abs(item.whole()) > (int64_t{1} << 40)) fail("Range too big");
        }
        const size_t count = args.items.size();
        const int64_t step = count == 3 ? args.items[2].whole() : 1;
        if (step == 0) fail("range() arg 3 must not be zero");
        auto range = std::make_shared<Range>(count == 1 ? 0 : args.items[0].whole(),
                                             args.items[count == 1 ? 0 : 1].whole(), step);
        if (range->count() > 100'000) fail("Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000).");
        return Value::object(std::move(range));
    }
    if (name == "dict") return make_dict(args);
    if (name == "namespace") return make_namespace(args);
    if (name == "cycler") {
        if (!args.named.empty()) fail("cycler takes no arguments by name");
        if (args.items.empty()) fail("at least one item has to be provided");
        auto cycler = std::make_shared<Cycler>();
        cycler->items = args.items;
        cycler->depth = Value::tuple(args.items).depth();
        return Value::object(std::move(cycler));
    }
    if (name == "joiner") {
        auto joiner = std::make_shared<Joiner>();
        const Items bound = args.bind({"sep"});
        joiner->separator = bound[0].is(Kind::missing) ? Value(", ") : bound[0];
        joiner->depth = joiner->separator.depth() + 1;
        return Value::object(std::move(joiner));
    }
    if (name == "raise_exception") fail(to_text(args.bind({"message"}, 1)[0]));
    const Items bound = args.bind({"form"}, 1);
    return Value(strftime(to_bytes(bound[0], "strftime_now"), date_));
}

Value Machine::make_dict(const Args& args) {
    auto dict = std::make_shared<Dict>();
    if (args.items.size() > 1) fail("dict expected at most 1 argument");
    if (args.items.size() == 1 && args.items[0].is(Kind::dict)) {
        for (const auto& [key, value] : args.items[0].entries().entries) dict->put(key, value);
    } else if (args.items.size() == 1) {
        if (args.items[0].is(Kind::undefined)) fail(args.items[0].bytes());
        for (const Value& pair : to_items(args.items[0], budget)) {
            const Items both = to_items(pair, budget);
            if (both.size() != 2) fail("a pair of a dict has another length than 2");
            dict->put(both[0], both[1]);
        }
    }
    for (const auto& [key, value] : args.named) dict->put(Value(key), value);
    return Value::dict(std::move(dict));
}

Value Machine::make_namespace(const Args& args) {
    auto space = std::make_shared<Namespace>();
    const Value attributes = make_dict(args);
    for (const auto& [key, value] : attributes.entries().entries) space->attributes.put(key, value);
    budget.spend(256);
    namespaces_.push_back(space);
    return Value::object(space);
}

}  // namespace edgelora::jinja
