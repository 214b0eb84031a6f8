// Filters on single values: texts, numbers, defaults, JSON.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "template/letters.hpp"
#include "template/machine.hpp"
#include "template/operations.hpp"

namespace edgelora::jinja {

namespace {

bool given(const Value& value) { return !value.is(Kind::missing); }

// A text stays what it is, one that is marked as safe too; all else is printed.
Value soft(const Value& value) { return value.is(Kind::text) ? value : Value(to_text(value)); }

using Change = std::string (*)(std::string_view);

template <Change change>
Value changed(Machine&, const Value& value, const Args& args) {
    args.bind({});
    const Value text = soft(value);
    return Value(change(text.bytes()), text.is_safe());
}

std::string title(std::string_view text) {  // jinja2's: words begin behind blanks, "-" and brackets
    std::string all, word;
    const auto flush = [&] {
        if (word.empty()) return;
        size_t at = 0;
        decode(word, at);
        all += to_upper(std::string_view(word).substr(0, at)) + to_lower(std::string_view(word).substr(at));
        word.clear();
    };
    bool was_border = false;
    for (size_t at = 0; at < text.size();) {
        const char32_t c = decode(text, at);
        const bool is_border =
            is_space(c) || (c < 0x80 && std::string_view("-({[<").find(static_cast<char>(c)) != std::string_view::npos);
        if (is_border != was_border) flush();
        was_border = is_border;
        append(word, c);
    }
    flush();
    return all;
}

Value center(Machine& machine, const Value& value, const Args& args) {
    const Items bound = args.bind({"width"});
    return call_text_method(machine, soft(value), "center", {{given(bound[0]) ? bound[0] : Value(int64_t{80})}, {}});
}

Value trim(Machine& machine, const Value& value, const Args& args) {
    const Items bound = args.bind({"chars"});
    return call_text_method(machine, soft(value), "strip", {{given(bound[0]) ? bound[0] : Value::none()}, {}});
}

Value escape_filter(Machine&, const Value& value, const Args& args) {
    args.bind({});
    return escape(value);
}

Value force_escape(Machine&, const Value& value, const Args& args) {
    args.bind({});
    return escape(Value(to_text(value)));
}

Value safe(Machine&, const Value& value, const Args& args) {
    args.bind({});
    return Value(to_text(value), true);
}

Value string(Machine&, const Value& value, const Args& args) {
    args.bind({});
    return soft(value);
}

Value replace_filter(Machine& machine, const Value& value, const Args& args) {
    const Items bound = args.bind({"old", "new", "count"}, 2);
    const int64_t count = given(bound[2]) && !bound[2].is(Kind::none) ? to_whole(bound[2]) : -1;
    return replace(machine, to_text(value), to_text(bound[0]), to_text(bound[1]), count);
}

Value default_filter(Machine&, const Value& value, const Args& args) {
    const Items bound = args.bind({"default_value", "boolean"});
    if (!value.is(Kind::undefined) && (!is_true(bound[1]) || is_true(value))) return value;
    return given(bound[0]) ? bound[0] : Value("");
}

Value indent(Machine& machine, const Value& value, const Args& args) {
    const Items bound = args.bind({"width", "first", "blank"});
    if (!value.is(Kind::text)) fail(value.is(Kind::undefined) ? value.bytes() : "only a text can be indented");
    std::string space(4, ' ');
    if (bound[0].is(Kind::text)) {
        if (value.is_safe()) lack("an indent of a text that is marked as safe");
        space = bound[0].bytes();
    } else if (given(bound[0])) {
        space = std::string(static_cast<size_t>(std::max<int64_t>(to_whole(bound[0]), 0)), ' ');
    }
    const bool of_blank = is_true(bound[2]);
    const std::vector<std::string> lines = split_lines(value.bytes() + "\n", false);
    std::string text = is_true(bound[1]) ? space : "";
    for (size_t at = 0; at < lines.size(); ++at) {
        if (at > 0) text += "\n" + (of_blank || !lines[at].empty() ? space : "");
        text += lines[at];
        machine.budget.check_size(text.size() / 4);
    }
    return Value(std::move(text), value.is_safe());
}

Value truncate(Machine&, const Value& value, const Args& args) {
    const Items bound = args.bind({"length", "killwords", "end", "leeway"});
    if (value.is(Kind::undefined)) return value;
    if (!value.is(Kind::text) || value.is_safe()) lack("to cut what is no plain text");
    const int64_t length = given(bound[0]) ? to_whole(bound[0]) : 255;
    const Value end = given(bound[2]) ? bound[2] : Value("...");
    const int64_t leeway = given(bound[3]) && !bound[3].is(Kind::none) ? to_whole(bound[3]) : 5;
    const auto end_length = static_cast<int64_t>((to_bytes(end, "truncate"), end.text().length));
    if (length < end_length || leeway < 0) fail("a length to cut at is too small");
    if (static_cast<int64_t>(value.text().length) <= length + leeway) return value;
    std::string cut = characters(value, 0, length - end_length, 1).bytes();
    const size_t blank = cut.rfind(' ');
    if (!is_true(bound[1]) && blank != std::string::npos) cut.resize(blank);
    return Value(cut + end.bytes());
}

Value wordcount(Machine&, const Value& value, const Args& args) {
    args.bind({});
    int64_t count = 0;
    bool inside = false;
    const std::string text = to_text(value);
    for (size_t at = 0; at < text.size();) {
        const char32_t c = decode(text, at);
        const bool is_inside = is_word(c) || c == '_';
        count += is_inside && !inside;
        inside = is_inside;
    }
    return Value(count);
}

Value whole_of(double number) {
    if (std::isnan(number) || std::abs(number) >= 9.2e18) lack("a number beyond 64 bits");
    return Value(static_cast<int64_t>(number));
}

// What `int(text, base)` reads; missing where it reads none.
Value read_whole(const std::string& text, int64_t base) {
    std::u32string all = decode_utf8(text);
    for (const char32_t c : all) {
        if (c > 0x7f && is_decimal(c)) lack("digits of other scripts");
    }
    while (!all.empty() && is_space(all.back())) all.pop_back();
    size_t at = 0;
    while (at < all.size() && is_space(all[at])) ++at;
    bool negative = false;
    if (at < all.size() && (all[at] == '-' || all[at] == '+')) negative = all[at++] == '-';
    if (base != 10 && base != 2 && base != 8 && base != 16) lack("a base of this size");
    if (base != 10 && at + 1 < all.size() && all[at] == '0') {
        const char32_t letter = all[at + 1] | 0x20;
        if (letter == (base == 16 ? U'x' : base == 8 ? U'o' : U'b')) {
            at += 2;
            if (at < all.size() && all[at] == '_') ++at;
        }
    }
    int64_t number = 0;
    bool was_digit = false;
    for (; at < all.size(); ++at) {
        if (all[at] == '_' && was_digit) {
            was_digit = false;
            continue;
        }
        const char32_t letter = all[at] | 0x20;
        const int64_t digit = all[at] >= '0' && all[at] <= '9' ? all[at] - '0'
                              : letter >= 'a' && letter <= 'f' ? letter - 'a' + 10
                                                               : 99;
        if (digit >= base) return Value();
        if (__builtin_mul_overflow(number, base, &number) || __builtin_add_overflow(number, digit, &number)) {
            lack("a number beyond 64 bits");
        }
        was_digit = true;
    }
    return was_digit ? Value(negative ? -number : number) : Value();
}

Value int_filter(Machine&, const Value& value, const Args& args) {
    const Items bound = args.bind({"default", "base"});
    const Value otherwise = given(bound[0]) ? bound[0] : Value(int64_t{0});
    if (value.is(Kind::undefined)) fail(value.bytes());
    if (value.is_whole()) return Value(value.whole());
    if (value.is(Kind::real)) return whole_of(value.real());
    if (!value.is(Kind::text)) return otherwise;
    if (given(bound[1]) && !bound[1].is_whole()) lack("a base that is no whole number");
    const Value whole = read_whole(value.bytes(), given(bound[1]) ? to_whole(bound[1]) : 10);
    if (given(whole)) return whole;
    double number = 0;
    return read_float(value.bytes(), number) && !std::isinf(number) ? whole_of(number) : otherwise;
}

Value float_filter(Machine&, const Value& value, const Args& args) {
    const Items bound = args.bind({"default"});
    if (value.is(Kind::undefined)) fail(value.bytes());
    if (value.is_number()) return Value(value.real());
    double number = 0;
    if (value.is(Kind::text) && read_float(value.bytes(), number)) return Value(number);
    return given(bound[0]) ? bound[0] : Value(0.0);
}

Value abs_filter(Machine&, const Value& value, const Args& args) {
    args.bind({});
    if (!value.is_number()) fail(std::string("bad operand type for abs(): '") + type_name(value) + "'");
    if (value.is(Kind::real)) return Value(std::abs(value.real()));
    return value.whole() < 0 ? negate(value) : Value(value.whole());
}

Value round_filter(Machine&, const Value& value, const Args& args) {
    const Items bound = args.bind({"precision", "method"});
    if (given(bound[0]) && !bound[0].is_whole()) lack("a precision that is no whole number");
    const int64_t precision = given(bound[0]) ? bound[0].whole() : 0;
    const std::string method = given(bound[1]) ? to_bytes(bound[1], "round") : "common";
    if (method != "common" && method != "ceil" && method != "floor") fail("method must be common, ceil or floor");
    if (!value.is_number()) fail(std::string("type ") + type_name(value) + " cannot be rounded");
    if (precision < 0 || precision > 15) lack("a precision of this size");
    if (method == "common") {
        if (value.is_whole()) return Value(value.whole());
        char text[400];
        if (std::abs(value.real()) > 1e300) lack("to round a number of this size");
        std::snprintf(text, sizeof text, "%.*f", static_cast<int>(precision), value.real());
        std::string plain(text);
        std::replace(plain.begin(), plain.end(), ',', '.');
        double number = 0;
        read_float(plain, number);
        return Value(number);
    }
    const double factor = std::pow(10.0, static_cast<double>(precision));
    if (value.is_whole() && std::abs(value.whole()) > (int64_t{1} << 53) / static_cast<int64_t>(factor)) {
        lack("to round a number of this size");
    }
    const double scaled = value.real() * factor;
    if (!(std::abs(scaled) < 9e15)) lack("to round a number of this size");
    const double rounded = method == "ceil" ? std::ceil(scaled) : std::floor(scaled);
    return Value(rounded / factor + 0.0);
}

Value format_filter(Machine& machine, const Value& value, const Args& args) {
    if (!args.items.empty() && !args.named.empty())
        fail("can't handle positional and keyword arguments at the same time");
    if (value.is_safe()) lack("a format that is marked as safe");
    if (args.named.empty()) return format_percent(machine, to_text(value), Value::tuple(args.items));
    auto named = std::make_shared<Dict>();
    for (const auto& [name, item] : args.named) named->put(Value(name), item);
    return format_percent(machine, to_text(value), Value::dict(std::move(named)));
}

Value to_json_filter(Machine& machine, const Value& value, const Args& args) {
    return Value(to_json(machine, value, args));
}

const Filter filters[] = {
    {"abs", abs_filter},
    {"capitalize", changed<to_capitalized>},
    {"center", center},
    {"d", default_filter},
    {"default", default_filter},
    {"e", escape_filter},
    {"escape", escape_filter},
    {"float", float_filter},
    {"forceescape", force_escape},
    {"format", format_filter},
    {"indent", indent},
    {"int", int_filter},
    {"lower", changed<to_lower>},
    {"replace", replace_filter},
    {"round", round_filter},
    {"safe", safe},
    {"string", string},
    {"title", changed<title>},
    {"tojson", to_json_filter},
    {"trim", trim},
    {"truncate", truncate},
    {"upper", changed<to_upper>},
    {"wordcount", wordcount},
};

}  // namespace

const Filter* find_filter(std::string_view name) {
    for (const Filter& filter : filters) {
        if (filter.name == name) return &filter;
    }
    return find_sequence_filter(name);
}

Value run_filter(Machine& machine, const Filter& filter, const Value& value, const Args& args) {
    machine.budget.step();
    check_arguments(args);
    return measured(machine.budget, filter.run(machine, value, args));
}

Items Args::bind(std::initializer_list<const char*> names, size_t required) const {
    if (items.size() > names.size()) fail("it takes at most " + std::to_string(names.size()) + " arguments");
    Items bound = items;
    bound.resize(names.size());
    for (const auto& [name, value] : named) {
        const auto* place = std::find(names.begin(), names.end(), name);
        if (place == names.end()) fail("it got an unexpected keyword argument '" + name + "'");
        Value& slot = bound[static_cast<size_t>(place - names.begin())];
        if (given(slot)) fail("it got multiple values for argument '" + name + "'");
        slot = value;
    }
    for (size_t at = 0; at < required; ++at) {
        if (!given(bound[at])) fail(std::string("it misses the argument '") + *(names.begin() + at) + "'");
    }
    return bound;
}

void check_arguments(const Args& args) {
    const auto check = [](const Value& value) {
        if (value.is(Kind::integer) && (value.whole() > largest_argument || value.whole() < -largest_argument)) {
            fail("a number in it is beyond what any chat needs");
        }
    };
    for (const Value& value : args.items) check(value);
    for (const auto& [name, value] : args.named) check(value);
}

int64_t to_whole(const Value& value) {
    if (!value.is_whole()) fail(std::string("'") + type_name(value) + "' object cannot be interpreted as an integer");
    return value.whole();
}

bool to_flag(const Value& value) { return given(value) && to_whole(value) != 0; }

const std::string& to_bytes(const Value& value, const char* what) {
    if (!value.is(Kind::text)) fail(std::string(what) + ": expected a text, got a " + type_name(value));
    return value.bytes();
}

}  // namespace edgelora::jinja
