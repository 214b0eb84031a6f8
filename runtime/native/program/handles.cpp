#include "handles.hpp"

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include <unistd.h>

#include "failure.hpp"

namespace edgelora::program {
namespace {

// Where a signal handler finds them: it can be given nothing.
edgelora_cancel* asked_flag = nullptr;
volatile std::sig_atomic_t is_computing = 0;
volatile std::sig_atomic_t asked = 0;

void handle_interrupt(int) {
    if (is_computing == 0 || asked != 0) {
        constexpr char line[] = "\nedgelora-run: interrupted\n";
        [[maybe_unused]] const auto written = write(STDERR_FILENO, line, sizeof line - 1);
        _exit(INTERRUPTED);
    }
    asked = 1;
    edgelora_cancel_set(asked_flag);
}

// onnxruntime beside the program, so that a folder with both runs wherever it is copied.
std::string find_onnxruntime() {
    std::error_code ignored;
    const auto program = std::filesystem::read_symlink("/proc/self/exe", ignored);
    if (ignored) return "";
    const auto folder = program.parent_path();
    for (const char* name : {"libonnxruntime.so", "libonnxruntime.so.1"}) {
        if (std::filesystem::exists(folder / name, ignored)) return (folder / name).string();
    }
    std::string found;
    for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
        const std::string name = entry.path().filename().string();
        if (name.rfind("libonnxruntime.so.", 0) == 0 && name > found) found = name;
    }
    return found.empty() ? "" : (folder / found).string();
}

}  // namespace

void check(edgelora_status status, edgelora_error*& error) {
    if (status == EDGELORA_OK) return;
    const std::string line = edgelora_error_message(error);
    edgelora_error_free(error);
    switch (status) {
        case EDGELORA_CANCELLED:
            throw Failure(INTERRUPTED, "interrupted");
        case EDGELORA_INTERNAL:
            throw Failure(OUR_FAULT, line);
        default:
            throw Failure(BAD_INPUT, line, status == EDGELORA_ARTIFACT || status == EDGELORA_ADAPTER);
    }
}

Model load(const Arguments& arguments, bool is_checked) {
    edgelora_load_options options;
    edgelora_load_options_init(&options, sizeof options);
    std::string library = arguments.onnxruntime.value_or("");
    const char* named = std::getenv("EDGELORA_ONNXRUNTIME");
    if (library.empty() && (named == nullptr || *named == '\0')) library = find_onnxruntime();
    options.threads = arguments.threads;
    options.onnxruntime = library.empty() ? nullptr : library.c_str();
    options.cache = arguments.cache ? arguments.cache->c_str() : nullptr;
    options.operators = arguments.operators ? arguments.operators->c_str() : nullptr;
    options.adapter_bytes = arguments.adapter_bytes;
    options.hashes = options.probe = is_checked ? 1 : 0;
    options.twin = arguments.keeps_twin ? 1 : 0;
    edgelora_model* model = nullptr;
    edgelora_error* error = nullptr;
    check(edgelora_load(arguments.artifact.c_str(), &options, &model, &error), error);
    return Model(model);
}

Json model_info(const Model& model) {
    char* text = nullptr;
    std::size_t n_bytes = 0;
    edgelora_error* error = nullptr;
    check(edgelora_model_info(model.get(), &text, &n_bytes, &error), error);
    const std::unique_ptr<char, void (*)(void*)> owner(text, edgelora_free);
    return parse_json(std::string_view(text, n_bytes), "the model's info");
}

std::string task_of(const Model& model) {
    return model_info(model).at("manifest").at("task").get<std::string>();
}

AnswerOptions::AnswerOptions(const Arguments& arguments)
    : stops_(Json(arguments.stops).dump()),
      choices_(Json(arguments.choices).dump()),
      variables_(arguments.template_variables.dump()),
      date_(arguments.date.value_or("")) {
    edgelora_generate_options_init(&options, sizeof options);
    options.max_new_tokens = arguments.max_new_tokens;
    options.temperature = arguments.temperature;
    options.top_p = arguments.top_p;
    options.top_k = arguments.top_k;
    options.min_p = arguments.min_p;
    options.repetition_penalty = arguments.repetition_penalty;
    options.has_seed = arguments.seed ? 1 : 0;
    options.seed = arguments.seed.value_or(0);
    if (!arguments.stops.empty()) options.stop_json = stops_.c_str();
    if (!arguments.choices.empty()) options.choices_json = choices_.c_str();
    if (!arguments.template_variables.is_null()) options.template_json = variables_.c_str();
    if (arguments.date) options.date = date_.c_str();
    options.raw = arguments.is_raw ? 1 : 0;
}

Generation answer(const Model& model, const Json& prompt, const edgelora_generate_options& options) {
    edgelora_generation* generation = nullptr;
    edgelora_error* error = nullptr;
    if (prompt.is_string()) {
        const auto& text = prompt.get_ref<const std::string&>();
        check(edgelora_generate(model.get(), text.data(), text.size(), &options, &generation, &error), error);
    } else {
        check(edgelora_chat(model.get(), prompt.dump().c_str(), &options, &generation, &error), error);
    }
    return Generation(generation);
}

std::string text_of(const Generation& generation) {
    std::size_t n_bytes = 0;
    const char* text = edgelora_generation_text(generation.get(), 0, &n_bytes);
    return std::string(text, n_bytes);
}

void catch_interrupts() { std::signal(SIGINT, handle_interrupt); }

Interrupt::Interrupt() {
    asked_flag = edgelora_cancel_create();
    if (asked_flag == nullptr) throw std::bad_alloc();
    asked = 0;
    is_computing = 1;
}

Interrupt::~Interrupt() {
    is_computing = 0;
    edgelora_cancel_free(asked_flag);
    asked_flag = nullptr;
}

edgelora_cancel* Interrupt::flag() const { return asked_flag; }

bool Interrupt::was_asked() const { return asked != 0; }

}  // namespace edgelora::program
