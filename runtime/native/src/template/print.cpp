// Values as Python prints them.

#include "template/letters.hpp"
#include "template/values.hpp"

namespace edgelora::jinja {

namespace {

void join_reprs(std::string& text, const Items& items) {
    for (size_t at = 0; at < items.size(); ++at) {
        if (at > 0) text += ", ";
        text += repr(items[at]);
    }
}

}  // namespace

std::string to_text(const Value& value) {
    if (value.is(Kind::undefined)) return "";
    return value.is(Kind::text) ? value.bytes() : repr(value);
}

std::string repr(const Value& value) {
    std::string text;
    switch (value.kind()) {
        case Kind::missing:
        case Kind::undefined: return "Undefined";
        case Kind::none: return "None";
        case Kind::boolean: return value.whole() != 0 ? "True" : "False";
        case Kind::integer: return std::to_string(value.whole());
        case Kind::real: return repr(value.real());
        case Kind::text: return value.is_safe() ? "Markup(" + repr_text(value.bytes()) + ")" : repr_text(value.bytes());
        case Kind::list:
            text = "[";
            join_reprs(text, value.items());
            return text + "]";
        case Kind::tuple:
            text = "(";
            join_reprs(text, value.items());
            return text + (value.items().size() == 1 ? ",)" : ")");
        case Kind::dict:
            for (const auto& [key, item] : value.entries().entries) {
                text += (text.empty() ? "{" : ", ") + repr(key) + ": " + repr(item);
            }
            return (text.empty() ? "{" : text) + "}";
        case Kind::object: break;
    }
    if (const auto* range = value.as<Range>()) {
        const std::string step = range->step == 1 ? "" : ", " + std::to_string(range->step);
        return "range(" + std::to_string(range->start) + ", " + std::to_string(range->stop) + step + ")";
    }
    if (const auto* view = value.as<View>()) {
        Items items;
        for (size_t at = 0; at < view->dict.entries().entries.size(); ++at) items.push_back(view->at(at));
        return std::string(view->type()) + "([" + (join_reprs(text, items), text) + "])";
    }
    lack(std::string("the text of a ") + type_name(value));
}

}  // namespace edgelora::jinja
