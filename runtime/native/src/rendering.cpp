#include "rendering.hpp"

#include <cstdlib>

#include "messages.hpp"
#include "names.hpp"

namespace edgelora {

namespace {

const char* const needle = "edgelora needle";  // whatever finds its way through a template did not get lost in it

bool has(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

// Variables for a template by name.
void check_variables(const Json& variables) {
    if (!variables.is_object()) {
        throw Error(Code::invalid_input,
                    "template is " + show(variables) + ", expected an object of variables by name");
    }
    for (const auto& [name, value] : variables.items()) {
        if (is_variable(name)) continue;
        throw Error(
            Code::invalid_input,
            "template variable " + show(name) + " cannot be set; expected a name such as enable_thinking, and none " +
                "of messages, tools, documents, add_generation_prompt, raise_exception, strftime_now, which every " +
                "template gets");
    }
}

void check_date(const std::string& date) {
    bool is_day = date.size() == 10 && date[4] == '-' && date[7] == '-';
    for (size_t at = 0; is_day && at < date.size(); ++at)
        is_day = at == 4 || at == 7 || (date[at] >= '0' && date[at] <= '9');
    if (is_day) {
        const int year = std::atoi(date.substr(0, 4).c_str()), month = std::atoi(date.substr(5, 2).c_str());
        const int day = std::atoi(date.substr(8, 2).c_str());
        const bool is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
        is_day = year > 0 && month >= 1 && month <= 12 && day >= 1 &&
                 day <= lengths[month - 1] + (month == 2 && is_leap ? 1 : 0);
    }
    if (!is_day) throw Error(Code::invalid_input, "date is " + show(date) + ", expected a day as YYYY-MM-DD");
}

}  // namespace

Renderer::Renderer(const std::string& source, Json variables, std::optional<std::string> date)
    : Renderer(ChatTemplate::compile(source), std::move(variables), std::move(date)) {}

Renderer::Renderer(ChatTemplate compiled, Json variables, std::optional<std::string> date)
    : compiled_(std::move(compiled)), variables_(std::move(variables)), date_(std::move(date)) {
    check_variables(variables_);
    if (date_) check_date(*date_);
    // Whether the template can use content as text, and as a list of parts: tried out, as llama.cpp does. A template
    // that wants text prints a list of parts with its keys.
    const auto try_out = [&](const Json& content) {
        Json message = Json::object();
        message["role"] = "user";
        message["content"] = content;
        return attempt(Json::array({message}), true, nullptr).value_or("");
    };
    const std::string of_text = try_out(needle), of_parts = try_out(as_parts(needle));
    takes_text_ = has(of_text, needle);
    takes_parts_ = has(of_parts, needle) && !has(of_parts, "'type'") && !has(of_parts, "\"type\"");
}

Renderer Renderer::replace(const Json& variables, const std::optional<std::string>& date) const {
    check_variables(variables);
    Json all = variables_;
    for (const auto& [name, value] : variables.items()) all[name] = value;
    return Renderer(compiled_, std::move(all), date ? date : date_);
}

std::string Renderer::render(const Json& messages, bool add_generation_prompt, const Json* tools) const {
    Json given = Json::array(), without_calls = Json::array(), without_results = Json::array();
    bool has_calls = false, has_results = false;
    for (const Json& message : check_messages(messages)) {
        given.push_back(convert(message));
        without_calls.push_back(given.back());
        has_calls |= without_calls.back().erase("tool_calls") > 0;
        const Json* content = find_key(given.back(), "content");
        if (given.back()["role"] != "tool") {
            without_results.push_back(given.back());
        } else if (content != nullptr && *content != "" && !content->empty()) {
            has_results = true;
        }
    }
    const Json known = tools == nullptr ? Json() : check_tools(*tools);
    const std::string text = render_checked(given, add_generation_prompt, known);
    const auto refuse_if = [&](bool is_given, const Json& fewer, const Json& others, const char* name) {
        if (!is_given || attempt(fewer, add_generation_prompt, others) != text) return;
        throw Error(Code::invalid_input, std::string("the chat template has no place for ") + name +
                                             "; leave them out, or write them as text");
    };
    refuse_if(!known.empty(), given, nullptr, "tools");
    refuse_if(has_calls, without_calls, known, "tool_calls");
    refuse_if(has_results, without_results, known, "messages of the role tool");
    return text;
}

// The message with its content in a form that the template can use.
Json Renderer::convert(const Json& message) const {
    Json converted = message;
    const Json* content = find_key(message, "content");
    if (content == nullptr) return converted;
    if (content->is_string() && takes_parts_ && !takes_text_)
        converted["content"] = as_parts(content->get<std::string>());
    if (content->is_array() && !takes_parts_) converted["content"] = as_text(*content);
    return converted;
}

std::optional<std::string> Renderer::attempt(const Json& messages, bool add_generation_prompt,
                                             const Json& tools) const {
    try {
        return render_checked(messages, add_generation_prompt, tools);
    } catch (const Error& error) {
        if (error.code != Code::invalid_input) throw;
        return std::nullopt;
    }
}

std::string Renderer::render_checked(const Json& messages, bool add_generation_prompt, const Json& tools) const {
    Json variables = Json::object();
    variables["messages"] = messages;
    variables["tools"] = tools;
    variables["documents"] = nullptr;
    variables["add_generation_prompt"] = add_generation_prompt;
    for (const auto& [name, value] : variables_.items()) variables[name] = value;
    return compiled_.render(variables, date_.value_or(""));
}

}  // namespace edgelora
