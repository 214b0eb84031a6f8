// The readers of single files and the arithmetic of sampling, for tests and tools that have no artifact.

#include <string>

#include "adapter_config.hpp"
#include "interface/guard.hpp"
#include "interface/options.hpp"
#include "manifest.hpp"
#include "patterns.hpp"
#include "receipt.hpp"
#include "safetensors.hpp"
#include "sampling.hpp"

using namespace edgelora;
using namespace edgelora::interface;

namespace {

void check_file(const std::string& kind, std::string_view content) {
    if (kind == "manifest") {
        parse_manifest(content);
    } else if (kind == "receipt") {
        parse_receipt(content);
    } else if (kind == "adapter_config") {
        parse_config(content);
    } else if (kind == "safetensors") {
        parse_safetensors(content, "the file");
    } else {
        throw Error(Code::invalid_input, "kind is " + show(kind) +
                                             ", expected manifest, receipt, adapter_config or safetensors");
    }
}

bool matches(const std::string& field, const std::string& text, const std::string& module) {
    if (field != "target_modules" && field != "rank_pattern") {
        throw Error(Code::invalid_input, "field is " + show(field) + ", expected target_modules or rank_pattern");
    }
    try {
        const Pattern pattern = Pattern::parse(text);
        return field == "target_modules" ? pattern.matches_whole(module) : pattern.matches_ending(module);
    } catch (const PatternError& error) {
        throw Error(Code::adapter, error.what());
    }
}

}  // namespace

extern "C" {

edgelora_status edgelora_check_file(const char* kind, const void* bytes, size_t n_bytes, edgelora_error** error) {
    return guard(error, [&] {
        const std::string known = text_of(kind, "kind");
        const char* first = n_bytes == 0 ? "" : &need(static_cast<const char*>(bytes), "bytes");
        check_file(known, std::string_view(first, n_bytes));
    });
}

edgelora_status edgelora_match_module(const char* field, const char* pattern, const char* module, int32_t* result,
                                      edgelora_error** error) {
    return guard(error, [&] {
        clear(result, "matches");
        *result = matches(text_of(field, "field"), text_of(pattern, "pattern"), text_of(module, "module")) ? 1 : 0;
    });
}

void edgelora_random(uint64_t seed, uint64_t stream, uint32_t* numbers, size_t n_numbers) {
    if (numbers == nullptr) return;
    Pcg32 generator(seed, stream);
    for (size_t index = 0; index < n_numbers; ++index) numbers[index] = generator.next();
}

edgelora_status edgelora_sample(const float* logits, size_t n_steps, size_t n_logits, const int32_t* prompt_ids,
                                size_t n_prompt_ids, size_t row, const edgelora_generate_options* options,
                                int32_t* ids, edgelora_error** error) {
    return guard(error, [&] {
        if (n_logits == 0) throw Error(Code::invalid_input, "n_logits is 0, expected at least one logit a step");
        const SamplingOptions sampling = sampling_of(read_generate_options(options));
        Sampler sampler(sampling, ids_of(prompt_ids, n_prompt_ids, "prompt_ids"), row);
        for (size_t step = 0; step < n_steps; ++step) {
            const int32_t token = sampler.choose(&need(logits, "logits") + step * n_logits, n_logits);
            (&need(ids, "ids"))[step] = token;
        }
    });
}
}
