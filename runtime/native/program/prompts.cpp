#include "prompts.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include <unistd.h>

#include "characters.hpp"
#include "failure.hpp"

namespace edgelora::program {
namespace {

constexpr const char* SHAPES =
    "{\"prompt\": TEXT}, {\"text\": TEXT} or {\"messages\": [...]}, with \"tools\", and \"adapter\": SPEC where it "
    "differs";
constexpr std::size_t SHOWN = 3;  // problems named in a one-line error

std::string read_all(std::FILE* file, const std::string& name) {
    std::string content;
    char part[65536];
    std::size_t n_read;
    while ((n_read = std::fread(part, 1, sizeof part, file)) > 0) content.append(part, n_read);
    if (std::ferror(file) != 0) throw Failure(BAD_INPUT, name + ": " + std::strerror(errno));
    return content;
}

std::string given_prompt(const Arguments& arguments) {
    if (arguments.prompt) return *arguments.prompt;
    std::string text = isatty(STDIN_FILENO) != 0 ? "" : read_all(stdin, "standard input");
    if (const auto bad = find_bad_utf8(text)) {
        throw Failure(BAD_INPUT,
                      "standard input is no UTF-8 at byte " + std::to_string(*bad) + "; pipe a text in UTF-8 in");
    }
    if (text.empty()) {
        throw Failure(BAD_INPUT, "no prompt; give --prompt TEXT, --file PROMPTS.jsonl, or pipe a text in");
    }
    if (text.back() == '\n') text.pop_back();
    return text;
}

std::string keys_of(const Json& object) {
    std::vector<std::string> keys;
    for (const auto& item : object.items()) keys.push_back(item.key());
    std::sort(keys.begin(), keys.end());
    return show(Json(keys));
}

// The prompt of one line, or the reason why it is none in `problem`.
Job parse_job(const std::string& line, const Arguments& arguments, std::string& problem) {
    Json data;
    try {
        data = parse_json(line, "", Code::invalid_input, "");
    } catch (const Error& error) {
        const std::string told = error.what();  // of a file; its reason stands in brackets
        const std::size_t first = told.find('(');
        problem = "not JSON " + told.substr(first, told.rfind(')') + 1 - first);
        return {};
    }
    if (!data.is_object()) {
        problem = "a JSON " + std::string(data.type_name()) + ", not an object";
        return {};
    }
    const auto member = [&](const char* key) {
        const Json* found = find_key(data, key);
        return found == nullptr ? Json() : *found;
    };
    const Json adapter = member("adapter"), messages = member("messages");
    const Json prompt = member(find_key(data, "prompt") != nullptr ? "prompt" : "text");
    const Json tools = member("tools");
    const bool is_text = prompt.is_string() && messages.is_null();
    if (find_key(data, "adapter") != nullptr && !adapter.is_string()) {
        problem = "adapter is no string";
    } else if (!is_text && (!messages.is_array() || messages.empty() || !prompt.is_null())) {
        problem = "has the keys " + keys_of(data);
    } else if (!is_text && arguments.is_raw) {
        problem = "messages need the chat template, which --raw leaves out";
    }
    Job job{is_text ? prompt : messages, adapter.is_string() ? adapter.get<std::string>() : arguments.adapter, {}};
    if (!is_text && !tools.is_null()) job.tools = tools;
    return job;
}

std::vector<Job> read_lines(const std::string& path, const Arguments& arguments) {
    const std::string content = read_file(path);
    std::vector<Job> jobs;
    std::vector<std::string> problems;
    std::size_t number = 0;
    for (std::size_t start = 0; start < content.size();) {
        const std::size_t end = std::min(content.find('\n', start), content.size());
        std::string line = content.substr(start, end - start);
        if (!line.empty() && line.back() == '\r') line.pop_back();
        start = end + 1;
        ++number;
        if (line.find_first_not_of(" \t\f\v\r") == std::string::npos) continue;
        std::string problem;
        Job job = parse_job(line, arguments, problem);
        if (problem.empty()) {
            jobs.push_back(std::move(job));
        } else {
            problems.push_back("line " + std::to_string(number) + ": " + problem);
        }
    }
    std::string told;
    for (std::size_t index = 0; index < std::min(problems.size(), SHOWN); ++index) {
        told += (index > 0 ? "; " : "") + problems[index];
    }
    if (problems.size() > SHOWN) told += "; and " + std::to_string(problems.size() - SHOWN) + " more";
    if (!told.empty()) throw Failure(BAD_INPUT, path + ": " + told + "; expected " + SHAPES + " on every line");
    if (jobs.empty()) throw Failure(BAD_INPUT, path + " is empty; expected " + SHAPES + " on every line");
    return jobs;
}

}  // namespace

std::string read_file(const std::string& path) {
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
    if (file == nullptr) throw Failure(BAD_INPUT, path + ": " + std::strerror(errno));
    return read_all(file.get(), path);
}

std::vector<Job> read_jobs(const Arguments& arguments) {
    if (arguments.file) return read_lines(*arguments.file, arguments);
    return {Job{Json(given_prompt(arguments)), arguments.adapter, {}}};
}

}  // namespace edgelora::program
