#include "model.hpp"

#include <algorithm>

#include "errors.hpp"
#include "stream.hpp"

namespace edgelora {
namespace {

const char* name_of(FinishReason reason) {
    switch (reason) {
        case FinishReason::stop:
            return "stop";
        case FinishReason::choice:
            return "choice";
        default:
            return "length";
    }
}

Request request_of(const AnswerOptions& options) {
    const Request request{options.sampling, options.max_new_tokens, options.stops, options.choices};
    check_request(request);
    if (options.choices && (options.on_text || options.on_token)) {
        throw Error(Code::invalid_input, "a stream takes no choices; leave the callbacks out for them");
    }
    return request;
}

Specs specs_of(const AnswerOptions& options, std::size_t n_rows) {
    if (!options.adapters) return options.adapter ? Specs{*options.adapter} : Specs{};
    if (options.adapter) {
        throw Error(Code::invalid_input, "adapter and adapters exclude each other; give one of them");
    }
    if (options.adapters->size() != n_rows) {
        throw Error(Code::invalid_input, std::to_string(options.adapters->size()) + " adapters for " +
                                             std::to_string(n_rows) + " prompts; give one SPEC, or one for each prompt");
    }
    return *options.adapters;
}

// Refuse what a call has no use for, rather than leave it unheard.
void refuse(bool is_given, const char* line) {
    if (is_given) throw Error(Code::invalid_input, line);
}

const Json* tools_of(const AnswerOptions& options) {
    return options.tools && !options.tools->is_null() ? &*options.tools : nullptr;
}

// One row as it is decoded: its tokens become text, and the text is searched for stop strings.
struct Row {
    Row(const Text& text, const std::vector<std::string>& stops) : decoder(text), filter(stops) {}

    // Hand on what can be shown; false when the caller has heard enough.
    bool show(std::size_t index, const std::string& piece, const AnswerOptions& options) {
        answer.text += piece;
        return piece.empty() || !options.on_text || options.on_text(index, piece);
    }

    StreamDecoder decoder;
    StopFilter filter;
    Answer answer;
    bool is_cancelled = false;
};

}  // namespace

std::unique_ptr<Model> Model::load(const Artifact& artifact) { return std::unique_ptr<Model>(new Model(artifact)); }

Model::Model(const Artifact& artifact)
    : LoadedModel(artifact, "generate_ids"), tokens_(TokenModel::load(artifact)) {}

void Model::load_adapter(const std::string& name, const std::filesystem::path& folder, bool trust,
                         const std::optional<Labels>& labels) {
    refuse(labels.has_value(), "labels are for the heads of classifiers and taggers; leave them out here");
    tokens_->load_adapter(name, folder, trust);
}

Json Model::probe(const std::string& name) {
    const auto result = tokens_->probe(name);
    if (!result) return nullptr;
    return Json{{"kl_found", result->kl_found},
                {"kl_expected", result->kl_expected},
                {"seconds", result->seconds},
                {"reason", result->reason}};
}

std::vector<Answer> Model::generate(const std::vector<std::string>& prompts, const AnswerOptions& options) {
    request_of(options);
    refuse(options.raw && (options.variables || options.date),
           "template and date are for the chat template, which raw leaves out; leave one out");
    refuse(options.raw && options.tools, "tools are for the chat template, which raw leaves out; leave one out");
    const auto text = std::make_shared<const Text>(templated(options));
    std::vector<Prompt> encoded;
    for (const std::string& prompt : prompts) {
        const Json messages = Json::array({Json{{"role", "user"}, {"content", prompt}}});
        encoded.push_back(options.raw ? encode_raw(text, prompt) : encode_chat(text, messages, options));
    }
    return answer(*text, encoded, options);
}

Answer Model::chat(const Json& messages, const AnswerOptions& options) {
    request_of(options);
    refuse(options.raw, "raw continues a text; messages go through the chat template, leave raw out");
    const auto text = std::make_shared<const Text>(templated(options));
    return answer(*text, {encode_chat(text, messages, options)}, options).front();
}

std::vector<Answer> Model::generate_ids(const std::vector<Ids>& prompts, const AnswerOptions& options) {
    refuse(!options.stops.empty() || options.choices || options.variables || options.tools || options.date ||
               options.raw || options.on_text,
           "stop, choices, template, tools, date, raw and on_text are for text; leave them out with token ids");
    const Specs specs = specs_of(options, prompts.size());
    std::vector<Answer> answers(prompts.size());
    const auto on_token = [&](std::size_t row, std::int32_t token) {
        if (!options.on_token || options.on_token(row, token)) return true;
        answers[row].finish_reason = "cancelled";
        return false;
    };
    auto found = tokens_->generate_ids(prompts, specs, request_of(options), options.cancel, on_token);
    for (std::size_t row = 0; row < prompts.size(); ++row) {
        answers[row].ids = std::move(found[row].ids);
        answers[row].prompt_tokens = prompts[row].size();
        if (answers[row].finish_reason.empty()) answers[row].finish_reason = name_of(found[row].reason);
    }
    return answers;
}

Text Model::templated(const AnswerOptions& options) const {
    const auto known = text();
    if (!options.variables && !options.date) return *known;
    return known->with_template(options.variables.value_or(Json::object()), options.date);
}

Model::Prompt Model::encode_raw(std::shared_ptr<const Text> text, const std::string& prompt) const {
    const auto& ends = manifest().model.eos_token_ids;
    Ids ids = text->encode_prompt(prompt, true, ends);
    check_ids(ids, manifest().model);
    return {std::move(ids),
            [text, prompt, &ends](const std::string& said) { return text->encode_after(prompt, said, true, ends); }};
}

Model::Prompt Model::encode_chat(std::shared_ptr<const Text> text, const Json& messages,
                                 const AnswerOptions& options) const {
    const Json* tools = tools_of(options);
    Ids ids = text->encode_chat(messages, true, tools);
    check_ids(ids, manifest().model);
    return {std::move(ids), [text, messages, tools](const std::string& said) {
                return text->encode_answer(messages, said, tools);
            }};
}

std::vector<Answer> Model::answer(const Text& text, const std::vector<Prompt>& prompts,
                                  const AnswerOptions& options) {
    const Specs specs = tokens_->check_specs(specs_of(options, prompts.size()), prompts.size());
    if (options.choices) return choose(prompts, specs, options);
    std::vector<Ids> ids;
    for (const Prompt& prompt : prompts) ids.push_back(prompt.ids);
    return decode(text, ids, specs, options);
}

std::vector<Answer> Model::choose(const std::vector<Prompt>& prompts, const Specs& specs,
                                  const AnswerOptions& options) {
    std::vector<std::vector<Ids>> encoded;
    for (const Prompt& prompt : prompts) {
        encoded.emplace_back();
        for (const std::string& choice : *options.choices) encoded.back().push_back(prompt.encode_answer(choice));
    }
    std::vector<Answer> answers;
    const auto turn = tokens_->turn(options.cancel);
    for (std::size_t row = 0; row < prompts.size(); ++row) tokens_->start_in(prompts[row].ids, specs[row]);
    for (std::size_t row = 0; row < prompts.size(); ++row) {
        auto scores = tokens_->score_choices(prompts[row].ids, encoded[row], {specs[row]}, options.cancel);
        const auto best = static_cast<std::size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
        answers.push_back({(*options.choices)[best], encoded[row][best], name_of(FinishReason::choice),
                           prompts[row].ids.size(), std::move(scores)});
    }
    return answers;
}

std::vector<Answer> Model::decode(const Text& text, const std::vector<Ids>& prompts, const Specs& specs,
                                  const AnswerOptions& options) {
    const auto stop_ids = text.find_stops(options.stops);
    std::vector<Row> rows;
    for (const Ids& ids : prompts) {
        rows.emplace_back(text, options.stops);
        rows.back().answer.prompt_tokens = ids.size();
    }
    const auto turn = tokens_->turn(options.cancel);
    const auto work = [&](const std::vector<std::size_t>& group, Decoding& decoding) {
        while (const auto found = decoding.next()) {
            const std::size_t index = group[found->row];
            Row& row = rows[index];
            row.answer.ids.push_back(found->token);
            const bool goes_on = !options.on_token || options.on_token(index, found->token);
            const std::string piece = row.filter.push(row.decoder.push(found->token));
            row.is_cancelled = !row.show(index, piece, options) || !goes_on;
            if (row.is_cancelled || row.filter.is_stopped() || stop_ids.count(found->token) > 0) {
                decoding.finish(found->row);
            }
        }
        for (std::size_t place = 0; place < group.size(); ++place) {
            Row& row = rows[group[place]];
            row.answer.finish_reason = row.filter.is_stopped() ? "stop" : name_of(decoding.reasons()[place]);
            if (row.is_cancelled) {
                row.answer.finish_reason = "cancelled";
                continue;
            }
            const std::string rest = row.filter.push(row.decoder.flush());
            row.show(group[place], rest + row.filter.flush(), options);
        }
    };
    tokens_->decode_groups(prompts, specs, request_of(options), options.cancel, work);
    std::vector<Answer> answers;
    for (Row& row : rows) answers.push_back(std::move(row.answer));
    return answers;
}

}  // namespace edgelora
