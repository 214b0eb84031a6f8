// Methods of texts, which count characters as Python does.

#include <algorithm>

#include "template/letters.hpp"
#include "template/machine.hpp"
#include "template/operations.hpp"

namespace edgelora::jinja {

namespace {

bool given(const Value& value) { return !value.is(Kind::missing) && !value.is(Kind::none); }

// A call of one method; what it gives is marked as safe where the text is.
struct Call {
    Machine& machine;
    const Value& text;
    const std::string& name;
    const Args& args;

    const std::string& bytes() const { return text.bytes(); }
    Value same(std::string changed) const { return Value(std::move(changed), text.is_safe()); }
    Value list(const std::vector<std::string>& parts) const {
        Items items;
        for (const std::string& part : parts) items.push_back(same(part));
        return Value::list(std::move(items));
    }
    bool starts_with(const char* prefix) const { return name.rfind(prefix, 0) == 0; }
};

Value strip(const Call& call) {
    const Items bound = call.args.bind({"chars"});
    std::u32string chars;
    if (given(bound[0])) chars = decode_utf8(to_bytes(bound[0], "strip"));
    const auto goes = [&](char32_t c) { return given(bound[0]) ? chars.find(c) != chars.npos : is_space(c); };
    const std::string& text = call.bytes();
    size_t start = 0, end = text.size();
    while (call.name != "rstrip" && start < end) {
        size_t next = start;
        if (!goes(decode(text, next))) break;
        start = next;
    }
    while (call.name != "lstrip" && end > start) {
        size_t before = end - 1;
        while (before > start && (static_cast<unsigned char>(text[before]) & 0xc0) == 0x80) --before;
        size_t next = before;
        if (!goes(decode(text, next))) break;
        end = before;
    }
    return call.same(text.substr(start, end - start));
}

Value split(const Call& call) {
    const Items bound = call.args.bind({"sep", "maxsplit"});
    int64_t most = bound[1].is(Kind::missing) ? -1 : to_whole(bound[1]);
    const std::string& text = call.bytes();
    const bool from_end = call.name == "rsplit";
    std::vector<std::string> parts;
    if (given(bound[0])) {
        const std::string& separator = to_bytes(bound[0], "split");
        if (separator.empty()) fail("empty separator");
        size_t start = 0, end = text.size();
        while (most-- != 0) {
            const size_t place =
                from_end ? (end < separator.size() ? text.npos : text.rfind(separator, end - separator.size()))
                         : text.find(separator, start);
            if (place == text.npos) break;
            if (from_end) {
                parts.push_back(text.substr(place + separator.size(), end - place - separator.size()));
                end = place;
            } else {
                parts.push_back(text.substr(start, place - start));
                start = place + separator.size();
            }
        }
        parts.push_back(text.substr(start, end - start));
    } else {
        std::u32string all = decode_utf8(text);
        if (from_end) std::reverse(all.begin(), all.end());
        const auto flush = [&](std::u32string part) {
            if (from_end) std::reverse(part.begin(), part.end());
            parts.push_back(encode_utf8(part));
        };
        for (size_t at = 0; at < all.size();) {
            while (at < all.size() && is_space(all[at])) ++at;
            if (at == all.size()) break;
            if (most-- == 0) {
                flush(all.substr(at));  // white space at the other end stays
                break;
            }
            const size_t start = at;
            while (at < all.size() && !is_space(all[at])) ++at;
            flush(all.substr(start, at - start));
        }
    }
    if (from_end) std::reverse(parts.begin(), parts.end());
    return call.list(parts);
}

Value partition(const Call& call) {
    const std::string& separator = to_bytes(call.args.bind({"sep"}, 1)[0], "partition");
    if (separator.empty()) fail("empty separator");
    const bool from_end = call.name == "rpartition";
    const std::string& text = call.bytes();
    const size_t place = from_end ? text.rfind(separator) : text.find(separator);
    if (place == text.npos) {
        return from_end ? Value::tuple({call.same(""), call.same(""), call.text})
                        : Value::tuple({call.text, call.same(""), call.same("")});
    }
    return Value::tuple(
        {call.same(text.substr(0, place)), call.same(separator), call.same(text.substr(place + separator.size()))});
}

// The part of the text that `start` and `end` name; false where it begins behind the text.
bool part_of(const Call& call, const Value& start, const Value& end, Value& part, int64_t& first) {
    const auto length = static_cast<int64_t>(call.text.text().length);
    const auto clip = [&](const Value& index, int64_t otherwise) {
        if (!given(index)) return otherwise;
        const int64_t at = to_whole(index);
        return at < 0 ? std::max<int64_t>(at + length, 0) : at;
    };
    first = clip(start, 0);
    const int64_t last = std::min(clip(end, length), length);
    if (first > length || first > last) return false;
    part = first == 0 && last == length ? call.text : characters(call.text, first, last - first, 1);
    return true;
}

Value find(const Call& call) {
    const Items bound = call.args.bind({"sub", "start", "end"}, 1);
    const std::string& what = to_bytes(bound[0], "find");
    const bool from_end = call.name[0] == 'r';
    Value part;
    int64_t first = 0;
    if (part_of(call, bound[1], bound[2], part, first)) {
        const size_t place = from_end ? part.bytes().rfind(what) : part.bytes().find(what);
        if (place != std::string::npos) {
            return Value(first +
                         static_cast<int64_t>(count_characters(std::string_view(part.bytes()).substr(0, place))));
        }
    }
    if (call.name.find("index") != std::string::npos) fail("substring not found");
    return Value(int64_t{-1});
}

Value count(const Call& call) {
    const Items bound = call.args.bind({"sub", "start", "end"}, 1);
    const std::string& what = to_bytes(bound[0], "count");
    Value part;
    int64_t first = 0, found = 0;
    if (!part_of(call, bound[1], bound[2], part, first)) return Value(found);
    if (what.empty()) return Value(static_cast<int64_t>(part.text().length) + 1);
    const std::string& text = part.bytes();
    for (size_t at = text.find(what); at != text.npos; at = text.find(what, at + what.size())) ++found;
    return Value(found);
}

Value starts(const Call& call) {
    const Items bound = call.args.bind({"prefix", "start", "end"}, 1);
    const bool at_end = call.name == "endswith";
    Value part;
    int64_t first = 0;
    const bool is_part = part_of(call, bound[1], bound[2], part, first);
    const Items parts = bound[0].is(Kind::tuple) ? bound[0].items() : Items{bound[0]};
    for (const Value& item : parts) {
        const std::string& what = to_bytes(item, "startswith");
        if (!is_part || what.size() > part.bytes().size()) continue;
        if (part.bytes().compare(at_end ? part.bytes().size() - what.size() : 0, what.size(), what) == 0)
            return Value(true);
    }
    return Value(false);
}

Value remove(const Call& call) {
    const std::string& what = to_bytes(call.args.bind({"prefix"}, 1)[0], "removeprefix");
    const std::string& text = call.bytes();
    const bool at_end = call.name == "removesuffix";
    if (what.size() > text.size() || text.compare(at_end ? text.size() - what.size() : 0, what.size(), what) != 0)
        return call.text;
    return call.same(at_end ? text.substr(0, text.size() - what.size()) : text.substr(what.size()));
}

Value pad(const Call& call) {
    const Items bound = call.args.bind({"width", "fillchar"}, 1);
    const Value fill = bound[1].is(Kind::missing) ? Value(" ") : bound[1];
    if (!fill.is(Kind::text) || fill.text().length != 1) fail("The fill character must be exactly one character long");
    const int64_t width = to_whole(bound[0]);
    const int64_t missing = std::max<int64_t>(width - static_cast<int64_t>(call.text.text().length), 0);
    int64_t left = call.name == "ljust" ? 0 : missing;
    if (call.name == "center") left = missing / 2 + (missing & width & 1);
    std::string padded;
    for (int64_t at = 0; at < left; ++at) padded += fill.bytes();
    padded += call.bytes();
    for (int64_t at = left; at < missing; ++at) padded += fill.bytes();
    return call.same(std::move(padded));
}

Value zfill(const Call& call) {
    const int64_t width = to_whole(call.args.bind({"width"}, 1)[0]);
    const int64_t missing = std::max<int64_t>(width - static_cast<int64_t>(call.text.text().length), 0);
    const size_t sign = !call.bytes().empty() && (call.bytes()[0] == '-' || call.bytes()[0] == '+') ? 1 : 0;
    return call.same(call.bytes().substr(0, sign) + std::string(static_cast<size_t>(missing), '0') +
                     call.bytes().substr(sign));
}

// isalpha and its like: some characters, and all of the kind.
Value is_made_of(const Call& call) {
    call.args.bind({});
    bool all = !call.bytes().empty() || call.name == "isascii";
    for (size_t at = 0; at < call.bytes().size();) {
        const char32_t c = decode(call.bytes(), at);
        if (call.name == "isascii") {
            all &= c < 0x80;
        } else if (call.name == "isspace") {
            all &= is_space(c);
        } else if (call.name == "isalpha") {
            all &= is_letter(c);
        } else if (call.name == "isalnum") {
            all &= is_word(c);
        } else if (call.name == "isdecimal") {
            all &= is_decimal(c);
        } else if (call.name == "isdigit") {
            all &= is_digit(c);
        } else {  // isnumeric: numbers in Chinese are letters
            if (c > 0x7f && is_letter(c)) lack("whether " + repr_text(encode_utf8(std::u32string(1, c))) + " is a number");
            all &= is_word(c) && !is_letter(c);
        }
    }
    return Value(all);
}

Value has_case(const Call& call) {
    call.args.bind({});
    bool is_cased = false, was_cased = false;
    for (size_t at = 0; at < call.bytes().size();) {
        const char32_t c = decode(call.bytes(), at);
        const Case kind = case_of(c);
        if (kind == Case::unknown) lack("the case of " + repr_text(encode_utf8(std::u32string(1, c))));
        const bool is_upper = kind == Case::upper || kind == Case::title;
        if (call.name == "islower" ? is_upper
                                   : call.name == "isupper" && (kind == Case::lower || kind == Case::title)) {
            return Value(false);
        }
        if (call.name == "istitle" && kind != Case::none && is_upper == was_cased) return Value(false);
        was_cased = kind != Case::none;
        is_cased |= was_cased;
    }
    return Value(is_cased);
}

}  // namespace

std::vector<std::string> split_lines(const std::string& text, bool keep_ends) {
    std::vector<std::string> lines;
    size_t start = 0;
    for (size_t at = 0; at < text.size();) {
        const size_t end = at;
        const char32_t c = decode(text, at);
        if (!((c >= 10 && c <= 13) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029)) continue;
        if (c == '\r' && at < text.size() && text[at] == '\n') ++at;
        lines.push_back(text.substr(start, (keep_ends ? at : end) - start));
        start = at;
    }
    if (start < text.size()) lines.push_back(text.substr(start));
    return lines;
}

Value join_texts(Machine& machine, const std::string& separator, const Items& items, bool any_type) {
    std::string joined;
    for (size_t at = 0; at < items.size(); ++at) {
        if (at > 0) joined += separator;
        if (!any_type && !items[at].is(Kind::text)) {
            fail("sequence item " + std::to_string(at) + ": expected str instance, " + type_name(items[at]) + " found");
        }
        if (items[at].is_safe() && !any_type) lack("a text that is marked as safe");
        joined += to_text(items[at]);
        machine.budget.check_size(joined.size() / 4);
    }
    return Value(std::move(joined));
}

Value replace(Machine& machine, const std::string& text, const std::string& old, const std::string& with,
              int64_t count) {
    std::string replaced;
    size_t at = 0;
    while (count != 0 && at <= text.size()) {
        const size_t place = old.empty() ? at : text.find(old, at);
        if (place == text.npos) break;
        replaced += text.substr(at, place - at) + with;
        at = place + old.size();
        if (old.empty()) {
            if (at >= text.size()) return Value(std::move(replaced));
            const size_t start = at;
            decode(text, at);
            replaced += text.substr(start, at - start);
        }
        if (count > 0) --count;
        machine.budget.check_size(replaced.size() / 4);
    }
    return Value(at < text.size() ? replaced + text.substr(at) : replaced);
}

Value call_text_method(Machine& machine, const Value& text, const std::string& name, const Args& args) {
    const Call call{machine, text, name, args};
    const bool has_names = name == "format" || name == "split" || name == "rsplit" || name == "splitlines";
    if (!args.named.empty() && !has_names) fail("str." + name + "() takes no keyword arguments");
    for (const char* const other :
         {"join", "format", "replace", "center", "ljust", "rjust", "partition", "rpartition"}) {
        if (text.is_safe() && name == other) lack("the method '" + name + "' of a text that is marked as safe");
    }
    if (name == "strip" || name == "lstrip" || name == "rstrip") return strip(call);
    if (name == "split" || name == "rsplit") return split(call);
    if (name == "startswith" || name == "endswith") return starts(call);
    if (name == "replace") {
        const Items bound = args.bind({"old", "new", "count"}, 2);
        const int64_t most = bound[2].is(Kind::missing) ? -1 : to_whole(bound[2]);
        return replace(machine, text.bytes(), to_bytes(bound[0], "replace"), to_bytes(bound[1], "replace"), most);
    }
    if (name == "join") {
        return join_texts(machine, text.bytes(), to_items(args.bind({"iterable"}, 1)[0], machine.budget), false);
    }
    if (name == "format") return format_braces(machine, text.bytes(), args);
    if (name == "splitlines") return call.list(split_lines(text.bytes(), to_flag(args.bind({"keepends"})[0])));
    if (name == "partition" || name == "rpartition") return partition(call);
    if (name == "find" || name == "rfind" || name == "index" || name == "rindex") return find(call);
    if (name == "count") return count(call);
    if (name == "removeprefix" || name == "removesuffix") return remove(call);
    if (name == "center" || name == "ljust" || name == "rjust") return pad(call);
    if (name == "zfill") return zfill(call);
    if (name == "islower" || name == "isupper" || name == "istitle") return has_case(call);
    if (call.starts_with("is")) return is_made_of(call);
    args.bind({});
    if (name == "upper") return call.same(to_upper(text.bytes()));
    if (name == "lower") return call.same(to_lower(text.bytes()));
    if (name == "title") return call.same(to_title(text.bytes()));
    if (name == "capitalize") return call.same(to_capitalized(text.bytes()));
    if (name == "swapcase") return call.same(swap_case(text.bytes()));
    lack("the method '" + name + "'");
}

}  // namespace edgelora::jinja
