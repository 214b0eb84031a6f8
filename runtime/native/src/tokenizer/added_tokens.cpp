#include "added_tokens.hpp"

#include <algorithm>

#include "../errors.hpp"
#include "code_points.hpp"
#include "fields.hpp"
#include "translate_regex.hpp"

namespace edgelora::tokenizer {

AddedTokens::AddedTokens(const Json* list, const Model& model, const Normalizer* normalizer)
    : word_(Regex::from_pcre("[" + std::string(kRustWordItems) + "]")) {
    if (list != nullptr) {
        if (!list->is_array()) refuse_broken("added_tokens is " + show(*list) + ", expected a list");
        for (const Json& value : *list) add(read(value), model);
    }
    finish(normalizer);
}

AddedTokens::Token AddedTokens::read(const Json& value) {
    const Fields fields(value, "an entry of added_tokens");
    if (const Json* id = fields.find("id")) read_id(*id, fields.place());
    const bool is_special = fields.flag("special", false);
    return {fields.text("content"),       fields.flag("single_word", false), fields.flag("lstrip", false),
            fields.flag("rstrip", false), fields.flag("normalized", !is_special), is_special};
}

void AddedTokens::add(const Token& token, const Model& model) {
    if (token.content.empty()) return;
    if (token.is_special && special_texts_.insert(token.content).second) special_.push_back(token);
    auto id = find(token.content);
    if (!id) id = model.vocabulary().find(token.content);
    if (!id) {
        const auto size = static_cast<std::int64_t>(model.size());
        const std::int64_t next = largest_ >= size || (size == 0 && largest_ >= 0) ? std::int64_t{largest_} + 1 : size;
        if (next > 0x7fffffff) refuse_broken("added_tokens has more tokens than there are ids");
        id = static_cast<std::int32_t>(next);
    }
    largest_ = std::max(largest_, *id);
    ids_[token.content] = *id;
    tokens_[*id] = token;
    if (special_texts_.count(token.content) == 0) plain_.push_back(token);
}

void AddedTokens::finish(const Normalizer* normalizer) {
    Scratch scratch;
    for (const std::vector<Token>* tokens : {&special_, &plain_}) {
        for (const Token& token : *tokens) {
            const auto id = static_cast<std::size_t>(ids_.at(token.content));
            if (!token.is_normalized) {
                raw_.add(token.content, id);
                continue;
            }
            std::string text = token.content;
            if (normalizer != nullptr) normalizer->apply(text, scratch);
            if (text.empty()) refuse_unsupported("the added token " + show(token.content) + ", of which nothing is left");
            normalized_.add(text, id);
        }
    }
    raw_.finish();
    normalized_.finish();
}

std::vector<AddedTokens::Part> AddedTokens::split(std::string_view text, bool is_normalized, Scratch& scratch) const {
    const auto is_word = [&](std::size_t start, std::size_t end) {
        std::vector<Span> found;
        word_.find_all(text.substr(start, end - start), found, scratch);
        return !found.empty();
    };
    std::vector<Part> parts;
    std::size_t last = 0;
    for (const TextFinder::Match& match : (is_normalized ? normalized_ : raw_).find_all(text)) {
        auto [start, end] = match.span;
        const auto id = static_cast<std::int32_t>(match.number);
        const Token& token = tokens_.at(id);
        if (token.is_single_word) {
            if (start > 0 && is_word(previous_start(text, start), start)) continue;
            if (end < text.size() && is_word(end, end + length_of(static_cast<unsigned char>(text[end])))) continue;
        }
        if (token.is_left_stripped) start = std::max(start - white_space_behind(text.substr(0, start)), last);
        if (token.is_right_stripped) end += white_space_in_front(text.substr(end));
        if (last < start) parts.push_back({std::nullopt, {last, start}});
        parts.push_back({id, {start, end}});
        last = end;
    }
    if (last != text.size()) parts.push_back({std::nullopt, {last, text.size()}});
    return parts;
}

std::optional<std::int32_t> AddedTokens::find(std::string_view token) const {
    const auto found = ids_.find(std::string(token));
    return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<std::string_view> AddedTokens::token(std::int32_t id) const {
    const auto found = tokens_.find(id);
    return found == tokens_.end() ? std::nullopt : std::optional<std::string_view>(found->second.content);
}

bool AddedTokens::is_special(std::int32_t id) const {
    const auto found = tokens_.find(id);
    return found != tokens_.end() && found->second.is_special;
}

bool AddedTokens::is_special(std::string_view token) const { return special_texts_.count(std::string(token)) > 0; }

std::size_t AddedTokens::count_beside(const Vocabulary& vocabulary) const {
    return static_cast<std::size_t>(
        std::count_if(ids_.begin(), ids_.end(), [&](const auto& entry) { return !vocabulary.find(entry.first); }));
}

}  // namespace edgelora::tokenizer
