#include "request.hpp"

#include <algorithm>
#include <set>

#include "errors.hpp"
#include "parse_json.hpp"

namespace edgelora {

namespace {

std::string show_list(const std::vector<std::string>& texts) {
    Json list = Json::array();
    for (const std::string& text : texts) {
        list.push_back(text);
    }
    return show(list);
}

}  // namespace

void check_request(const Request& request) {
    check_sampling(request.sampling);
    std::vector<std::string> wrong;
    if (request.max_new_tokens < 1) {
        wrong.push_back("max_new_tokens is " + std::to_string(request.max_new_tokens) +
                        ", expected a whole number from 1");
    }
    if (std::any_of(request.stops.begin(), request.stops.end(), [](const auto& stop) { return stop.empty(); })) {
        wrong.push_back("stop is " + show_list(request.stops) + ", expected strings that are not empty");
    }
    if (request.choices) {
        const std::vector<std::string>& choices = *request.choices;
        if (choices.empty() || std::set<std::string>(choices.begin(), choices.end()).size() != choices.size()) {
            wrong.push_back("choices is " + show_list(choices) + ", expected at least one string, all different");
        }
        if (!request.stops.empty()) {
            wrong.push_back("choices and stop exclude each other");
        }
    }
    if (!wrong.empty()) {
        throw Error(Code::invalid_input, join_some(wrong));
    }
}

void check_ids(const std::vector<std::int32_t>& ids, const ModelInfo& info) {
    if (ids.empty()) {
        throw Error(Code::invalid_input,
                    "the prompt has no tokens; give some text (an empty raw prompt has nothing to go on)");
    }
    if (ids.size() > static_cast<std::size_t>(info.context_length)) {
        throw Error(Code::invalid_input, "the prompt is " + std::to_string(ids.size()) +
                                             " tokens, the context length of " + info.name + " is " +
                                             std::to_string(info.context_length) + "; shorten it");
    }
    const auto [least, most] = std::minmax_element(ids.begin(), ids.end());
    if (*least < 0 || *most >= info.vocab_size) {
        throw Error(Code::invalid_input, "token ids go from " + std::to_string(*least) + " to " +
                                             std::to_string(*most) + ", expected 0 to " +
                                             std::to_string(info.vocab_size - 1) + "; was another tokenizer used?");
    }
}

}  // namespace edgelora
