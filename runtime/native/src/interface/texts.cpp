#include "interface/guard.hpp"
#include "interface/handles.hpp"
#include "interface/options.hpp"
#include "rendering.hpp"

using namespace edgelora;
using namespace edgelora::interface;

namespace {

// The model's tokenizer; a callback may use it, because no answer is waited for.
std::shared_ptr<const Text> tokenizer_of(edgelora_model* model) { return need(model, "model").model->text(); }

struct Parts {
    Json messages;
    std::optional<Json> tools;
    std::optional<Json> variables;
    std::optional<std::string> date;
    bool add_generation_prompt = true;

    explicit Parts(const edgelora_conversation* given) {
        const edgelora_conversation known = read_conversation(given);
        messages = json_of(known.messages_json, "messages");
        tools = optional_json_of(known.tools_json, "tools");
        variables = optional_json_of(known.template_json, "template");
        date = optional_text_of(known.date, "date");
        add_generation_prompt = known.no_generation_prompt == 0;
    }

    const Json* offered() const { return tools && !tools->is_null() ? &*tools : nullptr; }
};

Text templated(edgelora_model* model, const Parts& parts) {
    const auto text = tokenizer_of(model);
    if (!parts.variables && !parts.date) return *text;
    return text->with_template(parts.variables.value_or(Json::object()), parts.date);
}

}  // namespace

extern "C" {

edgelora_status edgelora_encode(edgelora_model* model, const char* text, size_t n_bytes, int32_t special,
                                int32_t** ids, size_t* n_ids, edgelora_error** error) {
    return guard(error, [&] {
        clear(ids, "ids");
        clear(n_ids, "n_ids");
        give_ids(tokenizer_of(model)->encode(text_of(text, n_bytes, "text"), special != 0), ids, n_ids);
    });
}

edgelora_status edgelora_decode(edgelora_model* model, const int32_t* ids, size_t n_ids, int32_t special, char** text,
                                size_t* n_bytes, edgelora_error** error) {
    return guard(error, [&] {
        clear(text, "text", n_bytes);
        give_text(tokenizer_of(model)->decode(ids_of(ids, n_ids, "ids"), special != 0), text, n_bytes);
    });
}

edgelora_status edgelora_render(edgelora_model* model, const edgelora_conversation* conversation, char** text,
                                size_t* n_bytes, edgelora_error** error) {
    return guard(error, [&] {
        clear(text, "text", n_bytes);
        const Parts parts(conversation);
        const Text known = templated(model, parts);
        give_text(known.render(parts.messages, parts.add_generation_prompt, parts.offered()), text, n_bytes);
    });
}

edgelora_status edgelora_render_template(const char* source, size_t n_source_bytes,
                                         const edgelora_conversation* conversation, char** text, size_t* n_bytes,
                                         edgelora_error** error) {
    return guard(error, [&] {
        clear(text, "text", n_bytes);
        const Parts parts(conversation);
        const Renderer renderer(std::string(text_of(source, n_source_bytes, "source")),
                                parts.variables.value_or(Json::object()), parts.date);
        give_text(renderer.render(parts.messages, parts.add_generation_prompt, parts.offered()), text, n_bytes);
    });
}

edgelora_status edgelora_encode_after(edgelora_model* model, const char* prompt, size_t n_prompt_bytes,
                                      const char* text, size_t n_bytes, int32_t special, int32_t** ids, size_t* n_ids,
                                      edgelora_error** error) {
    return guard(error, [&] {
        clear(ids, "ids");
        clear(n_ids, "n_ids");
        const auto known = tokenizer_of(model);
        give_ids(known->encode_after(text_of(prompt, n_prompt_bytes, "prompt"), text_of(text, n_bytes, "text"),
                                     special != 0, model->model->manifest().model.eos_token_ids),
                 ids, n_ids);
    });
}

edgelora_status edgelora_encode_answer(edgelora_model* model, const edgelora_conversation* conversation,
                                       const char* answer, size_t n_bytes, int32_t** ids, size_t* n_ids,
                                       edgelora_error** error) {
    return guard(error, [&] {
        clear(ids, "ids");
        clear(n_ids, "n_ids");
        const Parts parts(conversation);
        const Text known = templated(model, parts);
        const std::string said(text_of(answer, n_bytes, "answer"));
        give_ids(known.encode_answer(parts.messages, said, parts.offered()), ids, n_ids);
    });
}
}
