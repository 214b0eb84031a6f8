#include "messages.hpp"

namespace edgelora {

namespace {

[[noreturn]] void refuse(const std::string& reason) { throw Error(Code::invalid_input, reason); }

bool is_list_of_objects(const Json& value) {
    if (!value.is_array()) return false;
    for (const Json& item : value) {
        if (!item.is_object()) return false;
    }
    return true;
}

const Json& value_of(const Json& object, const char* key) {
    static const Json null;
    const Json* found = find_key(object, key);
    return found == nullptr ? null : *found;
}

Json without_nulls(const Json& object, const char* kept = "") {
    Json found = Json::object();
    for (const auto& [key, value] : object.items()) {
        if (!value.is_null() || key == kept) found[key] = value;
    }
    return found;
}

Json check_part(const std::string& message, size_t number, const Json& part) {
    const std::string where = message + ": part " + std::to_string(number);
    const Json& type = value_of(part, "type");
    if (!type.is_string()) refuse(where + " is " + show(part) + ", expected {'type': 'text', 'text': ...}");
    if (type != "text") refuse(where + " is of type " + show(type) + "; the model reads text alone");
    if (!value_of(part, "text").is_string()) {
        refuse(where + " has the text " + show(value_of(part, "text")) + ", expected a string");
    }
    return without_nulls(part);
}

Json check_message(size_t index, const Json& message) {
    const std::string where = "message " + std::to_string(index);
    if (!value_of(message, "role").is_string())
        refuse(where + " is " + show(message) + ", expected {'role', 'content'}");
    Json checked =
        without_nulls(message, "content");  // tables with a column for every key write null where a row has none
    const Json calls = value_of(checked, "tool_calls"), content = value_of(checked, "content");
    if (!calls.is_null() && !is_list_of_objects(calls)) {
        refuse(where + ": tool_calls is " + show(calls) + ", expected a list of JSON objects");
    }
    if (calls.is_array() && calls.empty()) checked.erase("tool_calls");
    if (content.is_null()) {
        if (calls.is_array() && !calls.empty()) return checked;
        const std::string found = find_key(message, "content") != nullptr ? "None" : "missing";
        refuse(where + ": content is " + found + ", expected text; leave the message out, or give it text");
    }
    if (content.is_string()) return checked;
    if (!content.is_array())
        refuse(where + ": content is " + show(content) + ", expected text or a list of text parts");
    Json parts = Json::array();
    for (const Json& part : content) parts.push_back(check_part(where, parts.size(), part));
    checked["content"] = std::move(parts);
    return checked;
}

}  // namespace

Json check_messages(const Json& messages) {
    if (!messages.is_array() || messages.empty()) {
        refuse("messages is " + show(messages) + ", expected a list of at least one {'role', 'content'}");
    }
    Json checked = Json::array();
    for (const Json& message : messages) checked.push_back(check_message(checked.size(), message));
    return checked;
}

Json check_tools(const Json& tools) {
    Json given = tools;
    if (tools.is_string()) {
        try {
            given = parse_json(tools.get_ref<const std::string&>(), "tools");
        } catch (const Error&) {
            given = tools;  // no list, which is said below
        }
    }
    if (!given.is_array()) {
        refuse("tools is " + show(given) + ", expected a list of JSON objects, each with the schema of a function");
    }
    for (size_t index = 0; index < given.size(); ++index) {
        if (given[index].is_object()) continue;
        refuse("tool " + std::to_string(index) + " is " + show(given[index]) +
               ", expected the JSON schema of a function");
    }
    return given;
}

std::string as_text(const Json& parts) {
    std::string text;
    for (const Json& part : parts) text += (&part == &parts.front() ? "" : "\n") + part.at("text").get<std::string>();
    return text;
}

Json as_parts(const std::string& text) {
    Json part = Json::object();
    part["type"] = "text";
    part["text"] = text;
    return Json::array({part});
}

}  // namespace edgelora
