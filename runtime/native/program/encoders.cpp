#include "encoders.hpp"

#include <cstdio>
#include <memory>

#include "failure.hpp"
#include "process_memory.hpp"

namespace edgelora::program {
namespace {

constexpr std::size_t SHOWN = 6;  // numbers of a vector that people see

std::string score_of(const Json& number) {
    char text[32];
    std::snprintf(text, sizeof text, "%.4f", number.is_number() ? number.get<double>() : 0.0);
    return text;
}

// Labels, and the score of each, between them a tab.
std::string told_labels(const Json& answer) {
    std::string labels, scores;
    for (const Json& label : answer.at("labels")) {
        labels += (labels.empty() ? "" : ", ") + label.get<std::string>();
        scores += (scores.empty() ? "" : ", ") + score_of(answer.at("scores").at(label.get<std::string>()));
    }
    if (labels.empty()) {
        labels = "(none)";
        scores = score_of(answer.at("score"));
    }
    return labels + "\t" + scores + (answer.at("truncated").get<bool>() ? " (text cut)" : "");
}

std::string told_spans(const Json& answer) {
    std::string lines;
    for (const Json& span : answer.at("spans")) {
        std::string text = span.at("text").get<std::string>();
        for (char& byte : text) {
            if (byte == '\n' || byte == '\r' || byte == '\t') byte = ' ';
        }
        lines += (lines.empty() ? "" : "\n") + std::to_string(span.at("start").get<std::int64_t>()) + "-" +
                 std::to_string(span.at("end").get<std::int64_t>()) + "\t" + span.at("label").get<std::string>() + "\t" +
                 score_of(span.at("score")) + "\t" + text;
    }
    return lines.empty() ? "no spans" : lines;
}

std::string told_vector(const Json& answer) {
    const Json& vector = answer.at("vector");
    std::string line = std::to_string(vector.size()) + " numbers:";
    for (std::size_t index = 0; index < std::min(SHOWN, vector.size()); ++index) line += " " + score_of(vector[index]);
    return line + (vector.size() > SHOWN ? " …" : "") + (answer.at("truncated").get<bool>() ? " (text cut)" : "");
}

// The answers of a function that gives them as JSON.
template <typename Function>
Json answers_of(Function function, const Model& model, const std::string& texts,
                const edgelora_encoder_options& options) {
    char* text = nullptr;
    std::size_t n_bytes = 0;
    edgelora_error* error = nullptr;
    check(function(model.get(), texts.c_str(), &options, &text, &n_bytes, &error), error);
    const std::unique_ptr<char, void (*)(void*)> owner(text, edgelora_free);
    return parse_json(std::string_view(text, n_bytes), "the answers");
}

Json vectors_of(const Model& model, const std::string& texts, std::size_t n_texts,
                const edgelora_encoder_options& options) {
    float* vectors = nullptr;
    std::size_t n_floats = 0;
    std::vector<std::int32_t> truncated(n_texts);
    edgelora_error* error = nullptr;
    check(edgelora_embed(model.get(), texts.c_str(), &options, &vectors, &n_floats, truncated.data(), n_texts, &error),
          error);
    const std::unique_ptr<float, void (*)(void*)> owner(vectors, edgelora_free);
    const std::size_t size = n_floats / n_texts;
    Json answers = Json::array();
    for (std::size_t text = 0; text < n_texts; ++text) {
        const float* first = vectors + text * size;
        answers.push_back({{"vector", std::vector<float>(first, first + size)}, {"truncated", truncated[text] != 0}});
    }
    return answers;
}

// The option of a task; throws Failure where the command line has another one, or what is for text.
std::string option_of(const std::string& task, const Arguments& arguments) {
    const std::string own = task == "text-classification"    ? "--classify"
                            : task == "token-classification" ? "--tag"
                            : task == "feature-extraction"   ? "--embed"
                                                             : "";
    const std::string artifact = arguments.artifact + " is for " + task;
    if (own.empty() && task != "text-generation") {
        throw Failure(BAD_INPUT, artifact + ", which this program has no input for; use the library");
    }
    const std::string given = arguments.is_classify ? "--classify"
                              : arguments.is_tag    ? "--tag"
                              : arguments.is_embed  ? "--embed"
                                                    : own;
    if (given != own) {
        throw Failure(BAD_INPUT, given + ": " + artifact + "; give " + (own.empty() ? "none of the three" : own));
    }
    if (asks_text(arguments)) throw Failure(BAD_INPUT, artifact + " and makes no text; leave out what is for answers");
    return own;
}

}  // namespace

void encode_all(const Arguments& arguments, const Model& model, const std::vector<Job>& jobs) {
    const std::string option = option_of(task_of(model), arguments);
    Json texts = Json::array(), specs = Json::array();
    for (const Job& job : jobs) {
        if (!job.prompt.is_string()) throw Failure(BAD_INPUT, "messages are for answers; give {\"prompt\": TEXT} here");
        texts.push_back(job.prompt);
        specs.push_back(job.adapter);
    }
    const std::string given = texts.dump(), adapters = specs.dump();
    const Interrupt interrupt;
    edgelora_encoder_options options;
    edgelora_encoder_options_init(&options, sizeof options);
    options.adapters_json = adapters.c_str();
    options.cancel = interrupt.flag();
    const Json answers = option == "--classify" ? answers_of(edgelora_classify, model, given, options)
                         : option == "--tag"    ? answers_of(edgelora_tag, model, given, options)
                                                : vectors_of(model, given, texts.size(), options);
    Json results = Json::array();
    std::string lines;
    for (std::size_t index = 0; index < answers.size(); ++index) {
        Json result{{"text", texts[index]}, {"adapter", specs[index]}};
        result.update(answers[index]);
        results.push_back(std::move(result));
        lines += (option == "--classify" ? told_labels(answers[index])
                  : option == "--tag"    ? told_spans(answers[index])
                                         : told_vector(answers[index])) +
                 "\n";
    }
    if (arguments.is_json) {
        Json whole{{"results", results}};
        if (arguments.shows_memory) whole["memory"] = process_memory();
        say(whole.dump() + "\n");
    } else {
        say(lines);
        if (arguments.shows_memory) note(describe(process_memory()));
    }
}

}  // namespace edgelora::program
