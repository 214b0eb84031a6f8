#include "answers.hpp"

#include "encoders.hpp"
#include "failure.hpp"
#include "process_memory.hpp"
#include "prompts.hpp"

namespace edgelora::program {
namespace {

std::int32_t print_piece(void* reader_left, std::size_t, const char* text, std::size_t n_bytes) {
    try {
        say(std::string_view(text, n_bytes));
        return 0;
    } catch (...) {  // the library is between here and whoever could catch it; the next write meets the same
        *static_cast<bool*>(reader_left) = true;
        return 1;
    }
}

Json result_of(const Job& job, const Generation& generation, const std::vector<std::string>& choices) {
    std::size_t n_ids = 0, n_scores = 0;
    const std::int32_t* ids = edgelora_generation_ids(generation.get(), 0, &n_ids);
    const double* scores = edgelora_generation_scores(generation.get(), 0, &n_scores);
    Json result{{"prompt", job.prompt},
                {"adapter", job.adapter},
                {"text", text_of(generation)},
                {"token_ids", std::vector<std::int32_t>(ids, ids + n_ids)},
                {"finish_reason", edgelora_generation_finish_reason(generation.get(), 0)}};
    for (std::size_t index = 0; index < n_scores; ++index) result["choice_scores"][choices[index]] = scores[index];
    return result;
}

bool has_manifest(const std::string& artifact) {
    try {
        const std::string content = read_file(artifact + "/manifest.json");
        return edgelora_check_file("manifest", content.data(), content.size(), nullptr) == EDGELORA_OK;
    } catch (const Failure&) {
        return false;
    }
}

}  // namespace

void answer_all(const Arguments& arguments) {
    const std::vector<Job> jobs = read_jobs(arguments);
    const Model model = load(arguments, false);
    if (arguments.is_classify || arguments.is_tag || arguments.is_embed || task_of(model) != "text-generation") {
        return encode_all(arguments, model, jobs);
    }
    AnswerOptions made(arguments);
    edgelora_generate_options& options = made.options;
    const bool is_streamed = !arguments.is_json && arguments.choices.empty();
    bool reader_left = false;
    if (is_streamed) {
        options.on_text = print_piece;
        options.user_data = &reader_left;
    }
    Json results = Json::array();
    const Interrupt interrupt;
    options.cancel = interrupt.flag();
    for (const Job& job : jobs) {
        const std::string tools = job.tools ? job.tools->dump() : "";
        options.adapter = job.adapter.c_str();
        options.tools_json = job.tools ? tools.c_str() : nullptr;
        const Generation generation = answer(model, job.prompt, options);
        if (arguments.is_json) {
            results.push_back(result_of(job, generation, arguments.choices));
        } else {
            say(is_streamed ? "\n" : text_of(generation) + "\n");
        }
        if (reader_left) break;
    }
    const Json memory = arguments.shows_memory ? process_memory() : Json();
    if (arguments.is_json) {
        Json whole{{"results", results}};
        if (arguments.shows_memory) whole["memory"] = memory;
        say(whole.dump() + "\n");
    } else if (arguments.shows_memory) {
        note(describe(memory));
    }
}

void list_adapters(const Arguments& arguments) {
    const Model model = load(arguments, false);
    const Json info = model_info(model);
    const Json& manifest = info.at("manifest");
    if (arguments.is_json) {
        say(Json{{"adapters", manifest.at("adapters")}}.dump() + "\n");
        return;
    }
    say("none\n");
    for (const Json& adapter : manifest.at("adapters")) {
        say(adapter.at("name").get<std::string>() + "  rank " + std::to_string(adapter.at("rank").get<int>()) + "\n");
    }
}

int verify(const Arguments& arguments) {
    std::string problem;
    try {
        load(arguments, true);
    } catch (const Failure& failure) {
        // What is no artifact at all is bad input, not a check that failed.
        if (!failure.is_of_files || !has_manifest(arguments.artifact)) throw;
        problem = failure.what();
    }
    if (arguments.is_json) {
        Json whole{{"ok", problem.empty()}};
        if (!problem.empty()) whole["problem"] = problem;
        say(whole.dump() + "\n");
    } else if (problem.empty()) {
        say(arguments.artifact + ": every file and every probe is as it was recorded\n");
    }
    if (!problem.empty()) note(problem);
    return problem.empty() ? DONE : CHECK_FAILED;
}

}  // namespace edgelora::program
