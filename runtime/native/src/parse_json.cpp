#include "parse_json.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <unordered_set>
#include <utility>

#include "characters.hpp"

namespace edgelora {
namespace {

constexpr std::size_t kShown = 60;  // characters of a value in a message
constexpr std::size_t kLongestReason = 250;
constexpr std::size_t kRoom = 320;  // characters of a list in a message
constexpr std::string_view kMark = "\xef\xbb\xbf";
constexpr int kNumberOverflow = 406;  // the parser's number for this exception

// What is wrong with a text that is no JSON, in a few words.
struct JsonError {
    std::string words;
};

// One list or object that is being read. Its values wait here, so that none is copied when the value grows.
struct Frame {
    bool is_object;
    std::vector<std::string> keys;
    std::vector<Json> values;
};

bool begins_with(std::string_view text, std::string_view start) { return text.substr(0, start.size()) == start; }

std::string place_of(std::string_view text, std::size_t at) {
    const std::string_view before = text.substr(0, std::min(at, text.size()));
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    const std::size_t start = before.rfind('\n') + 1;  // npos + 1 is 0
    return "line " + std::to_string(line) + ", column " + std::to_string(1 + count_characters(before.substr(start)));
}

// What the parser tells of a text, made into a value.
class Builder {
  public:
    explicit Builder(std::string_view text) : text_(text) {}

    bool null() { return add(nullptr); }
    bool boolean(bool value) { return add(value); }
    bool number_integer(Json::number_integer_t value) { return add(value); }
    bool number_unsigned(Json::number_unsigned_t value) { return add(value); }
    bool number_float(Json::number_float_t value, const std::string& /*text*/) { return add(value); }
    bool string(std::string& value) { return add(std::move(value)); }
    bool binary(Json::binary_t& /*value*/) { return false; }  // no JSON text has one
    bool start_object(std::size_t /*count*/) { return open(true); }
    bool start_array(std::size_t /*count*/) { return open(false); }
    bool end_array() { return close(); }
    bool end_object() { return close(); }

    bool key(std::string& name) {
        frames_.back().keys.push_back(std::move(name));
        return true;
    }

    bool parse_error(std::size_t position, const std::string& last, const nlohmann::detail::exception& error) {
        const std::string_view said = error.what();
        if (error.id == kNumberOverflow) throw JsonError{"the number " + show(last) + " is beyond float64"};
        if (said.find("surrogate") != said.npos) throw JsonError{"half of a surrogate pair, which is no character"};
        const std::size_t at = position == 0 ? 0 : position - 1;
        const std::size_t start = at - std::min(at, last.size());
        for (const std::string_view word : {"NaN", "-Infinity", "Infinity"}) {
            const std::size_t found = text_.find(word, start);
            if (found != text_.npos && found <= at) throw JsonError{std::string(word) + " is no number of JSON"};
        }
        const char* what = at >= text_.size() ? "it ends too early" : "something unexpected";
        throw JsonError{what + (" at " + place_of(text_, at))};
    }

    Json take() { return std::move(result_); }

  private:
    bool open(bool is_object) {
        if (frames_.size() == kDeepestJson) {
            throw JsonError{"nested more than " + std::to_string(kDeepestJson) + " deep"};
        }
        frames_.push_back({is_object, {}, {}});
        return true;
    }

    bool close() {
        Frame frame = std::move(frames_.back());
        frames_.pop_back();
        if (!frame.is_object) {
            frame.values.shrink_to_fit();
            return add(Json::array_t(std::move(frame.values)));
        }
        refuse_twice(frame.keys);
        Json::object_t object;
        object.reserve(frame.keys.size());
        for (std::size_t index = 0; index < frame.keys.size(); index++) {
            object.emplace_back(std::move(frame.keys[index]), std::move(frame.values[index]));
        }
        return add(std::move(object));
    }

    static void refuse_twice(const std::vector<std::string>& keys) {
        std::unordered_set<std::string_view> seen;
        seen.reserve(keys.size());
        for (const std::string& key : keys) {
            if (!seen.insert(key).second) throw JsonError{"the key " + show(key) + " stands twice in one object"};
        }
    }

    template <typename Value>
    bool add(Value&& value) {
        if (frames_.empty()) {
            result_ = std::forward<Value>(value);
        } else {
            frames_.back().values.emplace_back(std::forward<Value>(value));
        }
        return true;
    }

    std::string_view text_;
    std::vector<Frame> frames_;
    Json result_;
};

Json read_value(std::string_view content, std::size_t limit) {
    if (content.size() > limit) throw JsonError{"longer than " + std::to_string(limit) + " bytes"};
    if (const auto bad = find_bad_utf8(content)) throw JsonError{"not UTF-8 at byte " + std::to_string(*bad)};
    if (begins_with(content, kMark)) content.remove_prefix(kMark.size());
    // The parser would skip a second mark, and take a zero byte for the end of the text.
    if (begins_with(content, kMark)) throw JsonError{"something unexpected at line 1, column 1"};
    if (const std::size_t zero = content.find('\0'); zero != content.npos) {
        throw JsonError{"a zero byte at " + place_of(content, zero)};
    }
    Builder builder(content);
    Json::sax_parse(content.begin(), content.end(), &builder);
    return builder.take();
}

std::string cut(std::string text) {
    const std::string_view kept = first_characters(text, 2 * kShown);
    return kept.size() == text.size() ? text : std::string(kept) + "…";
}

void append_escaped(char32_t point, std::string& out) {
    constexpr char digits[] = "0123456789abcdef";
    const int count = point < 0x100 ? 2 : point < 0x10000 ? 4 : 8;
    out += count == 2 ? "\\x" : count == 4 ? "\\u" : "\\U";
    for (int shift = 4 * (count - 1); shift >= 0; shift -= 4) out += digits[point >> shift & 0xf];
}

std::string quoted(std::string_view text) {
    const bool has_single = text.find('\'') != text.npos;
    const char quote = has_single && text.find('"') == text.npos ? '"' : '\'';
    std::string out(1, quote);
    for (const char32_t point : decode_utf8(text)) {
        if (point == U'\\' || point == static_cast<char32_t>(quote)) {
            out += '\\';
            append_utf8(point, out);
        } else if (point == U'\n' || point == U'\r' || point == U'\t') {
            out += point == U'\n' ? "\\n" : point == U'\r' ? "\\r" : "\\t";
        } else if (is_printable(point)) {
            append_utf8(point, out);
        } else {
            append_escaped(point, out);
        }
    }
    return out + quote;
}

std::string leaf(const Json& value) { return value.is_structured() ? "…" : show(value); }

// One level deep: what lies deeper may be long.
std::string flat(const Json& value) {
    std::string told;
    for (const auto& [key, item] : value.items()) {
        told += told.empty() ? "" : ", ";
        told += value.is_object() ? show(std::string_view(key)) + ": " + leaf(item) : leaf(item);
    }
    return value.is_object() ? "{" + told + "}" : "[" + told + "]";
}

}  // namespace

Json parse_json(std::string_view content, const std::string& where, Code code, const std::string& advice,
                std::size_t limit) {
    try {
        return read_value(content, limit);
    } catch (const JsonError& error) {
        throw Error(code, where + " is not JSON (" + error.words + "); " + advice);
    }
}

Json parse_json(std::string_view content, const std::string& where) {
    return parse_json(content, where, Code::artifact, "copy the artifact again");
}

std::string show(std::string_view text) {
    constexpr std::size_t fewest = 12;  // of them no form is too long
    std::size_t count = kShown;
    std::string told = quoted(first_characters(text, count));
    for (; count > fewest && count_characters(told) > 2 * kShown; count -= fewest) {
        told = quoted(first_characters(text, count - fewest));
    }
    return told + (count_characters(text) > count ? "…" : "");
}

std::string show(const Json& value) {
    if (value.is_string()) return show(std::string_view(value.get_ref<const std::string&>()));
    if (value.is_number_float() && !std::isfinite(value.get<double>())) {  // JSON has no word for it
        return std::isnan(value.get<double>()) ? "nan" : value.get<double>() > 0 ? "inf" : "-inf";
    }
    if (!value.is_structured()) return cut(value.dump());
    if (value.size() > 4) return (value.is_object() ? "an object of " : "a list of ") + std::to_string(value.size());
    return cut(flat(value));
}

std::string join_some(const std::vector<std::string>& lines, const std::string& separator) {
    std::string told;
    std::size_t count = 0;
    auto room = static_cast<std::ptrdiff_t>(kRoom);
    for (const std::string& line : lines) {
        const auto size = static_cast<std::ptrdiff_t>(count_characters(line));
        if (count > 0 && size > room) break;
        told += count > 0 ? separator : "";
        told += size <= room ? line : std::string(first_characters(line, kRoom)) + "…";
        room -= size + static_cast<std::ptrdiff_t>(separator.size());
        count++;
    }
    if (count < lines.size()) told += separator + "and " + std::to_string(lines.size() - count) + " more";
    return told;
}

std::string one_line(std::string_view text) {
    std::u32string points;
    for (const char32_t point : decode_utf8(text.substr(0, 4 * kLongestReason))) {
        if (points.size() == kLongestReason) break;
        if (!is_blank(point)) {
            points.push_back(is_printable(point) ? point : U'?');
        } else if (!points.empty() && points.back() != U' ') {
            points.push_back(U' ');
        }
    }
    while (!points.empty() && points.back() == U' ') points.pop_back();
    return encode_utf8(points);
}

const Json* find_key(const Json& value, std::string_view key) {
    if (!value.is_object()) return nullptr;
    for (const auto& item : value.get_ref<const Json::object_t&>()) {
        if (item.first == key) return &item.second;
    }
    return nullptr;
}

bool is_nothing(const Json& value) {
    if (value.is_boolean()) return !value.get<bool>();
    if (value.is_number()) return value == 0;
    if (value.is_string()) return value.get_ref<const std::string&>().empty();
    return value.empty();
}

bool is_same(const Json& one, const Json& other) {
    if (one.is_array() && other.is_array()) {
        return std::equal(one.begin(), one.end(), other.begin(), other.end(), is_same);
    }
    if (!one.is_object() || !other.is_object()) return one == other;
    const auto sorted = [](const Json& object) {
        std::vector<const Json::object_t::value_type*> items;
        for (const auto& item : object.get_ref<const Json::object_t&>()) items.push_back(&item);
        std::sort(items.begin(), items.end(), [](auto* item, auto* next) { return item->first < next->first; });
        return items;
    };
    const auto ours = sorted(one), theirs = sorted(other);
    return std::equal(ours.begin(), ours.end(), theirs.begin(), theirs.end(), [](auto* item, auto* counterpart) {
        return item->first == counterpart->first && is_same(item->second, counterpart->second);
    });
}

}  // namespace edgelora
