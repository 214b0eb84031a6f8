#include "chat.hpp"

#include <chrono>
#include <cstdio>
#include <optional>

#include <unistd.h>

#include "characters.hpp"
#include "failure.hpp"
#include "handles.hpp"
#include "process_memory.hpp"

namespace edgelora::program {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* HELP =
    "/adapter SPEC  answer with another adapter from now on: none, NAME, NAME:0.5 or A:0.7+B:0.3; alone, tell which\n"
    "/reset         forget the conversation; --system and the adapter stay\n"
    "/stats         tell how many tokens were answered, how fast, and how much memory the program has\n"
    "/help          this\n"
    "/quit          end, as the end of the input does\n"
    "Ctrl-C ends an answer and keeps what it said; a second one, or one at the prompt, ends the program.\n"
    "Anything else is a message; one that begins with / has a blank in front.\n";

double seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

std::string trim(const std::string& text) {
    const std::size_t first = text.find_first_not_of(" \t\r\n");
    return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

// What one answer tells while it is streamed.
struct Streamed {
    std::optional<Clock::time_point> first;
    std::string text;
    std::size_t n_tokens = 0;
    bool has_left = false;
};

std::int32_t count_token(void* user_data, std::size_t, std::int32_t) {
    static_cast<Streamed*>(user_data)->n_tokens += 1;
    return 0;
}

std::int32_t print_piece(void* user_data, std::size_t, const char* text, std::size_t n_bytes) {
    auto& streamed = *static_cast<Streamed*>(user_data);
    if (!streamed.first) streamed.first = Clock::now();
    streamed.text.append(text, n_bytes);
    try {
        say(std::string_view(text, n_bytes));
    } catch (...) {  // the library is between here and whoever could catch it; the next write meets the same
        streamed.has_left = true;
    }
    return streamed.has_left ? 1 : 0;
}

class Conversation {
  public:
    explicit Conversation(const Arguments& arguments)
        : options_(arguments), model_(load(arguments, false)), opening_(Json::array()) {
        const Json info = model_info(model_);
        const std::string task = task_of(model_);
        if (task != "text-generation") {
            throw Failure(BAD_INPUT, arguments.artifact + " is for " + task + " and makes no text; leave out --chat");
        }
        if (!info.at("has_template").get<bool>()) {
            throw Failure(BAD_INPUT, arguments.artifact + " has no chat template, which a conversation needs; export a "
                                     "model that has one, or continue a text with --raw");
        }
        name_ = info.at("manifest").at("model").at("name").get<std::string>();
        if (arguments.system) opening_.push_back(Json{{"role", "system"}, {"content", *arguments.system}});
        said_ = opening_;
        set_adapter(arguments.adapter);
        options_.options.adapter = nullptr;
        try_options();
    }

    std::string tell() const {
        const Json info = model_info(model_);
        std::string line = "adapter " + info.at("adapter").get<std::string>() + " of none";
        for (const Json& name : info.at("adapters")) line += ", " + name.get<std::string>();
        return line;
    }

    const std::string& name() const { return name_; }
    bool has_begun() const { return said_ != opening_; }

    void obey(const std::string& command, const std::string& argument) {
        if (command == "/adapter") {
            if (!argument.empty()) set_adapter(argument);
            note(tell());
        } else if (command == "/reset") {
            said_ = opening_;
            note("a new conversation");
        } else if (command == "/stats") {
            char line[160];
            std::snprintf(line, sizeof line, "%zu answers, %zu tokens, %.1f tokens/s; ", n_answers_, n_tokens_,
                          seconds_ > 0 ? static_cast<double>(n_tokens_) / seconds_ : 0.0);
            note(line + describe(process_memory()));
        } else if (command == "/help") {
            std::fputs(HELP, stderr);
        } else {
            throw Failure(BAD_INPUT, "no command " + show(command) +
                                     "; /help lists them, and a blank in front makes it a message");
        }
    }

    void answer_to(const std::string& message) {
        Json asked = said_;
        asked.push_back(Json{{"role", "user"}, {"content", message}});
        const Interrupt interrupt;
        Streamed streamed;
        options_.options.on_text = print_piece;
        options_.options.on_token = count_token;
        options_.options.user_data = &streamed;
        options_.options.cancel = interrupt.flag();
        const auto started = Clock::now();
        try {
            answer(model_, asked, options_.options);
        } catch (const Failure& failure) {
            if (failure.code != INTERRUPTED) throw;
            if (!streamed.first) throw Failure(BAD_INPUT, "interrupted before the answer; the message is forgotten");
        }
        const auto ended = Clock::now();
        say("\n");
        const double took = seconds(ended - started);
        char line[200];
        std::snprintf(line, sizeof line, "%s%zu tokens in %.0f ms, %.1f tokens/s; the first after %.0f ms",
                      interrupt.was_asked() ? "interrupted after " : "", streamed.n_tokens, 1e3 * took,
                      static_cast<double>(streamed.n_tokens) / took,
                      1e3 * seconds(streamed.first.value_or(ended) - started));
        note(line);
        n_answers_ += 1;
        n_tokens_ += streamed.n_tokens;
        seconds_ += took;
        asked.push_back(Json{{"role", "assistant"}, {"content", streamed.text}});
        said_ = std::move(asked);
    }

  private:
    // Refuse at once what no message could be answered with: a call that is cancelled before it begins checks its options.
    void try_options() {
        Json asked = opening_;
        asked.push_back(Json{{"role", "user"}, {"content", "x"}});
        const Interrupt interrupt;
        edgelora_cancel_set(interrupt.flag());
        options_.options.cancel = interrupt.flag();
        try {
            answer(model_, asked, options_.options);
        } catch (const Failure& failure) {
            if (failure.code != INTERRUPTED) throw;
        }
    }

    void set_adapter(const std::string& spec) {
        edgelora_error* error = nullptr;
        check(edgelora_set_adapter(model_.get(), spec.c_str(), &error), error);
    }

    AnswerOptions options_;
    Model model_;
    Json opening_, said_;
    std::string name_;
    std::size_t n_answers_ = 0, n_tokens_ = 0;
    double seconds_ = 0.0;
};

// A line of standard input without its end, asked for where a person types it; nothing at the end of the input.
std::optional<std::string> read_line(std::size_t number) {
    if (isatty(STDIN_FILENO) != 0) {
        std::FILE* asking = isatty(STDOUT_FILENO) != 0 ? stdout : stderr;
        std::fputs("> ", asking);
        std::fflush(asking);
    }
    std::string line;
    int letter;
    while ((letter = std::getchar()) != EOF && letter != '\n') line += static_cast<char>(letter);
    if (letter == EOF && line.empty()) return std::nullopt;
    if (const auto bad = find_bad_utf8(line)) {
        throw Failure(BAD_INPUT, "line " + std::to_string(number) + " of standard input is no UTF-8 at byte " +
                                 std::to_string(*bad));
    }
    return line;
}

}  // namespace

void chat(const Arguments& arguments) {
    Conversation conversation(arguments);
    if (isatty(STDIN_FILENO) != 0) {
        note(conversation.name() + ", " + conversation.tell() + "; /help lists the commands");
    }
    for (std::size_t number = 1;; ++number) {
        const auto line = read_line(number);
        if (!line) break;
        const bool is_command = line->rfind('/', 0) == 0;
        const std::size_t blank = line->find(' ');
        const std::string word = trim(line->substr(0, blank));
        if (word == "/quit") break;
        try {
            if (is_command) {
                conversation.obey(word, blank == std::string::npos ? "" : trim(line->substr(blank)));
            } else if (const std::string message = trim(*line); !message.empty()) {
                conversation.answer_to(message);
            }
        } catch (const OutputFailure&) {
            throw;
        } catch (const Failure& failure) {
            if (failure.code != BAD_INPUT) throw;
            const bool is_long = conversation.has_begun() && !is_command;
            note(std::string(failure.what()) + (is_long ? "; /reset starts a new conversation" : ""));
        }
    }
    if (arguments.shows_memory) note(describe(process_memory()));
}

}  // namespace edgelora::program
