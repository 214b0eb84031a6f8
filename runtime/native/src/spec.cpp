#include "spec.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "characters.hpp"
#include "names.hpp"
#include "parse_json.hpp"

namespace edgelora {
namespace {

constexpr const char* kAdvice = "expected none, NAME, NAME:WEIGHT or a blend such as a:0.7+b:0.3";
constexpr double kLeastLikeness = 0.6;

std::vector<std::string_view> split(std::string_view text, char separator) {
    std::vector<std::string_view> parts;
    for (;;) {
        const std::size_t at = text.find(separator);
        parts.push_back(text.substr(0, at));
        if (at == text.npos) return parts;
        text.remove_prefix(at + 1);
    }
}

// A name that nobody has is told as such, with the nearest one.
bool can_be_name(std::string_view name) {
    const std::u32string points = decode_utf8(name);
    return !points.empty() && std::none_of(points.begin(), points.end(), [](char32_t point) {
        return is_blank(point) || point == U'+' || point == U':' || point == U'/' || point == U'\\';
    });
}

std::string_view take_digits(std::string_view& text) {
    std::size_t count = 0;
    while (count < text.size() && text[count] >= '0' && text[count] <= '9') count++;
    const std::string_view digits = text.substr(0, count);
    text.remove_prefix(count);
    return digits;
}

bool take(std::string_view& text, std::string_view set) {
    if (text.empty() || set.find(text[0]) == set.npos) return false;
    text.remove_prefix(1);
    return true;
}

// The number that a text is, NaN where it is none: what `float` reads of digits, whatever the locale.
double number_of(std::string_view text) {
    constexpr double none = std::numeric_limits<double>::quiet_NaN();
    const bool is_negative = text.substr(0, 1) == "-";
    take(text, "+-");
    std::string_view whole = take_digits(text), part;
    if (take(text, ".")) part = take_digits(text);
    if (whole.empty() && part.empty()) return none;
    whole.remove_prefix(std::min(whole.find_first_not_of('0'), whole.size()));
    std::string json = is_negative ? "-" : "";
    json.append(whole.empty() ? "0" : whole).append(".").append(part.empty() ? "0" : part);
    if (take(text, "eE")) {
        json += text.substr(0, 1) == "-" ? "e-" : "e";
        take(text, "+-");
        const std::string_view digits = take_digits(text);
        if (digits.empty()) return none;
        json += digits;
    }
    const Json value = text.empty() ? Json::parse(json, nullptr, false) : Json();
    return value.is_number() ? value.get<double>() : none;
}

// Length of the longest sequence of characters that both have in this order.
std::size_t common_length(const std::u32string& one, const std::u32string& other) {
    std::vector<std::size_t> above(other.size() + 1, 0);
    for (const char32_t character : one) {
        std::vector<std::size_t> row = {0};
        for (std::size_t index = 0; index < other.size(); index++) {
            row.push_back(other[index] == character ? above[index] + 1 : std::max(row[index], above[index + 1]));
        }
        above = std::move(row);
    }
    return above.back();
}

}  // namespace

Spec parse_spec(std::string_view text) {
    if (strip_blanks(text) == kNoAdapter) return {};
    Spec spec;
    for (const std::string_view term : split(text, '+')) {
        const std::string_view stripped = strip_blanks(term);
        const std::size_t colon = stripped.find(':');
        const std::string_view name = stripped.substr(0, colon);
        if (!can_be_name(name) || name == kNoAdapter) {
            throw Error(Code::adapter, "adapter SPEC " + show(text) + ": " + show(name) +
                                           " is no adapter name in a blend; " + kAdvice);
        }
        const std::string_view weight_text = colon == stripped.npos ? "1" : stripped.substr(colon + 1);
        const double weight = number_of(strip_blanks(weight_text));
        if (!std::isfinite(weight)) {
            throw Error(Code::adapter, "adapter SPEC " + show(text) + ": weight " + show(weight_text) +
                                           " is not a number; " + kAdvice);
        }
        spec.push_back({std::string(name), weight});
    }
    return spec;
}

Spec parse_spec(std::string_view text, const std::vector<std::string>& known) {
    Spec spec = parse_spec(text);
    std::set<std::string> unknown;
    for (const SpecTerm& term : spec) {
        if (std::find(known.begin(), known.end(), term.name) == known.end()) unknown.insert(term.name);
    }
    if (unknown.empty()) return spec;
    std::vector<std::string> shown;
    for (const std::string& name : unknown) shown.push_back(show(name));
    const std::string* close = closest_name(*unknown.begin(), known);
    throw Error(Code::adapter, "unknown adapter " + join_some(shown, ", ") + "; this model has: " +
                                   (known.empty() ? "no adapters" : join_some(known, ", ")) +
                                   (close == nullptr ? "" : "; did you mean " + show(*close) + "?"));
}

void check_name(std::string_view name) {
    if (is_adapter_name(name)) return;
    throw Error(Code::adapter, "adapter name " + show(name) +
                                   " cannot be used; start with a letter or digit, go on with letters, digits, '.', "
                                   "'_' or '-', at most 64 of them, and leave 'none' to the base");
}

const std::string* closest_name(std::string_view name, const std::vector<std::string>& known) {
    const std::u32string wanted = decode_utf8(first_characters(name, 256));  // no name is longer
    const std::string* best = nullptr;
    double likeness = kLeastLikeness;
    for (const std::string& candidate : known) {
        const std::u32string points = decode_utf8(candidate);
        const double found = 2.0 * static_cast<double>(common_length(wanted, points)) /
                             static_cast<double>(wanted.size() + points.size());
        if (found > likeness || (found == likeness && best == nullptr)) {
            best = &candidate;
            likeness = found;
        }
    }
    return best;
}

}  // namespace edgelora
