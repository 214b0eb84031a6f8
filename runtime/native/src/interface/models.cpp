#include <dlfcn.h>

#include <filesystem>

#include "interface/guard.hpp"
#include "interface/handles.hpp"
#include "interface/options.hpp"

using namespace edgelora;
using namespace edgelora::interface;

namespace edgelora::interface {

thread_local Calling* innermost = nullptr;

Calling::Calling(edgelora_model* model) : model_(&need(model, "model")), outer_(innermost) {
    for (const Calling* call = outer_; call != nullptr; call = call->outer_) {
        if (call->model_ == model) {
            throw Error(Code::invalid_input,
                        "a callback calls the model that it is called for; call it when the first call has returned");
        }
    }
    innermost = this;
}

Calling::~Calling() { innermost = outer_; }

Model& Calling::generator() const {
    if (auto* model = dynamic_cast<Model*>(model_->model.get())) return *model;
    const Manifest& manifest = model_->model->manifest();
    throw Error(Code::invalid_input, manifest.model.name + " is for " + manifest.task +
                                         " and makes no tokens; use edgelora_classify, edgelora_tag or edgelora_embed");
}

EncoderModel& Calling::encoder() const {
    if (auto* model = dynamic_cast<EncoderModel*>(model_->model.get())) return *model;
    throw Error(Code::invalid_input, model_->model->manifest().model.name +
                                         " is for text-generation; use edgelora_generate, or load another artifact");
}

}  // namespace edgelora::interface

namespace {

// The library of fused operators beside this one, or beside the program that this code is part of.
std::filesystem::path find_operators() {
    Dl_info found{};
    if (dladdr(reinterpret_cast<const void*>(&edgelora_version), &found) == 0 || found.dli_fname == nullptr) return {};
    std::error_code ignored;
    auto here = std::filesystem::canonical(found.dli_fname, ignored);
    if (ignored) here = std::filesystem::read_symlink("/proc/self/exe", ignored);
#ifdef __APPLE__
    auto path = here.replace_filename("libedgelora_ops.dylib");
#else
    auto path = here.replace_filename("libedgelora_ops.so");
#endif
    return !ignored && std::filesystem::exists(path, ignored) ? path : std::filesystem::path();
}

LoadOptions load_options_of(const edgelora_load_options& given) {
    if (given.adapter_bytes < 0) {
        throw Error(Code::invalid_input, "adapter_bytes is " + std::to_string(given.adapter_bytes) +
                                             ", expected a whole number from 1, or 0 for no bound");
    }
    LoadOptions options;
    options.onnxruntime = std::filesystem::u8path(optional_text_of(given.onnxruntime, "onnxruntime").value_or(""));
    const auto operators = optional_text_of(given.operators, "operators");
    options.operator_library = operators ? std::filesystem::u8path(*operators) : find_operators();
    options.operators_are_optional = !operators;
    options.cache = std::filesystem::u8path(optional_text_of(given.cache, "cache").value_or(""));
    options.threads = given.threads;
    options.hashes = given.hashes != 0;
    options.probe = given.probe != 0;
    options.twin = given.twin != 0;
    if (given.adapter_bytes > 0) options.adapter_bytes = static_cast<std::size_t>(given.adapter_bytes);
    return options;
}

}  // namespace

extern "C" {

edgelora_status edgelora_load(const char* path, const edgelora_load_options* options, edgelora_model** model,
                              edgelora_error** error) {
    return guard(error, [&] {
        clear(model, "model");
        const edgelora_load_options given = read_load_options(options);
        auto made = std::make_unique<edgelora_model>();
        made->model = load_model(std::filesystem::u8path(text_of(path, "path")), load_options_of(given));
        *model = made.release();
    });
}

void edgelora_model_free(edgelora_model* model) { delete model; }

int32_t edgelora_vocab_size(const edgelora_model* model) {
    return model == nullptr ? 0 : static_cast<int32_t>(model->model->manifest().model.vocab_size);
}

int32_t edgelora_context_length(const edgelora_model* model) {
    return model == nullptr ? 0 : static_cast<int32_t>(model->model->manifest().model.context_length);
}

edgelora_status edgelora_model_info(edgelora_model* model, char** info_json, size_t* n_bytes, edgelora_error** error) {
    return guard(error, [&] {
        clear(info_json, "info_json", n_bytes);
        const Calling call(model);
        give_text(call->info().dump(), info_json, n_bytes);
    });
}

edgelora_status edgelora_set_adapter(edgelora_model* model, const char* spec, edgelora_error** error) {
    return guard(error, [&] { Calling(model)->set_adapter(text_of(spec, "spec")); });
}

edgelora_status edgelora_load_adapter(edgelora_model* model, const char* name, const char* folder, int32_t trust,
                                      edgelora_error** error) {
    return guard(error, [&] {
        const Calling call(model);
        const auto path = std::filesystem::u8path(text_of(folder, "folder"));
        call->load_adapter(text_of(name, "name"), path, trust != 0, std::nullopt);
    });
}

edgelora_status edgelora_load_adapter_with_labels(edgelora_model* model, const char* name, const char* folder,
                                                  const char* labels_json, int32_t trust, edgelora_error** error) {
    return guard(error, [&] {
        const Calling call(model);
        const auto path = std::filesystem::u8path(text_of(folder, "folder"));
        call->load_adapter(text_of(name, "name"), path, trust != 0, texts_of(labels_json, "labels"));
    });
}

edgelora_status edgelora_unload_adapter(edgelora_model* model, const char* name, edgelora_error** error) {
    return guard(error, [&] { Calling(model)->unload_adapter(text_of(name, "name")); });
}

edgelora_status edgelora_probe(edgelora_model* model, const char* name, char** result_json, size_t* n_bytes,
                               edgelora_error** error) {
    return guard(error, [&] {
        clear(result_json, "result_json", n_bytes);
        const Calling call(model);
        give_text(call->probe(text_of(name, "name")).dump(), result_json, n_bytes);
    });
}
}
