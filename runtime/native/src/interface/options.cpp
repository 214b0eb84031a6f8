#include "interface/options.hpp"

namespace edgelora::interface {
namespace {

void init_conversation(edgelora_conversation* conversation, std::size_t) { *conversation = edgelora_conversation{}; }

}  // namespace

edgelora_load_options read_load_options(const edgelora_load_options* given) {
    return read_options(given, "options", edgelora_load_options_init);
}

edgelora_generate_options read_generate_options(const edgelora_generate_options* given) {
    return read_options(given, "options", edgelora_generate_options_init);
}

edgelora_encoder_options read_encoder_options(const edgelora_encoder_options* given) {
    return read_options(given, "options", edgelora_encoder_options_init);
}

edgelora_conversation read_conversation(const edgelora_conversation* given) {
    return read_options(&need(given, "conversation"), "conversation", init_conversation);
}

SamplingOptions sampling_of(const edgelora_generate_options& options) {
    SamplingOptions sampling;
    sampling.temperature = options.temperature;
    sampling.top_k = options.top_k;
    sampling.top_p = options.top_p;
    sampling.min_p = options.min_p;
    sampling.repetition_penalty = options.repetition_penalty;
    if (options.has_seed != 0) sampling.seed = options.seed;
    return sampling;
}

}  // namespace edgelora::interface

extern "C" {

void edgelora_load_options_init(edgelora_load_options* options, size_t struct_size) {
    edgelora::interface::write_defaults(options, struct_size, edgelora_load_options{});
}

void edgelora_encoder_options_init(edgelora_encoder_options* options, size_t struct_size) {
    edgelora::interface::write_defaults(options, struct_size, edgelora_encoder_options{});
}

void edgelora_generate_options_init(edgelora_generate_options* options, size_t struct_size) {
    edgelora_generate_options defaults{};
    defaults.max_new_tokens = 128;
    defaults.top_p = 1.0;
    defaults.repetition_penalty = 1.0;
    edgelora::interface::write_defaults(options, struct_size, defaults);
}
}
