// Classifiers, taggers and embedders: text or pixels in, labels, spans or vectors out.

#include <algorithm>
#include <utility>

#include "interface/guard.hpp"
#include "interface/handles.hpp"
#include "interface/options.hpp"

using namespace edgelora;
using namespace edgelora::interface;

namespace {

EncoderOptions encoder_options_of(const edgelora_encoder_options* given) {
    const edgelora_encoder_options options = read_encoder_options(given);
    EncoderOptions made;
    made.adapter = optional_text_of(options.adapter, "adapter");
    if (options.adapters_json != nullptr) made.adapters = texts_of(options.adapters_json, "adapters");
    made.cancel = options.cancel == nullptr ? nullptr : &options.cancel->flag;
    return made;
}

Pixels pixels_of(const float* pixels, size_t n_pixels) {
    return {n_pixels == 0 ? nullptr : &need(pixels, "pixels"), n_pixels};
}

Json tell(const Classification& answer) {
    Json scores = Json::object();
    auto& items = scores.get_ref<Json::object_t&>();
    items.reserve(answer.known.size());
    for (size_t index = 0; index < answer.known.size(); ++index) {  // labels differ: nothing has to be looked up
        items.push_back({answer.known[index], answer.scores[index]});
    }
    return Json{{"label", answer.label},
                {"score", answer.score},
                {"scores", std::move(scores)},
                {"labels", answer.labels},
                {"truncated", answer.truncated}};
}

Json tell(const Tagging& answer) {
    Json spans = Json::array();
    for (const TagSpan& span : answer.spans) {
        spans.push_back({{"start", span.start},
                         {"end", span.end},
                         {"label", span.label},
                         {"score", span.score},
                         {"text", span.text}});
    }
    return Json{{"spans", std::move(spans)}, {"windows", answer.windows}};
}

template <typename Answer>
void give_answers(const std::vector<Answer>& answers, char** out, size_t* n_bytes) {
    Json told = Json::array();
    for (const Answer& answer : answers) told.push_back(tell(answer));
    give_text(told.dump(), out, n_bytes);
}

void give_each(const std::vector<std::pair<std::string, Classification>>& answers, char** out, size_t* n_bytes) {
    Json told = Json::object();
    for (const auto& [spec, answer] : answers) told[spec] = tell(answer);
    give_text(told.dump(), out, n_bytes);
}

void give_rows(const std::vector<std::vector<float>>& rows, float** out, size_t* n_floats, size_t* n_of_row,
               size_t n_rows) {
    std::vector<float> joined;
    for (const auto& row : rows) joined.insert(joined.end(), row.begin(), row.end());
    if (n_of_row != nullptr) {
        for (size_t row = 0; row < std::min(n_rows, rows.size()); ++row) n_of_row[row] = rows[row].size();
    }
    give_floats(joined, out, n_floats);
}

}  // namespace

extern "C" {

edgelora_status edgelora_labels(edgelora_model* model, const char* spec, char** labels_json, size_t* n_bytes,
                                edgelora_error** error) {
    return guard(error, [&] {
        clear(labels_json, "labels_json", n_bytes);
        const Calling call(model);
        const auto head = call.encoder().labels(optional_text_of(spec, "spec"));
        const Json told = head ? Json{{"labels", head->labels},
                                      {"problem_type", head->problem_type},
                                      {"temperature", head->temperature}}
                               : Json();
        give_text(told.dump(), labels_json, n_bytes);
    });
}

edgelora_status edgelora_classify(edgelora_model* model, const char* texts_json,
                                  const edgelora_encoder_options* options, char** answers_json, size_t* n_bytes,
                                  edgelora_error** error) {
    return guard(error, [&] {
        clear(answers_json, "answers_json", n_bytes);
        const Calling call(model);
        const auto texts = texts_of(texts_json, "texts");
        give_answers(call.encoder().classify(texts, encoder_options_of(options)), answers_json, n_bytes);
    });
}

edgelora_status edgelora_classify_pixels(edgelora_model* model, const float* pixels, size_t n_pixels,
                                         const edgelora_encoder_options* options, char** answers_json,
                                         size_t* n_bytes, edgelora_error** error) {
    return guard(error, [&] {
        clear(answers_json, "answers_json", n_bytes);
        const Calling call(model);
        const auto answers = call.encoder().classify(pixels_of(pixels, n_pixels), encoder_options_of(options));
        give_answers(answers, answers_json, n_bytes);
    });
}

edgelora_status edgelora_classify_each(edgelora_model* model, const char* text, size_t n_text_bytes,
                                       const edgelora_encoder_options* options, char** answers_json, size_t* n_bytes,
                                       edgelora_error** error) {
    return guard(error, [&] {
        clear(answers_json, "answers_json", n_bytes);
        const Calling call(model);
        const std::string given(text_of(text, n_text_bytes, "text"));
        give_each(call.encoder().classify_each(given, encoder_options_of(options)), answers_json, n_bytes);
    });
}

edgelora_status edgelora_classify_each_pixels(edgelora_model* model, const float* pixels, size_t n_pixels,
                                              const edgelora_encoder_options* options, char** answers_json,
                                              size_t* n_bytes, edgelora_error** error) {
    return guard(error, [&] {
        clear(answers_json, "answers_json", n_bytes);
        const Calling call(model);
        const auto answers = call.encoder().classify_each(pixels_of(pixels, n_pixels), encoder_options_of(options));
        give_each(answers, answers_json, n_bytes);
    });
}

edgelora_status edgelora_tag(edgelora_model* model, const char* texts_json, const edgelora_encoder_options* options,
                             char** answers_json, size_t* n_bytes, edgelora_error** error) {
    return guard(error, [&] {
        clear(answers_json, "answers_json", n_bytes);
        const Calling call(model);
        const auto texts = texts_of(texts_json, "texts");
        give_answers(call.encoder().tag(texts, encoder_options_of(options)), answers_json, n_bytes);
    });
}

edgelora_status edgelora_embed(edgelora_model* model, const char* texts_json, const edgelora_encoder_options* options,
                               float** vectors, size_t* n_floats, int32_t* truncated, size_t n_truncated,
                               edgelora_error** error) {
    return guard(error, [&] {
        clear(vectors, "vectors");
        clear(n_floats, "n_floats");
        const Calling call(model);
        const auto texts = texts_of(texts_json, "texts");
        if (truncated != nullptr && n_truncated != texts.size()) {
            throw Error(Code::invalid_input, "n_truncated is " + std::to_string(n_truncated) + ", expected " +
                                                 std::to_string(texts.size()) + ", the number of texts");
        }
        const Embeddings found = call.encoder().embed(texts, encoder_options_of(options));
        for (size_t text = 0; truncated != nullptr && text < texts.size(); ++text) {
            truncated[text] = found.truncated[text] ? 1 : 0;
        }
        give_floats(found.numbers, vectors, n_floats);
    });
}

edgelora_status edgelora_outputs(edgelora_model* model, const int32_t* ids, const size_t* lengths, size_t n_rows,
                                 const edgelora_encoder_options* options, float** outputs, size_t* n_floats,
                                 size_t* n_of_row, edgelora_error** error) {
    return guard(error, [&] {
        clear(outputs, "outputs");
        clear(n_floats, "n_floats");
        const Calling call(model);
        const auto found = call.encoder().outputs(rows_of(ids, lengths, n_rows), encoder_options_of(options));
        give_rows(found, outputs, n_floats, n_of_row, n_rows);
    });
}

edgelora_status edgelora_outputs_of_pixels(edgelora_model* model, const float* pixels, size_t n_pixels,
                                           const edgelora_encoder_options* options, float** outputs,
                                           size_t* n_floats, size_t* n_of_row, size_t n_rows,
                                           edgelora_error** error) {
    return guard(error, [&] {
        clear(outputs, "outputs");
        clear(n_floats, "n_floats");
        const Calling call(model);
        const auto found = call.encoder().outputs(pixels_of(pixels, n_pixels), encoder_options_of(options));
        if (n_of_row != nullptr && n_rows != found.size()) {
            throw Error(Code::invalid_input, "n_rows is " + std::to_string(n_rows) + ", expected " +
                                                 std::to_string(found.size()) + ", the number of images");
        }
        give_rows(found, outputs, n_floats, n_of_row, n_rows);
    });
}
}
