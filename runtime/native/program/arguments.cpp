#include "arguments.hpp"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <functional>

#include "characters.hpp"
#include "failure.hpp"
#include "spec.hpp"

namespace edgelora::program {
namespace {

struct Option {
    const char* name;
    const char* value;  // what the help calls its value; nullptr for a switch
    const char* help;
    std::function<void(Arguments&, const std::string&)> take;
};

[[noreturn]] void refuse(const std::string& line) {
    throw Failure(BAD_INPUT, line + "; see `edgelora-run --help`");
}

template <typename T>
T whole(const char* name, const std::string& text, T least, T most) {
    char* end = nullptr;
    errno = 0;
    const long long value = std::strtoll(text.c_str(), &end, 10);
    const bool is_number = !text.empty() && text.find_first_not_of("+-0123456789") == std::string::npos;
    if (!is_number || *end != '\0' || errno != 0 || value < static_cast<long long>(least) ||
        value > static_cast<long long>(most)) {
        refuse(std::string(name) + " is " + show(text) + ", expected a whole number from " + std::to_string(least) +
               " to " + std::to_string(most));
    }
    return static_cast<T>(value);
}

std::uint64_t seed_of(const std::string& text) {
    char* end = nullptr;
    errno = 0;
    const unsigned long long value = std::strtoull(text.c_str(), &end, 10);
    const bool is_number = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos && errno == 0;
    if (!is_number) refuse("--seed is " + show(text) + ", expected a whole number from 0 to 2**64 - 1");
    return value;
}

double number(const char* name, const std::string& text) {
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    const bool is_decimal = !text.empty() && text.find_first_not_of("+-.eE0123456789") == std::string::npos;
    if (!is_decimal || *end != '\0' || !std::isfinite(value)) {
        refuse(std::string(name) + " is " + show(text) + ", expected a number");
    }
    return value;
}

void add_variable(Arguments& into, const std::string& item) {
    const std::size_t at = item.find('=');
    const std::string name = item.substr(0, at);
    if (at == std::string::npos || find_key(into.template_variables, name) != nullptr) {
        refuse("--template-var is " + show(item) + ", expected KEY=VALUE, each KEY once");
    }
    const std::string text = item.substr(at + 1);
    for (const auto& [python, json] : {std::pair{"True", "true"}, {"False", "false"}, {"None", "null"}}) {
        if (text == python) {
            refuse("--template-var " + item + " would be text, which counts as true; write " + name + "=" + json);
        }
    }
    if (into.template_variables.is_null()) into.template_variables = Json::object();
    try {
        into.template_variables[name] = parse_json(text, name);
    } catch (const Error&) {
        into.template_variables[name] = text;
    }
}

constexpr std::int32_t MOST = INT32_MAX;

const std::vector<Option>& options() {
    using A = Arguments;
    using S = const std::string&;
    static const std::vector<Option> all = {
        {"--adapter", "SPEC", "none, NAME, NAME:0.5 or A:0.7+B:0.3  [default: none]", [](A& a, S v) { a.adapter = v; }},
        {"--prompt", "TEXT", "What to ask; standard input where it is left out", [](A& a, S v) { a.prompt = v; }},
        {"--file", "FILE", "JSONL, one {\"prompt\": TEXT}, {\"text\": TEXT} or {\"messages\": [...]} a line,\n"
         "with \"tools\", and \"adapter\": SPEC where it differs", [](A& a, S v) { a.file = v; }},
        {"--chat", nullptr, "Talk: each line is a message; /help lists what else a line can be",
         [](A& a, S) { a.is_chat = true; }},
        {"--system", "TEXT", "With --chat: the message of the system, before all", [](A& a, S v) { a.system = v; }},
        {"--list", nullptr, "List the adapters of the artifact and stop", [](A& a, S) { a.is_list = true; }},
        {"--verify", nullptr, "Check every byte and replay the adapters' probes; exit code 1 if one fails",
         [](A& a, S) { a.is_verify = true; }},
        {"--raw", nullptr, "Continue the text as it is, without the chat template", [](A& a, S) { a.is_raw = true; }},
        {"--choices", "TEXT", "Answer with the likeliest of these; given once for each. --json adds scores",
         [](A& a, S v) { a.choices.push_back(v); }},
        {"--classify", nullptr, "Say the label of the text, with its score. Like the next two, what an\n"
         "artifact of that task does by itself", [](A& a, S) { a.is_classify = true; }},
        {"--tag", nullptr, "Find spans of the text, in characters", [](A& a, S) { a.is_tag = true; }},
        {"--embed", nullptr, "Make a vector of the text", [](A& a, S) { a.is_embed = true; }},
        {"--max-new-tokens", "N", "Longest answer, in tokens  [default: 128]",
         [](A& a, S v) { a.max_new_tokens = whole("--max-new-tokens", v, 1, MOST); }},
        {"--temperature", "X", "0 takes the likeliest token; larger values vary more  [default: 0]",
         [](A& a, S v) { a.temperature = number("--temperature", v); }},
        {"--top-p", "X", "Sample from the fewest tokens that are this likely together  [default: 1]",
         [](A& a, S v) { a.top_p = number("--top-p", v); }},
        {"--top-k", "N", "Sample from this many of the likeliest tokens; 0 means all  [default: 0]",
         [](A& a, S v) { a.top_k = whole("--top-k", v, 0, MOST); }},
        {"--min-p", "X", "Leave out tokens less likely than this share of the likeliest one  [default: 0]",
         [](A& a, S v) { a.min_p = number("--min-p", v); }},
        {"--repetition-penalty", "X", "Above 1, tokens that the text already holds become less likely  [default: 1]",
         [](A& a, S v) { a.repetition_penalty = number("--repetition-penalty", v); }},
        {"--seed", "N", "Makes sampling repeatable, on every device alike", [](A& a, S v) { a.seed = seed_of(v); }},
        {"--stop", "TEXT", "End the answer before this text; may be repeated",
         [](A& a, S v) { a.stops.push_back(v); }},
        {"--template-var", "KEY=VALUE", "A variable of the chat template, as enable_thinking=false; may be repeated",
         add_variable},
        {"--date", "YYYY-MM-DD", "The day for chat templates that write the date  [default: today]",
         [](A& a, S v) { a.date = v; }},
        {"--json", nullptr, "Print one JSON object on standard output and nothing else there",
         [](A& a, S) { a.is_json = true; }},
        {"--memory", nullptr, "Tell at the end how much memory the program has, and how much is anonymous: no file",
         [](A& a, S) { a.shows_memory = true; }},
        {"--threads", "N", "Threads for one matrix product  [default: the physical cores, at most 4]",
         [](A& a, S v) { a.threads = whole("--threads", v, 1, 4096); }},
        {"--adapter-bytes", "N", "Memory for adapters: beyond it, those not used for longest are dropped",
         [](A& a, S v) { a.adapter_bytes = whole<std::int64_t>("--adapter-bytes", v, 1, INT64_MAX); }},
        {"--twin", nullptr, "Keep the graph without slots in memory too, for answers without an adapter",
         [](A& a, S) { a.keeps_twin = true; }},
        {"--cache", "FOLDER", "Keep the graph there as onnxruntime packed it, so that later starts map it",
         [](A& a, S v) { a.cache = v; }},
        {"--onnxruntime", "FILE", "The onnxruntime library  [default: EDGELORA_ONNXRUNTIME of the environment, beside\n"
         "this program, the system's]", [](A& a, S v) { a.onnxruntime = v; }},
        {"--operators", "FILE", "The library of fused operators; \"\" leaves it  [default: beside this program]",
         [](A& a, S v) { a.operators = v; }},
        {"--version", nullptr, "Show the version and stop", [](A& a, S) { a.shows_version = true; }},
        {"--help", nullptr, "Show this and stop", [](A& a, S) { a.shows_help = true; }},
    };
    return all;
}

const Option& find_option(const std::string& name) {
    std::vector<std::string> known;
    for (const Option& option : options()) {
        if (name == option.name || (name == "-h" && option.name == std::string("--help"))) return option;
        known.push_back(option.name);
    }
    const std::string* near = closest_name(name, known);
    refuse("no such option: " + name + (near != nullptr ? "; did you mean " + *near + "?" : ""));
}

bool takes_value(const std::string& word) {
    return std::any_of(options().begin(), options().end(),
                       [&word](const Option& option) { return word == option.name && option.value != nullptr; });
}

void check_together(const Arguments& given) {
    const auto exclude = [](bool one, bool other, const char* line) {
        if (one && other) refuse(line);
    };
    exclude(given.prompt.has_value(), given.file.has_value(), "--prompt and --file exclude each other; give one of them");
    exclude(given.is_chat, given.prompt || given.file, "--chat reads standard input; leave out --prompt and --file");
    exclude(given.is_chat, given.is_raw || given.is_json || !given.choices.empty(),
            "--chat answers in text, through the chat template; leave out --raw, --json and --choices");
    const int n_encodings = given.is_classify + given.is_tag + given.is_embed;
    exclude(n_encodings > 1, true, "--classify, --tag and --embed exclude each other; give one of them");
    exclude(n_encodings > 0, asks_text(given), "--classify, --tag and --embed make no text; leave out what is for answers");
    const int n_verbs = given.is_list + given.is_verify + given.is_chat + (n_encodings > 0 ? 1 : 0);
    exclude(n_verbs > 1, true, "--list, --verify, --chat and the questions to encoders exclude each other; give one");
    exclude(given.shows_memory, given.is_list || given.is_verify, "--memory is for answers; leave it out");
    exclude(given.system.has_value(), !given.is_chat, "--system is for --chat; write {\"messages\": [...]} into a --file");
}

}  // namespace

bool asks_text(const Arguments& given) {
    return given.is_chat || given.is_raw || !given.choices.empty() || !given.stops.empty() || given.seed || given.date ||
           !given.template_variables.is_null() || given.temperature != 0 || given.top_p != 1 || given.top_k != 0 ||
           given.min_p != 0 || given.repetition_penalty != 1 || given.max_new_tokens != Arguments{}.max_new_tokens;
}

Arguments parse_arguments(const std::vector<std::string>& words) {
    for (std::size_t index = 0; index < words.size(); ++index) {
        if (!find_bad_utf8(words[index])) continue;
        const bool is_value = index > 0 && takes_value(words[index - 1]);
        refuse((is_value ? words[index - 1] : "argument " + std::to_string(index + 1)) +
               " is no UTF-8; give text in UTF-8, or in a file with --file");
    }
    Arguments found;
    bool has_artifact = false, is_past_options = false;
    for (std::size_t index = 0; index < words.size(); ++index) {
        const std::string& word = words[index];
        if (!is_past_options && word == "--") {
            is_past_options = true;
        } else if (!is_past_options && word.size() > 1 && word[0] == '-') {
            const std::size_t equals = word.rfind("--", 0) == 0 ? word.find('=') : std::string::npos;
            const Option& option = find_option(word.substr(0, equals));
            if (option.value == nullptr) {
                if (equals != std::string::npos) refuse(std::string(option.name) + " takes no value");
                option.take(found, "");
            } else if (equals != std::string::npos) {
                option.take(found, word.substr(equals + 1));
            } else if (index + 1 < words.size()) {
                option.take(found, words[++index]);
            } else {
                refuse(std::string(option.name) + " needs a value: " + option.name + " " + option.value);
            }
        } else if (has_artifact) {
            refuse("unexpected " + show(word) + " behind " + show(found.artifact) + "; a prompt is given with --prompt");
        } else {
            found.artifact = word;
            has_artifact = true;
        }
    }
    if (found.shows_help || found.shows_version) return found;
    if (!has_artifact) refuse("no artifact; give the folder that `edgelora export` wrote");
    check_together(found);
    return found;
}

std::string help() {
    std::string text =
        "Usage: edgelora-run ARTIFACT [OPTIONS]\n\n"
        "Answer with an artifact: the folder that `edgelora export` wrote. The answer is streamed to standard output,\n"
        "everything else goes to standard error. Exit code 0: done, 1: a check failed, 2: bad usage or input, 70: a\n"
        "fault of the program, 130: interrupted.\n\n"
        "  edgelora-run smol --list\n"
        "  edgelora-run smol --adapter support --prompt \"My order is late\"\n"
        "  edgelora-run smol --adapter support:0.7+formal:0.3 --prompt \"My order is late\" --temperature 0.8 --seed 1\n"
        "  edgelora-run smol --prompt \"Is this spam? ...\" --choices yes --choices no --json\n"
        "  edgelora-run smol --file questions.jsonl --json > answers.json\n"
        "  edgelora-run smol --chat --system \"Be brief.\"\n"
        "  edgelora-run mails --classify --adapter topic --prompt \"My order is late\"\n\n"
        "Options:\n";
    constexpr std::size_t column = 30;
    for (const Option& option : options()) {
        std::string line = std::string("  ") + option.name + (option.value ? std::string(" ") + option.value : "");
        line.resize(std::max(line.size() + 1, column), ' ');
        for (const char* letter = option.help; *letter != '\0'; ++letter) {
            line += *letter;
            if (*letter == '\n') line.append(column, ' ');
        }
        text += line + "\n";
    }
    return text;
}

}  // namespace edgelora::program
