#include "text.hpp"

#include <algorithm>

#include "characters.hpp"
#include "files.hpp"
#include "names.hpp"

namespace edgelora {
namespace {

bool begins_with(std::string_view text, std::string_view start) { return text.substr(0, start.size()) == start; }

// As Python's str.strip sees it: nothing but white space, and empty text is blank too.
bool is_blank(std::string_view text) {
    for (char32_t point : decode_utf8(text)) {
        const bool is_space = (point >= 0x09 && point <= 0x0D) || (point >= 0x1C && point <= 0x20) || point == 0x85 ||
                              point == 0xA0 || point == 0x1680 || (point >= 0x2000 && point <= 0x200A) ||
                              point == 0x2028 || point == 0x2029 || point == 0x202F || point == 0x205F ||
                              point == 0x3000;
        if (!is_space) return false;
    }
    return true;
}

void check_utf8(std::string_view text) {
    if (const auto bad = find_bad_utf8(text)) {
        throw Error(Code::invalid_input, "the text is no UTF-8 at byte " + std::to_string(*bad) +
                                             "; give text in UTF-8, without halves of characters");
    }
}

}  // namespace

Text::Text(std::shared_ptr<const Tokenizer> tokenizer, std::optional<Renderer> renderer)
    : tokenizer_(std::move(tokenizer)), renderer_(std::move(renderer)) {}

Ids Text::encode(std::string_view text, bool special) const {
    check_utf8(text);
    return tokenizer_->encode(text, special);
}

EncodedText Text::take_apart(std::string_view text, bool with_offsets) const {
    check_utf8(text);
    return tokenizer_->take_apart(text, with_offsets);
}

std::string Text::decode(const Ids& ids, bool special) const { return tokenizer_->decode(ids, !special); }

Text Text::with_template(const Json& variables, const std::optional<std::string>& date) const {
    if (!renderer_) return *this;
    return Text(tokenizer_, renderer_->replace(variables, date));
}

std::string Text::render(const Json& messages, bool add_generation_prompt, const Json* tools) const {
    if (!renderer_) {
        throw Error(Code::invalid_input, "this artifact has no chat template; give raw text (raw=True, --raw)");
    }
    return renderer_->render(messages, add_generation_prompt, tools);
}

Ids Text::encode_chat(const Json& messages, bool add_generation_prompt, const Json* tools) const {
    return encode(render(messages, add_generation_prompt, tools), false);
}

Ids Text::encode_prompt(std::string_view prompt, bool special, const std::vector<std::int64_t>& end_ids) const {
    Ids ids = encode(prompt, special);
    if (!ids.empty() && std::find(end_ids.begin(), end_ids.end(), ids.back()) != end_ids.end()) ids.pop_back();
    return ids;
}

Ids Text::encode_after(std::string_view prompt, std::string_view text, bool special,
                       const std::vector<std::int64_t>& end_ids) const {
    const Ids before = encode_prompt(prompt, special, end_ids);
    const Ids together = encode_prompt(std::string(prompt).append(text), special, end_ids);
    if (before.size() <= together.size() && std::equal(before.begin(), before.end(), together.begin())) {
        return Ids(together.begin() + static_cast<std::ptrdiff_t>(before.size()), together.end());
    }
    return encode(text, false);
}

Ids Text::encode_answer(const Json& messages, const std::string& answer, const Json* tools) const {
    const std::string prompt = render(messages, true, tools);
    const std::string opening = find_opening(messages, prompt, answer, tools);
    if (!opening.empty()) {
        Ids ids = encode_after(prompt, opening + answer, false, {});
        if (is_decoded(encode_prompt(prompt, false, {}), ids, answer)) return ids;
    }
    return encode_after(prompt, answer, false, {});
}

std::set<int32_t> Text::find_stops(const std::vector<std::string>& stops) const {
    std::set<int32_t> found;
    for (const std::string& stop : stops) {
        const auto token = tokenizer_->token_to_id(stop);
        if (token && tokenizer_->is_special(*token)) {
            found.insert(*token);
            continue;
        }
        for (int32_t inside : encode(stop, false)) {
            if (!tokenizer_->is_special(inside)) continue;
            const std::string name = show(tokenizer_->id_to_token(inside).value_or(""));
            throw Error(Code::invalid_input, "the stop string " + show(stop) + " holds the special token " + name +
                                                 ", which is no part of an answer's text; give " + name + " alone");
        }
    }
    return found;
}

bool Text::is_decoded(const Ids& prompt, const Ids& ids, std::string_view text) const {
    if (decode(ids) == text) return true;
    Ids both = prompt;
    both.insert(both.end(), ids.begin(), ids.end());
    const std::string before = decode(prompt), together = decode(both);
    return begins_with(together, before) && std::string_view(together).substr(before.size()) == text;
}

std::string Text::find_opening(const Json& messages, const std::string& prompt, const std::string& answer,
                               const Json* tools) const {
    std::string finished;
    try {
        Json longer = messages;
        longer.push_back(Json{{"role", "assistant"}, {"content", answer}});
        finished = render(longer, false, tools);
    } catch (const Error& error) {
        if (error.code != Code::invalid_input) throw;
        return "";
    }
    if (!begins_with(finished, prompt)) return "";
    const std::string_view rest = std::string_view(finished).substr(prompt.size());
    const std::size_t place = rest.find(answer);
    if (place == std::string_view::npos) return "";
    const std::string_view opening = rest.substr(0, place);
    return is_blank(opening) ? std::string(opening) : "";
}

Text read_text(const std::filesystem::path& folder, const TokenizerInfo& info) {
    const auto read = [&](const std::string& name) {
        return read_file(resolve_inside(folder, name), Code::artifact, "export the artifact again", kLongestJson);
    };
    const std::string where = (folder / info.file).u8string();
    auto tokenizer = std::make_shared<const Tokenizer>(Tokenizer::from_json(read(info.file), where));
    if (!info.chat_template) return Text(std::move(tokenizer), std::nullopt);
    Json variables = Json::object();
    const std::pair<const char*, const std::optional<std::string>&> special[] = {
        {"bos_token", info.bos_token},
        {"eos_token", info.eos_token},
        {"pad_token", info.pad_token},
        {"unk_token", info.unk_token},
    };
    for (const auto& [name, token] : special) {
        if (token) variables[name] = *token;
    }
    const Renderer renderer(read(*info.chat_template), std::move(variables), std::nullopt);
    return Text(std::move(tokenizer), renderer.replace(info.template_variables, std::nullopt));
}

}  // namespace edgelora
