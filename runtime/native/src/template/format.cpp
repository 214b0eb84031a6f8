// Formats of Python: `'%s' % value` and `'{}'.format(value)`.

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "template/letters.hpp"
#include "template/machine.hpp"

namespace edgelora::jinja {

namespace {

[[noreturn]] void not_known(const std::string& form) { lack("the format " + repr_text(form)); }

bool is_digit(char c) { return c >= '0' && c <= '9'; }

int64_t read_number(const std::string& form, size_t& at) {
    int64_t number = 0;
    for (; at < form.size() && is_digit(form[at]); ++at) {
        number = number * 10 + (form[at] - '0');
        if (number >= 10'000) fail("a format in it is wider than any chat needs");
    }
    return number;
}

// A number as C writes it, which is how Python does, whatever the locale.
std::string write_number(const std::string& form, const Value& value, char letter) {
    char text[11'000];
    if (letter == 'f' || letter == 'e' || letter == 'g' || letter == 'F' || letter == 'E' || letter == 'G') {
        if (std::isinf(value.real())) not_known(form);
        std::snprintf(text, sizeof text, (form + letter).c_str(), value.real());
    } else {
        int64_t number = value.whole();
        if (value.is(Kind::real)) {
            if (!(std::abs(value.real()) < 9.2e18)) not_known(form);
            number = static_cast<int64_t>(value.real());
        }
        if (letter != 'd' && number < 0) not_known(form);
        std::snprintf(text, sizeof text, (form + "ll" + letter).c_str(), static_cast<long long>(number));
    }
    std::string plain(text);
    std::replace(plain.begin(), plain.end(), ',', '.');
    return plain;
}

std::string pad(const std::string& text, int64_t width, char align, const std::string& fill = " ") {
    const int64_t missing = std::max<int64_t>(width - static_cast<int64_t>(count_characters(text)), 0);
    const int64_t left = align == '<' ? 0 : align == '>' ? missing : missing / 2;
    std::string padded;
    for (int64_t at = 0; at < left; ++at) padded += fill;
    padded += text;
    for (int64_t at = left; at < missing; ++at) padded += fill;
    return padded;
}

std::string cut(const std::string& text, int64_t length) {
    return std::string(first_characters(text, static_cast<size_t>(length)));
}

}  // namespace

Value format_percent(Machine& machine, const std::string& form, const Value& values) {
    const bool is_mapping = values.is(Kind::dict) || values.is(Kind::list) || values.is(Kind::undefined);
    if (values.is(Kind::object)) not_known(form);
    const Items items = values.is(Kind::tuple) ? values.items() : Items{values};
    size_t used = 0;
    std::string text;
    for (size_t at = 0; at < form.size(); ++at) {
        if (form[at] != '%') {
            text += form[at];
            continue;
        }
        const size_t start = at++;
        Value value;
        bool has_key = false;
        if (at < form.size() && form[at] == '(') {
            const size_t end = form.find(')', at);
            if (end == form.npos || form.find('(', at + 1) < end) not_known(form);
            if (!values.is(Kind::dict)) fail("format requires a mapping");
            const Value* found = values.entries().find_key(form.substr(at + 1, end - at - 1));
            if (found == nullptr) fail("KeyError in a format");
            value = *found;
            has_key = true;
            at = end + 1;
        }
        std::string flags;
        while (at < form.size() && std::string_view("-+ #0").find(form[at]) != std::string_view::npos)
            flags += form[at++];
        const size_t digits = at;
        const int64_t width = read_number(form, at);
        std::string size = form.substr(digits, at - digits);
        int64_t precision = -1;
        if (at < form.size() && form[at] == '.') {
            const size_t point = at++;
            precision = read_number(form, at);
            size += form.substr(point, at - point);
        }
        if (at >= form.size()) fail("incomplete format");
        char letter = form[at];
        if (letter == '%') {
            if (at != start + 1) not_known(form);
            text += '%';
            continue;
        }
        if (!has_key) {
            if (used >= items.size()) fail("not enough arguments for format string");
            value = items[used];
        }
        ++used;
        if (letter == 's' || letter == 'r') {
            if (value.is_safe()) not_known(form);
            std::string shown = letter == 's' ? to_text(value) : repr(value);
            if (precision >= 0) shown = cut(shown, precision);
            text += pad(shown, width, flags.find('-') != flags.npos ? '<' : '>');
        } else {
            if (letter == 'i' || letter == 'u') letter = 'd';
            if (std::string_view("dxXofFeEgG").find(letter) == std::string_view::npos) not_known(form);
            const bool is_whole = std::string_view("xXo").find(letter) != std::string_view::npos;
            if (value.is(Kind::undefined)) fail(value.bytes());
            if (!value.is_number() || (is_whole && !value.is_whole())) {
                fail(std::string("%") + letter + " format: a number is required, not " + type_name(value));
            }
            if (flags.find('#') != flags.npos || (precision > 50)) not_known(form);
            text += write_number("%" + flags + size, value, letter);
        }
        machine.budget.check_size(text.size() / 4);
    }
    const bool is_left = values.is(Kind::tuple) ? used < items.size() : used == 0 && !is_mapping;
    if (is_left) fail("not all arguments converted during string formatting");
    return Value(std::move(text));
}

namespace {

std::string write_field(const Value& value, const std::string& spec) {
    if (spec.empty()) {
        if (value.is(Kind::object)) not_known(spec);
        return to_text(value);
    }
    size_t at = 0;
    std::string fill = " ";
    char align = ' ';
    const auto is_align = [&](size_t place) {
        return place < spec.size() && std::string_view("<>^").find(spec[place]) != std::string_view::npos;
    };
    size_t second = 0;
    decode(spec, second);
    if (is_align(second)) {
        fill = spec.substr(0, second);
        align = spec[second];
        at = second + 1;
    } else if (is_align(0)) {
        align = spec[at++];
    }
    std::string sign;
    if (at < spec.size() && (spec[at] == '+' || spec[at] == ' ' || spec[at] == '-')) sign = spec[at++];
    const bool has_zeros = at < spec.size() && spec[at] == '0';
    const int64_t width = read_number(spec, at);
    const bool has_commas = at < spec.size() && spec[at] == ',';
    if (has_commas) ++at;
    int64_t precision = -1;
    if (at < spec.size() && spec[at] == '.') {
        const size_t start = ++at;
        precision = read_number(spec, at);
        if (at == start) not_known(spec);
    }
    const char letter = at < spec.size() ? spec[at++] : ' ';
    if (at != spec.size()) not_known(spec);
    if (value.is(Kind::text)) {
        if ((letter != 's' && letter != ' ') || !sign.empty() || has_zeros || has_commas || value.is_safe())
            not_known(spec);
        return pad(precision < 0 ? value.bytes() : cut(value.bytes(), precision), width, align == ' ' ? '<' : align,
                   fill);
    }
    std::string number;
    if (value.is(Kind::integer) && (letter == 'd' || letter == ' ') && precision < 0) {
        number = write_number("%" + (sign == "-" ? "" : sign), value, 'd');
    } else if (value.is_number() && !value.is(Kind::boolean) && letter == 'f' && precision <= 50) {
        if (value.is(Kind::integer) && std::abs(value.whole()) > (int64_t{1} << 53)) not_known(spec);
        number = write_number("%" + (sign == "-" ? "" : sign) + "." + std::to_string(precision < 0 ? 6 : precision),
                              Value(value.real()), 'f');
    } else {
        not_known(spec);
    }
    const size_t first = is_digit(number[0]) ? 0 : 1;
    if (has_commas) {
        const size_t point = std::min(number.find('.'), number.size());
        for (size_t place = point; place > first + 3; place -= 3) number.insert(place - 3, ",");
        if (has_zeros) not_known(spec);
    }
    if (has_zeros && align == ' ') {
        const int64_t missing = std::max<int64_t>(width - static_cast<int64_t>(number.size()), 0);
        return number.insert(first, std::string(static_cast<size_t>(missing), '0'));
    }
    if (has_zeros) not_known(spec);
    return pad(number, width, align == ' ' ? '>' : align, fill);
}

}  // namespace

Value format_braces(Machine& machine, const std::string& form, const Args& args) {
    std::string text;
    size_t next = 0;
    bool counts = false, names_places = false;
    for (size_t at = 0; at < form.size(); ++at) {
        const char c = form[at];
        if (c != '{' && c != '}') {
            text += c;
            continue;
        }
        if (at + 1 < form.size() && form[at + 1] == c) {
            text += c;
            ++at;
            continue;
        }
        const size_t end = form.find_first_of("{}", at + 1);
        if (c == '}' || end == form.npos) fail("a single brace in a format");
        if (form[end] == '{') not_known(form);
        std::string field = form.substr(at + 1, end - at - 1), spec;
        at = end;
        const size_t colon = field.find(':');
        if (colon != field.npos) {
            spec = field.substr(colon + 1);
            field.resize(colon);
        }
        const size_t mark = field.find('!');
        const std::string conversion = mark == field.npos ? "" : field.substr(mark + 1);
        if (mark != field.npos) field.resize(mark);
        Value value;
        if (field.empty() || field.find_first_not_of("0123456789") == field.npos) {
            (field.empty() ? counts : names_places) = true;
            if (counts && names_places)
                fail("cannot switch between manual field specification and automatic field numbering");
            size_t place = 0;
            const size_t index = field.empty() ? next++ : static_cast<size_t>(read_number(field, place));
            if (index >= args.items.size()) fail("Replacement index out of range for positional args tuple");
            value = args.items[index];
        } else {
            if (field.find_first_of(".[") != field.npos) not_known(form);
            for (const auto& [name, item] : args.named) {
                if (name == field) value = item;
            }
            if (value.is(Kind::missing)) fail("KeyError in a format");
        }
        if (conversion == "r" || conversion == "s") {
            value = Value(conversion == "r" ? repr(value) : to_text(value));
        } else if (mark != form.npos) {
            not_known(form);
        }
        text += write_field(value, spec);
        machine.budget.check_size(text.size() / 4);
    }
    return Value(std::move(text));
}

}  // namespace edgelora::jinja
