// Filters on what has items.

#include <algorithm>

#include "template/letters.hpp"
#include "template/machine.hpp"
#include "template/operations.hpp"

namespace edgelora::jinja {

namespace {

bool given(const Value& value) { return !value.is(Kind::missing) && !value.is(Kind::none); }

Value lowered(Value value) { return value.is(Kind::text) ? Value(to_lower(value.bytes()), value.is_safe()) : value; }

// The value at a path such as "a.0.b" in an item.
class Getter {
   public:
    Getter(const Value& path, bool ignores_case, const Value& otherwise = Value())
        : ignores_case_(ignores_case), otherwise_(otherwise) {
        if (path.is(Kind::text)) {
            const std::string& text = path.bytes();
            for (size_t start = 0; start <= text.size();) {
                const size_t end = std::min(text.find('.', start), text.size());
                const std::string part = text.substr(start, end - start);
                const bool is_number =
                    !part.empty() && part.size() < 10 && part.find_first_not_of("0123456789") == part.npos;
                keys_.push_back(is_number ? Value(static_cast<int64_t>(std::stoll(part))) : Value(part));
                start = end + 1;
            }
        } else if (given(path)) {
            keys_.push_back(path);
        }
    }
    Value operator()(Value item) const {
        for (const Value& key : keys_) {
            item = get_item(item, key);
            if (item.is(Kind::undefined) && given(otherwise_)) item = otherwise_;
        }
        return ignores_case_ ? lowered(std::move(item)) : item;
    }

   private:
    Items keys_;
    bool ignores_case_;
    Value otherwise_;
};

// Gives what `make` finds, one by one.
template <class Make>
struct Lazy : Iterator {
    Lazy(Make make_, uint32_t depth_) : make(std::move(make_)) { depth = depth_ + 1; }
    bool next(Value& item) override { return make(item); }
    Make make;
};

template <class Make>
Value lazy(const Value& of, Make make) {
    return Value::object(std::make_shared<Lazy<Make>>(std::move(make), of.depth()));
}

Value all_of(Items items) {
    const Value list = Value::list(std::move(items));
    return lazy(list, [iterator = iterate(list)](Value& item) { return iterator->next(item); });
}

Value length(Machine&, const Value& value, const Args& args) {
    args.bind({});
    int64_t length = 0;
    if (!length_of(value, length)) fail(std::string("object of type '") + type_name(value) + "' has no len()");
    return Value(length);
}

Value first(Machine&, const Value& value, const Args& args) {
    args.bind({});
    Value item;
    return iterate_or_fail(value)->next(item) ? item : Value::undefined("No first item, sequence was empty.");
}

Value last(Machine& machine, const Value& value, const Args& args) {
    args.bind({});
    if (value.as<Iterator>() != nullptr) fail("'generator' object is not reversible");
    const Items items = to_items(value, machine.budget);
    return items.empty() ? Value::undefined("No last item, sequence was empty.") : items.back();
}

Value list(Machine& machine, const Value& value, const Args& args) {
    args.bind({});
    return Value::list(to_items(value, machine.budget));
}

Value reverse(Machine& machine, const Value& value, const Args& args) {
    args.bind({});
    if (value.is(Kind::text)) return slice(value, Value::none(), Value::none(), Value(int64_t{-1}));
    Items items = to_items(value, machine.budget);
    std::reverse(items.begin(), items.end());
    return value.as<Iterator>() != nullptr ? Value::list(std::move(items)) : all_of(std::move(items));
}

Value join(Machine& machine, const Value& value, const Args& args) {
    const Items bound = args.bind({"d", "attribute"});
    Items items = to_items(value, machine.budget);
    if (given(bound[1])) {
        const Getter get(bound[1], false);
        for (Value& item : items) item = get(item);
    }
    return join_texts(machine, bound[0].is(Kind::missing) ? "" : to_text(bound[0]), items, true);
}

Value items_of(Machine&, const Value& value, const Args& args) {
    args.bind({});
    if (value.is(Kind::undefined)) return all_of({});
    if (!value.is(Kind::dict)) fail("Can only get item pairs from a mapping.");
    const Value view = Value::object(std::make_shared<View>(value, 'i'));
    return lazy(view, [iterator = iterate(view)](Value& item) { return iterator->next(item); });
}

// Sorts by keys, and keeps the order of what is equal.
Items sorted(const Items& items, const Items& keys, bool is_reverse) {
    std::vector<size_t> order(items.size());
    for (size_t at = 0; at < order.size(); ++at) order[at] = at;
    std::stable_sort(order.begin(), order.end(), [&](size_t one, size_t other) {
        return is_reverse ? less(keys[other], keys[one]) : less(keys[one], keys[other]);
    });
    Items found;
    for (const size_t at : order) found.push_back(items[at]);
    return found;
}

Value dictsort(Machine&, const Value& value, const Args& args) {
    const Items bound = args.bind({"case_sensitive", "by", "reverse"});
    if (!value.is(Kind::dict)) fail(value.is(Kind::undefined) ? value.bytes() : "only a dict can be sorted so");
    const std::string by = bound[1].is(Kind::missing) ? "key" : to_bytes(bound[1], "dictsort");
    if (by != "key" && by != "value") fail("You can only sort by either \"key\" or \"value\"");
    Items pairs, keys;
    for (const auto& [key, item] : value.entries().entries) {
        pairs.push_back(Value::tuple({key, item}));
        keys.push_back(is_true(bound[0]) ? (by == "key" ? key : item) : lowered(by == "key" ? key : item));
    }
    return Value::list(sorted(pairs, keys, to_flag(bound[2])));
}

Value sort(Machine& machine, const Value& value, const Args& args) {
    const Items bound = args.bind({"reverse", "case_sensitive", "attribute"});
    std::vector<Getter> getters;
    const bool ignores_case = !is_true(bound[1]);
    if (bound[2].is(Kind::text)) {
        const std::string& paths = bound[2].bytes();
        for (size_t start = 0; start <= paths.size();) {
            const size_t end = std::min(paths.find(',', start), paths.size());
            getters.emplace_back(Value(paths.substr(start, end - start)), ignores_case);
            start = end + 1;
        }
    } else {
        getters.emplace_back(bound[2], ignores_case);
    }
    const Items items = to_items(value, machine.budget);
    Items keys;
    for (const Value& item : items) {
        Items key;
        for (const Getter& get : getters) key.push_back(get(item));
        keys.push_back(Value::list(std::move(key)));
    }
    return Value::list(sorted(items, keys, to_flag(bound[0])));
}

Value unique(Machine&, const Value& value, const Args& args) {
    const Items bound = args.bind({"case_sensitive", "attribute"});
    auto seen = std::make_shared<Dict>();
    return lazy(value,
                [source = iterate_or_fail(value), get = Getter(bound[1], !is_true(bound[0])), seen](Value& item) {
                    while (source->next(item)) {
                        const Value key = get(item);
                        if (seen->find((check_hashable(key), key)) != nullptr) continue;
                        seen->put(key, Value(true));
                        return true;
                    }
                    return false;
                });
}

template <bool is_min>
Value extreme(Machine& machine, const Value& value, const Args& args) {
    const Items bound = args.bind({"case_sensitive", "attribute"});
    const Getter get(bound[1], !is_true(bound[0]));
    Value best, best_key;
    for (const Value& item : to_items(value, machine.budget)) {
        const Value key = get(item);
        if (best.is(Kind::missing) || (is_min ? less(key, best_key) : less(best_key, key))) {
            best = item;
            best_key = key;
        }
    }
    return best.is(Kind::missing) ? Value::undefined("No aggregated item, sequence was empty.") : best;
}

Value sum(Machine& machine, const Value& value, const Args& args) {
    const Items bound = args.bind({"attribute", "start"});
    const Getter get(bound[0], false);
    Value total = bound[1].is(Kind::missing) ? Value(int64_t{0}) : bound[1];
    if (!total.is_number()) lack("to add up what are no numbers");
    for (const Value& item : to_items(value, machine.budget)) total = binary(machine.budget, "+", total, get(item));
    return total;
}

Value batch(Machine&, const Value& value, const Args& args) {
    const Items bound = args.bind({"linecount", "fill_with"}, 1);
    if (!bound[0].is_whole()) lack("a batch of no whole number of items");
    const int64_t count = bound[0].whole();
    return lazy(value, [source = iterate_or_fail(value), count, fill = bound[1], row = Items(),
                        is_done = false](Value& item) mutable {
        while (!is_done) {
            Value next;
            const bool is_full = static_cast<int64_t>(row.size()) == count;
            if (source->next(next)) {
                if (is_full) item = Value::list(std::exchange(row, {}));
                row.push_back(std::move(next));
                if (is_full) return true;
                continue;
            }
            is_done = true;
            if (row.empty()) return false;
            if (given(fill) && static_cast<int64_t>(row.size()) < count) row.resize(static_cast<size_t>(count), fill);
            item = Value::list(std::move(row));
            return true;
        }
        return false;
    });
}

Value slices(Machine& machine, const Value& value, const Args& args) {
    const Items bound = args.bind({"slices", "fill_with"}, 1);
    const int64_t count = to_whole(bound[0]);
    if (count == 0) fail("integer division or modulo by zero");
    if (count < 0) return all_of({});
    if (value.as<Iterator>() != nullptr) lack("slices of a generator");
    const Items items = to_items(value, machine.budget);
    const auto all = static_cast<int64_t>(items.size());
    Items found;
    for (int64_t at = 0, start = 0; at < count; ++at) {
        const bool has_extra = at < all % count;
        const int64_t end = start + all / count + (has_extra ? 1 : 0);
        Items row(items.begin() + start, items.begin() + end);
        if (given(bound[1]) && !has_extra) row.push_back(bound[1]);
        found.push_back(Value::list(std::move(row)));
        start = end;
    }
    return all_of(std::move(found));
}

Value groupby(Machine& machine, const Value& value, const Args& args) {
    const Items bound = args.bind({"attribute", "default", "case_sensitive"}, 1);
    const bool ignores_case = !is_true(bound[2]);
    const Getter get(bound[0], ignores_case, bound[1]), get_plain(bound[0], false, bound[1]);
    const Items items = to_items(value, machine.budget);
    Items keys;
    for (const Value& item : items) keys.push_back(get(item));
    Items groups, group;
    Value key;
    const auto flush = [&] {
        if (!group.empty()) groups.push_back(Value::tuple({get_plain(group[0]), Value::list(group)}, true));
        group.clear();
    };
    for (const Value& item : sorted(items, keys, false)) {
        const Value now = get(item);
        if (!group.empty() && !equals(key, now)) flush();
        if (group.empty()) key = now;
        group.push_back(item);
    }
    flush();
    return Value::list(std::move(groups));
}

Value attr(Machine&, const Value& value, const Args& args) {
    const Items bound = args.bind({"name"}, 1);
    const std::string& name = to_bytes(bound[0], "attr");
    if (name.rfind("__", 0) == 0) lack("the attribute '" + name + "'");
    // A dict has methods alone: keys are no attributes.
    if (value.is(Kind::dict) && find_method(value, name) == Method::none)
        return Value::undefined("no attribute '" + name + "'");
    return get_attribute(value, name);
}

// Runs a function on the items of a value, as long as there are some.
template <class Run>
Value on_each(Machine& machine, const Value& value, Run run) {
    return lazy(value, [&machine, source = iterate_or_fail(value), run = std::move(run)](Value& item) {
        const Level level(machine.budget);
        while (source->next(item)) {
            machine.budget.step();
            if (run(item)) return true;
        }
        return false;
    });
}

Value map(Machine& machine, const Value& value, const Args& args) {
    if (!is_true(value)) return all_of({});
    if (args.items.empty()) {
        const Items bound = args.bind({"attribute", "default"});
        if (bound[0].is(Kind::missing)) fail("map requires a filter argument");
        return on_each(machine, value, [get = Getter(bound[0], false, bound[1])](Value& item) {
            item = get(item);
            return true;
        });
    }
    const std::string& name = to_bytes(args.items[0], "map");
    const Filter* filter = find_filter(name);
    if (filter == nullptr) lack("the filter '" + name + "'");
    return on_each(
        machine, value,
        [&machine, filter, rest = Args{{args.items.begin() + 1, args.items.end()}, args.named}](Value& item) {
            item = run_filter(machine, *filter, item, rest);
            return true;
        });
}

template <bool is_kept, bool is_of_attribute>
Value choose(Machine& machine, const Value& value, const Args& args) {
    if (!is_true(value)) return all_of({});
    const size_t first = is_of_attribute ? 1 : 0;
    if (args.items.size() < first) fail("Missing parameter for attribute name");
    const Getter get(is_of_attribute ? args.items[0] : Value(), false);
    const Test* test = nullptr;
    Args rest;
    if (args.items.size() > first) {
        const std::string& name = to_bytes(args.items[first], "select");
        test = find_test(name);
        if (test == nullptr) lack("the test '" + name + "'");
        rest = Args{{args.items.begin() + static_cast<std::ptrdiff_t>(first) + 1, args.items.end()}, args.named};
    }
    return on_each(machine, value, [&machine, get, test, rest](const Value& item) {
        const Value found = get(item);
        return is_true(test == nullptr ? found : test->run(machine, found, rest)) == is_kept;
    });
}

const Filter filters[] = {
    {"attr", attr},
    {"batch", batch},
    {"count", length},
    {"dictsort", dictsort},
    {"first", first},
    {"groupby", groupby},
    {"items", items_of},
    {"join", join},
    {"last", last},
    {"length", length},
    {"list", list},
    {"map", map},
    {"max", extreme<false>},
    {"min", extreme<true>},
    {"reject", choose<false, false>},
    {"rejectattr", choose<false, true>},
    {"reverse", reverse},
    {"select", choose<true, false>},
    {"selectattr", choose<true, true>},
    {"slice", slices},
    {"sort", sort},
    {"sum", sum},
    {"unique", unique},
};

}  // namespace

const Filter* find_sequence_filter(std::string_view name) {
    for (const Filter& filter : filters) {
        if (filter.name == name) return &filter;
    }
    return nullptr;
}

}  // namespace edgelora::jinja
