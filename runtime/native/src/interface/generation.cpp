#include "interface/handles.hpp"

namespace {

const edgelora::Answer* find(const edgelora_generation* generation, size_t row) {
    return generation == nullptr || row >= generation->answers.size() ? nullptr : &generation->answers[row];
}

void count(size_t* place, size_t number) {
    if (place != nullptr) *place = number;
}

}  // namespace

extern "C" {

size_t edgelora_generation_rows(const edgelora_generation* generation) {
    return generation == nullptr ? 0 : generation->answers.size();
}

const char* edgelora_generation_text(const edgelora_generation* generation, size_t row, size_t* n_bytes) {
    const edgelora::Answer* answer = find(generation, row);
    count(n_bytes, answer == nullptr ? 0 : answer->text.size());
    return answer == nullptr ? "" : answer->text.c_str();
}

const int32_t* edgelora_generation_ids(const edgelora_generation* generation, size_t row, size_t* n_ids) {
    const edgelora::Answer* answer = find(generation, row);
    count(n_ids, answer == nullptr ? 0 : answer->ids.size());
    return answer == nullptr ? nullptr : answer->ids.data();
}

const char* edgelora_generation_finish_reason(const edgelora_generation* generation, size_t row) {
    const edgelora::Answer* answer = find(generation, row);
    return answer == nullptr ? "" : answer->finish_reason.c_str();
}

size_t edgelora_generation_prompt_tokens(const edgelora_generation* generation, size_t row) {
    const edgelora::Answer* answer = find(generation, row);
    return answer == nullptr ? 0 : answer->prompt_tokens;
}

const double* edgelora_generation_scores(const edgelora_generation* generation, size_t row, size_t* n_scores) {
    const edgelora::Answer* answer = find(generation, row);
    const bool has_scores = answer != nullptr && !answer->scores.empty();
    count(n_scores, has_scores ? answer->scores.size() : 0);
    return has_scores ? answer->scores.data() : nullptr;
}

void edgelora_generation_free(edgelora_generation* generation) { delete generation; }
}
