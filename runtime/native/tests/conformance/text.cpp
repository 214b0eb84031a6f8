// The cases of text, all of them through the C interface: render, encode, chat, after, answer, choices, text.
//
// Knows nothing about how the interface does it.
#include <cmath>
#include <map>
#include <memory>

#include "conformance/kinds.hpp"
#include "edgelora.h"

namespace edgelora::conformance {
namespace {

using Ids = std::vector<std::int32_t>;

// One loaded model for all cases of an artifact, so that nothing may remain from one case to the next.
class Handles {
  public:
    explicit Handles(std::filesystem::path folder) : folder_(std::move(folder)) {}
    edgelora_model* find(const std::string& artifact);

  private:
    struct Closer {
        void operator()(edgelora_model* model) const { edgelora_model_free(model); }
    };
    std::filesystem::path folder_;
    std::map<std::string, std::unique_ptr<edgelora_model, Closer>> loaded_;
};

// A refusal where none is expected ends the case with the library's message; `error` may be set while `status` is made.
void expect_ok(edgelora_status status, edgelora_error*& error) {
    if (status == EDGELORA_OK) return;
    const std::string message = "is refused: " + std::string(edgelora_error_message(error));
    edgelora_error_free(error);
    throw Failure(message);
}

// Whether this onnxruntime has no KV cache in 8 bits and the artifact was refused for it, as it must be.
bool is_lack_of_cache(const Failure& failure) {
    return std::string(failure.what()).find("keeps its KV cache in 8 bits, for which onnxruntime") != std::string::npos;
}

Ids take_ids(std::int32_t* ids, std::size_t n_ids) {
    Ids found(ids, ids + n_ids);
    edgelora_free(ids);
    return found;
}

std::string take_text(char* text, std::size_t n_bytes) {
    std::string found(text, n_bytes);
    edgelora_free(text);
    return found;
}

std::string compare(const Json& found, const Json& expected) {
    return found == expected ? "" : "gives " + found.dump() + ", expected " + expected.dump();
}

// A conversation as a case tells it; the texts live as long as it does.
struct Told {
    explicit Told(const Json& item)
        : messages(item.at("messages").dump()),
          tools(item.contains("tools") ? item.at("tools").dump() : ""),
          variables(item.contains("variables") ? item.at("variables").dump() : ""),
          date(item.contains("date") ? item.at("date").get<std::string>() : "") {
        conversation.struct_size = sizeof conversation;
        conversation.messages_json = messages.c_str();
        if (!tools.empty()) conversation.tools_json = tools.c_str();
        if (!variables.empty()) conversation.template_json = variables.c_str();
        if (!date.empty()) conversation.date = date.c_str();
        conversation.no_generation_prompt = item.value("add_generation_prompt", true) ? 0 : 1;
    }
    Told(const Told&) = delete;
    Told& operator=(const Told&) = delete;

    std::string messages, tools, variables, date;
    edgelora_conversation conversation{};
};

Ids encode(edgelora_model* model, const std::string& text, bool special) {
    edgelora_error* error = nullptr;
    std::int32_t* ids = nullptr;
    std::size_t n_ids = 0;
    expect_ok(edgelora_encode(model, text.data(), text.size(), special ? 1 : 0, &ids, &n_ids, &error), error);
    return take_ids(ids, n_ids);
}

std::int32_t add_piece(void* pieces, std::size_t, const char* text, std::size_t n_bytes) {
    static_cast<std::vector<std::string>*>(pieces)->emplace_back(text, n_bytes);
    return 0;
}

// Options of a case; the texts live as long as it does.
struct Asked {
    explicit Asked(const Json& item)
        : adapter(item.at("adapter").get<std::string>()),
          stops(item.contains("stop") ? item.at("stop").dump() : ""),
          choices(item.contains("choices") ? item.at("choices").dump() : "") {
        edgelora_generate_options_init(&options, sizeof options);
        options.adapter = adapter.c_str();
        options.raw = item.at("raw").get<bool>() ? 1 : 0;
        if (!stops.empty()) options.stop_json = stops.c_str();
        if (!choices.empty()) options.choices_json = choices.c_str();
        options.max_new_tokens = item.value("max_new_tokens", 128);
        const Json sampling = item.value("sampling", Json::object());
        options.temperature = sampling.value("temperature", 0.0);
        options.top_k = sampling.value("top_k", 0);
        options.top_p = sampling.value("top_p", 1.0);
        options.min_p = sampling.value("min_p", 0.0);
        options.repetition_penalty = sampling.value("repetition_penalty", 1.0);
        options.has_seed = sampling.contains("seed") ? 1 : 0;
        options.seed = sampling.value("seed", std::uint64_t{0});
    }
    Asked(const Asked&) = delete;
    Asked& operator=(const Asked&) = delete;

    std::string adapter, stops, choices;
    edgelora_generate_options options;
};

struct Generation {
    Generation(edgelora_model* model, const std::string& prompt, const edgelora_generate_options& options) {
        edgelora_error* error = nullptr;
        expect_ok(edgelora_generate(model, prompt.data(), prompt.size(), &options, &handle, &error), error);
    }
    ~Generation() { edgelora_generation_free(handle); }
    Generation(const Generation&) = delete;
    Generation& operator=(const Generation&) = delete;

    // All of it as the cases name it.
    Json tell() const {
        std::size_t n_bytes = 0, n_ids = 0;
        const char* text = edgelora_generation_text(handle, 0, &n_bytes);
        const std::int32_t* ids = edgelora_generation_ids(handle, 0, &n_ids);
        return Json{{"expected_text", std::string(text, n_bytes)},
                    {"expected_ids", Ids(ids, ids + n_ids)},
                    {"expected_reason", edgelora_generation_finish_reason(handle, 0)},
                    {"expected_prompt_tokens", edgelora_generation_prompt_tokens(handle, 0)}};
    }

    edgelora_generation* handle = nullptr;
};


edgelora_model* Handles::find(const std::string& artifact) {
    auto& model = loaded_[artifact];
    if (model == nullptr) {
        edgelora_load_options options;
        edgelora_load_options_init(&options, sizeof options);
        options.hashes = 1;
        edgelora_model* loaded = nullptr;
        edgelora_error* error = nullptr;
        expect_ok(edgelora_load((folder_ / artifact).u8string().c_str(), &options, &loaded, &error), error);
        model.reset(loaded);
    }
    return model.get();
}

// Needs no artifact.
std::string check_render(const Json& item, Handles&) {
    const std::string source = item.at("template");
    const Told told(item);
    char* text = nullptr;
    std::size_t n_bytes = 0;
    edgelora_error* error = nullptr;
    const auto status =
        edgelora_render_template(source.data(), source.size(), &told.conversation, &text, &n_bytes, &error);
    if (status == EDGELORA_OK) {
        const std::string found = take_text(text, n_bytes);
        return item.contains("message_has") ? "gives " + Json(found).dump() + ", expected a refusal"
                                            : compare(found, item.at("expected_text"));
    }
    const std::string message = edgelora_error_message(error);
    edgelora_error_free(error);
    if (item.contains("message_has")) {
        const bool is_told = message.find(item.at("message_has").get<std::string>()) != std::string::npos;
        return is_told ? "" : "says " + message + ", expected " + item.at("message_has").dump();
    }
    const bool may_refuse = item.value("may_refuse", false) && status == EDGELORA_UNSUPPORTED;
    return may_refuse ? "" : "is refused: " + message;
}

std::string check_encode(const Json& item, Handles& handles) {
    edgelora_model* model = handles.find(item.at("artifact"));
    const Ids ids = encode(model, item.at("text"), item.at("special"));
    char* text = nullptr;
    std::size_t n_bytes = 0;
    edgelora_error* error = nullptr;
    expect_ok(edgelora_decode(model, ids.data(), ids.size(), 0, &text, &n_bytes, &error), error);
    return compare(ids, item.at("expected_ids")) + compare(take_text(text, n_bytes), item.at("expected_text"));
}

std::string check_chat(const Json& item, Handles& handles) {
    edgelora_model* model = handles.find(item.at("artifact"));
    const Told told(item);
    char* text = nullptr;
    std::size_t n_bytes = 0;
    edgelora_error* error = nullptr;
    expect_ok(edgelora_render(model, &told.conversation, &text, &n_bytes, &error), error);
    const std::string found = take_text(text, n_bytes);
    return compare(found, item.at("expected_text")) + compare(encode(model, found, false), item.at("expected_ids"));
}

std::string check_after(const Json& item, Handles& handles) {
    const std::string prompt = item.at("prompt"), text = item.at("text");
    std::int32_t* ids = nullptr;
    std::size_t n_ids = 0;
    edgelora_error* error = nullptr;
    expect_ok(edgelora_encode_after(handles.find(item.at("artifact")), prompt.data(), prompt.size(), text.data(),
                                    text.size(), item.at("special").get<bool>() ? 1 : 0, &ids, &n_ids, &error),
              error);
    return compare(take_ids(ids, n_ids), item.at("expected_ids"));
}

std::string check_answer(const Json& item, Handles& handles) {
    const Told told(item);
    const std::string answer = item.at("answer");
    std::int32_t* ids = nullptr;
    std::size_t n_ids = 0;
    edgelora_error* error = nullptr;
    expect_ok(edgelora_encode_answer(handles.find(item.at("artifact")), &told.conversation, answer.data(),
                                     answer.size(), &ids, &n_ids, &error),
              error);
    return compare(take_ids(ids, n_ids), item.at("expected_ids"));
}

std::string check_choices(const Json& item, Handles& handles) {
    const Asked asked(item);
    const Generation found(handles.find(item.at("artifact")), item.at("prompt"), asked.options);
    std::size_t n_scores = 0;
    const double* scores = edgelora_generation_scores(found.handle, 0, &n_scores);
    const Json& expected = item.at("expected_scores");
    if (n_scores != expected.size()) return "has " + std::to_string(n_scores) + " scores";
    for (std::size_t index = 0; index < n_scores; ++index) {
        if (!(std::abs(scores[index] - expected[index].get<double>()) <= item.at("tolerance").get<double>())) {
            return "scores " + std::to_string(scores[index]) + ", expected " + expected[index].dump();
        }
    }
    return compare(found.tell().at("expected_text"), item.at("expected_text"));
}

std::string check_text(const Json& item, Handles& handles) {
    edgelora_model* model = handles.find(item.at("artifact"));
    Asked asked(item);
    const Json whole = Generation(model, item.at("prompt"), asked.options).tell();
    std::vector<std::string> pieces;
    asked.options.on_text = add_piece;
    asked.options.user_data = &pieces;
    const Json streamed = Generation(model, item.at("prompt"), asked.options).tell();
    std::string joined;
    for (const std::string& piece : pieces) {
        if (piece.empty()) return "streams a piece without text";
        joined += piece;
    }
    std::string wrong = compare(joined, item.at("expected_text")) + compare(streamed, whole);
    for (const auto& [key, value] : whole.items()) wrong += compare(value, item.at(key));
    return wrong;
}

}  // namespace

Kinds text_kinds(const Suite& suite) {
    const auto handles = std::make_shared<Handles>(suite.folder);
    const auto with = [handles](std::string (*check)(const Json&, Handles&)) {
        return [handles, check](const Json& test) {
            try {
                if (const std::string wrong = check(test, *handles); !wrong.empty()) throw Failure(wrong);
            } catch (const Failure& failure) {
                if (!is_lack_of_cache(failure)) throw;
            }
        };
    };
    return {{"render", with(check_render)},   {"encode", with(check_encode)}, {"chat", with(check_chat)},
            {"after", with(check_after)},     {"answer", with(check_answer)}, {"choices", with(check_choices)},
            {"text", with(check_text)}};
}

}  // namespace edgelora::conformance
