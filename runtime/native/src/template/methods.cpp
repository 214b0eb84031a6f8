// Methods of values: which there are, and those of dicts and lists. `text_methods.cpp` has those of texts.

#include <algorithm>

#include "template/machine.hpp"
#include "template/operations.hpp"

namespace edgelora::jinja {

namespace {

using Names = std::initializer_list<std::string_view>;

bool is_one_of(std::string_view name, Names names) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

const Names text_methods = {
    "capitalize", "center",     "count",        "endswith", "find",       "format",    "index",   "isalnum",
    "isalpha",    "isascii",    "isdecimal",    "isdigit",  "islower",    "isnumeric", "isspace", "istitle",
    "isupper",    "join",       "ljust",        "lower",    "lstrip",     "partition", "replace", "removeprefix",
    "rfind",      "rindex",     "removesuffix", "rjust",    "rpartition", "rsplit",    "rstrip",  "split",
    "splitlines", "startswith", "strip",        "swapcase", "title",      "upper",     "zfill"};

// Those that Python has, too: they must not be taken for keys or for what is undefined.
const Names other_methods = {"casefold",    "encode",     "expandtabs", "format_map", "isidentifier",
                             "isprintable", "maketrans",  "translate",  "unescape",   "striptags",
                             "copy",        "fromkeys",   "popitem",    "setdefault", "as_integer_ratio",
                             "bit_count",   "bit_length", "conjugate",  "from_bytes", "to_bytes",
                             "fromhex",     "hex",        "is_integer"};

}  // namespace

Method find_method(const Value& value, std::string_view name) {
    const auto choose = [&](Names known, Names unsafe, Names unknown) {
        if (is_one_of(name, unknown)) lack("the method '" + std::string(name) + "'");
        return is_one_of(name, known) ? Method::known : is_one_of(name, unsafe) ? Method::unsafe : Method::none;
    };
    switch (value.kind()) {
        case Kind::text:
            if (value.is_safe() && is_one_of(name, {"escape", "unescape", "striptags"})) return choose({}, {}, {name});
            return choose(text_methods, {},
                          {"casefold", "encode", "expandtabs", "format_map", "isidentifier", "isprintable", "maketrans",
                           "translate"});
        case Kind::list:
            return choose({"count", "index"},
                          {"append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"}, {"copy"});
        case Kind::tuple: return choose({"count", "index"}, {}, {});
        case Kind::dict:
            return choose({"get", "items", "keys", "values"}, {"clear", "pop", "popitem", "setdefault", "update"},
                          {"copy", "fromkeys"});
        case Kind::boolean:
        case Kind::integer:
            return choose({}, {},
                          {"as_integer_ratio", "bit_count", "bit_length", "conjugate", "from_bytes", "to_bytes"});
        case Kind::real: return choose({}, {}, {"as_integer_ratio", "conjugate", "fromhex", "hex", "is_integer"});
        case Kind::object: {
            const std::string_view type = type_name(value);
            if (type == "LoopContext") return choose({"changed", "cycle"}, {}, {});
            if (type == "Cycler") return choose({"next", "reset"}, {}, {});
            if (type == "range") return choose({}, {}, {"count", "index", "start", "stop", "step"});
            return Method::none;
        }
        default: return Method::none;
    }
}

bool is_unknown_method(std::string_view name) { return is_one_of(name, other_methods); }

Value call_method(Machine& machine, const Value& value, const std::string& name, const Args& args) {
    if (value.is(Kind::text)) return call_text_method(machine, value, name, args);
    if (!args.named.empty()) fail(name + "() takes no keyword arguments");
    if (value.is(Kind::dict)) {
        if (name == "get") {
            const Items bound = args.bind({"key", "default"}, 1);
            check_hashable(bound[0]);
            const Value* found = value.entries().find(bound[0]);
            return found != nullptr ? *found : bound[1].is(Kind::missing) ? Value::none() : bound[1];
        }
        args.bind({});
        return Value::object(std::make_shared<View>(value, name[0]));
    }
    const Items bound = args.bind({"value"}, 1);
    const Items& items = value.items();
    int64_t count = 0;
    for (size_t at = 0; at < items.size(); ++at) {
        if (!equals(items[at], bound[0])) continue;
        if (name == "index") return Value(static_cast<int64_t>(at));
        ++count;
    }
    if (name == "index") fail(repr(bound[0]) + " is not in list");
    return Value(count);
}

}  // namespace edgelora::jinja
