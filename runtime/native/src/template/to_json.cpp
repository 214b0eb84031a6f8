// Values as JSON, as Python's `json.dumps` writes them with the options that transformers gives a template.

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "template/letters.hpp"
#include "template/machine.hpp"

namespace edgelora::jinja {

namespace {

struct Writer {
    explicit Writer(Budget& budget_) : budget(budget_) {}
    Budget& budget;
    bool is_ascii = false, sorts = false, is_indented = false;
    std::string space, item_end = ", ", key_end = ": ";
    std::string json;

    void escape(char32_t c) {
        char code[16];
        std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned>(c));
        json += code;
    }

    void text(const std::string& bytes) {
        json += '"';
        for (size_t at = 0; at < bytes.size();) {
            const char32_t c = decode(bytes, at);
            static const std::string letters = "\"\\\n\r\t\f\b", codes = "\"\\nrtfb";
            const size_t place = c < 0x80 ? letters.find(static_cast<char>(c)) : letters.npos;
            if (place != letters.npos) {
                json += '\\';
                json += codes[place];
            } else if (c < 0x20 || (is_ascii && c > 0x7e && c < 0x10000)) {
                if (c == 0x7f) {
                    json += '\x7f';
                } else {
                    escape(c);
                }
            } else if (is_ascii && c >= 0x10000) {
                escape(0xd800 + ((c - 0x10000) >> 10));
                escape(0xdc00 + ((c - 0x10000) & 0x3ff));
            } else {
                append(json, c);
            }
        }
        json += '"';
    }

    std::string number(const Value& value) const {
        if (value.is(Kind::integer)) return std::to_string(value.whole());
        if (std::isinf(value.real())) return value.real() < 0 ? "-Infinity" : "Infinity";
        return repr(value.real());
    }

    void line(size_t level) {
        if (!is_indented) return;
        json += '\n';
        for (; level > 0; --level) json += space;
        budget.check_size(json.size() / 4);
    }

    void key(const Value& key) {
        if (key.is(Kind::text)) {
            text(key.bytes());
        } else if (key.is(Kind::boolean) || key.is(Kind::none)) {
            json += key.is(Kind::none) ? "\"null\"" : key.whole() != 0 ? "\"true\"" : "\"false\"";
        } else if (key.is_number()) {
            json += "\"" + number(key) + "\"";
        } else {
            fail(std::string("keys must be str, int, float, bool or None, not ") + type_name(key));
        }
    }

    void write(const Value& value, size_t level) {
        budget.check_size(json.size() / 4);
        switch (value.kind()) {
            case Kind::none: json += "null"; break;
            case Kind::boolean: json += value.whole() != 0 ? "true" : "false"; break;
            case Kind::integer:
            case Kind::real: json += number(value); break;
            case Kind::text: text(value.bytes()); break;
            case Kind::list:
            case Kind::tuple: {
                if (value.items().empty()) {
                    json += "[]";
                    break;
                }
                json += '[';
                for (size_t at = 0; at < value.items().size(); ++at) {
                    if (at > 0) json += item_end;
                    line(level + 1);
                    write(value.items()[at], level + 1);
                }
                line(level);
                json += ']';
                break;
            }
            case Kind::dict: {
                auto entries = value.entries().entries;
                if (entries.empty()) {
                    json += "{}";
                    break;
                }
                if (sorts) {
                    std::stable_sort(entries.begin(), entries.end(),
                                     [](const auto& one, const auto& other) { return less(one.first, other.first); });
                }
                json += '{';
                for (size_t at = 0; at < entries.size(); ++at) {
                    if (at > 0) json += item_end;
                    line(level + 1);
                    key(entries[at].first);
                    json += key_end;
                    write(entries[at].second, level + 1);
                }
                line(level);
                json += '}';
                break;
            }
            default: fail(std::string("Object of type ") + type_name(value) + " is not JSON serializable");
        }
    }
};

}  // namespace

std::string to_json(Machine& machine, const Value& value, const Args& args) {
    const Items bound = args.bind({"ensure_ascii", "indent", "separators", "sort_keys"});
    Writer writer(machine.budget);
    writer.is_ascii = is_true(bound[0]);
    writer.sorts = is_true(bound[3]);
    if (!bound[1].is(Kind::missing) && !bound[1].is(Kind::none)) {
        writer.is_indented = true;
        writer.item_end = ",";
        if (bound[1].is(Kind::text)) {
            writer.space = bound[1].bytes();
        } else {
            writer.space = std::string(static_cast<size_t>(std::max<int64_t>(to_whole(bound[1]), 0)), ' ');
        }
    }
    if (!bound[2].is(Kind::missing) && !bound[2].is(Kind::none)) {
        const Items separators = to_items(bound[2], machine.budget);
        if (separators.size() != 2) fail("separators are two");
        writer.item_end = to_bytes(separators[0], "separators");
        writer.key_end = to_bytes(separators[1], "separators");
    }
    writer.write(value, 0);
    return std::move(writer.json);
}

}  // namespace edgelora::jinja
