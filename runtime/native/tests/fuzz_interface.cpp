// libFuzzer: calls of the C interface with whatever texts, ids and options the input holds, on one loaded model.
//
// EDGELORA_FUZZ_ARTIFACT names the artifact, EDGELORA_ONNXRUNTIME the library. A call gives an answer, or an error in one
// printable line that is no fault of the library; what it gives can be freed.
#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "edgelora.h"
#include "fuzz_refusal.hpp"

namespace {

constexpr std::size_t kMostIds = 64, kMostRows = 4, kMostNewTokens = 4;

// Takes the input apart from its begin: bytes, numbers, texts that end with a zero byte.
class Input {
  public:
    Input(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

    template <typename Number>
    Number take() {
        Number number = {};
        const std::size_t count = std::min(sizeof number, size_);
        if (count > 0) std::memcpy(&number, data_, count);
        data_ += count;
        size_ -= count;
        return number;
    }

    // The text stays as long as the input.
    const char* text() {
        const void* end = size_ == 0 ? nullptr : std::memchr(data_, 0, size_);
        const std::size_t count =
            end == nullptr ? size_ : static_cast<std::size_t>(static_cast<const std::uint8_t*>(end) - data_);
        texts_.push_back(std::make_unique<std::string>(reinterpret_cast<const char*>(data_), count));
        const std::size_t taken = std::min(size_, count + 1);
        data_ += taken;
        size_ -= taken;
        return texts_.back()->c_str();
    }

    const char* text_or_null() { return take<std::uint8_t>() % 2 == 0 ? nullptr : text(); }

    std::vector<std::int32_t> ids() {
        std::vector<std::int32_t> found(take<std::uint8_t>() % kMostIds);
        for (std::int32_t& id : found) {
            const auto byte = take<std::uint8_t>();
            id = byte == 255 ? take<std::int32_t>() : byte;
        }
        return found;
    }

  private:
    const std::uint8_t* data_;
    std::size_t size_;
    std::vector<std::unique_ptr<std::string>> texts_;
};

bool held(edgelora_status status, edgelora_error* error) {
    if ((status == EDGELORA_OK) != (error == nullptr) || status == EDGELORA_INTERNAL) {
        std::fprintf(stderr, "status %d: %s\n", status, edgelora_error_message(error));
        std::abort();
    }
    if (error == nullptr) return true;
    if (edgelora_error_code(error) != status) std::abort();
    edgelora::check_refusal({edgelora::Code::internal, edgelora_error_message(error)});
    edgelora_error_free(error);
    return false;
}

edgelora_model* model() {
    static edgelora_model* const loaded = [] {
        edgelora_model* opened = nullptr;
        edgelora_error* error = nullptr;
        const char* folder = std::getenv("EDGELORA_FUZZ_ARTIFACT");
        if (!held(edgelora_load(folder == nullptr ? "" : folder, nullptr, &opened, &error), error)) {
            std::fputs("EDGELORA_FUZZ_ARTIFACT is no artifact that can be loaded\n", stderr);
            std::abort();
        }
        return opened;
    }();
    return loaded;
}

edgelora_generate_options options_of(Input& input) {
    edgelora_generate_options options;
    edgelora_generate_options_init(&options, sizeof options);
    options.max_new_tokens = 1 + input.take<std::uint8_t>() % kMostNewTokens;
    if (input.take<std::uint8_t>() % 2 == 1) {
        options.temperature = input.take<double>();
        options.top_p = input.take<double>();
        options.min_p = input.take<double>();
        options.repetition_penalty = input.take<double>();
        options.top_k = input.take<std::int32_t>();
        options.has_seed = input.take<std::uint8_t>() % 3;
        options.max_new_tokens -= input.take<std::uint8_t>() % 2 == 1 ? 100 : 0;
    }
    options.raw = input.take<std::uint8_t>() % 3;
    options.adapter = input.text_or_null();
    options.adapters_json = input.text_or_null();
    options.stop_json = input.text_or_null();
    options.choices_json = input.text_or_null();
    options.template_json = input.text_or_null();
    options.tools_json = input.text_or_null();
    options.date = input.text_or_null();
    return options;
}

void look_at(edgelora_generation* generation) {
    for (std::size_t row = 0; row <= edgelora_generation_rows(generation); row++) {
        std::size_t n_bytes = 0, n_ids = 0, n_scores = 0;
        const char* text = edgelora_generation_text(generation, row, &n_bytes);
        if (edgelora::find_bad_utf8({text, n_bytes})) std::abort();
        edgelora_generation_ids(generation, row, &n_ids);
        edgelora_generation_scores(generation, row, &n_scores);
        edgelora_generation_finish_reason(generation, row);
    }
    edgelora_generation_free(generation);
}

void generate(Input& input, int kind) {
    const edgelora_generate_options options = options_of(input);
    edgelora_generation* generation = nullptr;
    edgelora_error* error = nullptr;
    edgelora_status status = EDGELORA_OK;
    if (kind == 0) {
        const char* text = input.text();
        status = edgelora_generate(model(), text, std::strlen(text), &options, &generation, &error);
    } else if (kind == 1) {
        status = edgelora_chat(model(), input.text(), &options, &generation, &error);
    } else if (kind == 2) {
        status = edgelora_generate_batch(model(), input.text(), &options, &generation, &error);
    } else {
        const std::vector<std::int32_t> ids = input.ids();
        std::vector<std::size_t> lengths(input.take<std::uint8_t>() % kMostRows);
        std::size_t left = ids.size();
        for (std::size_t& length : lengths) {
            length = std::min<std::size_t>(left, input.take<std::uint8_t>());
            left -= length;
        }
        status = edgelora_generate_ids(model(), ids.data(), lengths.data(), lengths.size(), &options, &generation,
                                       &error);
    }
    if (held(status, error)) look_at(generation);
}

edgelora_conversation conversation_of(Input& input) {
    edgelora_conversation conversation = {};
    conversation.struct_size = sizeof conversation;
    conversation.no_generation_prompt = input.take<std::uint8_t>() % 2;
    conversation.messages_json = input.text();
    conversation.tools_json = input.text_or_null();
    conversation.template_json = input.text_or_null();
    conversation.date = input.text_or_null();
    return conversation;
}

// Texts and ids that functions write through a pointer.
void write(Input& input, int kind) {
    edgelora_error* error = nullptr;
    char* text = nullptr;
    std::int32_t* ids = nullptr;
    std::size_t count = 0;
    edgelora_status status = EDGELORA_OK;
    const auto special = static_cast<std::int32_t>(input.take<std::uint8_t>() % 2);
    if (kind == 4) {
        const char* given = input.text();
        status = edgelora_encode(model(), given, std::strlen(given), special, &ids, &count, &error);
    } else if (kind == 5) {
        const std::vector<std::int32_t> given = input.ids();
        status = edgelora_decode(model(), given.data(), given.size(), special, &text, &count, &error);
    } else if (kind == 6) {
        const edgelora_conversation conversation = conversation_of(input);
        status = edgelora_render(model(), &conversation, &text, &count, &error);
    } else if (kind == 7) {
        const edgelora_conversation conversation = conversation_of(input);
        const char* answer = input.text();
        status = edgelora_encode_answer(model(), &conversation, answer, std::strlen(answer), &ids, &count, &error);
    } else {
        const char* prompt = input.text();
        const char* behind = input.text();
        status = edgelora_encode_after(model(), prompt, std::strlen(prompt), behind, std::strlen(behind), special, &ids,
                                       &count, &error);
    }
    if (!held(status, error)) return;
    if (text != nullptr && edgelora::find_bad_utf8({text, count})) std::abort();
    edgelora_free(text);
    edgelora_free(ids);
}

void use_adapters(Input& input, int kind) {
    edgelora_error* error = nullptr;
    edgelora_status status = EDGELORA_OK;
    std::int32_t matches = 0;
    if (kind == 9) {
        status = edgelora_set_adapter(model(), input.text(), &error);
    } else if (kind == 10) {
        const char* name = input.text();
        status = edgelora_load_adapter(model(), name, input.text(), 0, &error);
    } else if (kind == 11) {
        const char* pattern = input.text();
        status = edgelora_match_module("rank_pattern", pattern, input.text(), &matches, &error);
    } else {
        const char* file_kind = input.text();
        const std::string content = input.text();
        status = edgelora_check_file(file_kind, content.data(), content.size(), &error);
    }
    held(status, error);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input input(data, size);
    const int kind = input.take<std::uint8_t>() % 13;
    if (kind < 4) {
        generate(input, kind);
    } else if (kind < 9) {
        write(input, kind);
    } else {
        use_adapters(input, kind);
    }
    return 0;
}
