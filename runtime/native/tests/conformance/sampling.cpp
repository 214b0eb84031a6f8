// Kinds `pcg32` and `sampler`: numbers of the generator, and tokens that are drawn with them.
#include "sampling.hpp"

#include "kinds.hpp"

namespace edgelora::conformance {
namespace {

SamplingOptions options_of(const Json& sampling) {
    SamplingOptions options;
    options.temperature = sampling.value("temperature", options.temperature);
    options.top_k = sampling.value("top_k", options.top_k);
    options.top_p = sampling.value("top_p", options.top_p);
    options.min_p = sampling.value("min_p", options.min_p);
    options.repetition_penalty = sampling.value("repetition_penalty", options.repetition_penalty);
    if (sampling.contains("seed")) options.seed = sampling.at("seed").get<std::uint64_t>();
    return options;
}

void check_generator(const Json& test) {
    Pcg32 generator(test.at("seed").get<std::uint64_t>(), test.at("stream").get<std::uint64_t>());
    Json found = Json::array();
    for (std::size_t count = test.at("expected").size(); count > 0; count--) found.push_back(generator.next());
    expect_same(found, test.at("expected"), "the sequence");
}

void check_sampler(const Json& test) {
    const auto prompt = test.at("prompt_ids").get<std::vector<std::int32_t>>();
    Sampler sampler(options_of(test.at("sampling")), prompt, test.at("row").get<std::size_t>());
    Json found = Json::array();
    for (const Json& row : test.at("logits")) {
        const auto logits = row.get<std::vector<float>>();
        found.push_back(sampler.choose(logits.data(), logits.size()));
    }
    expect_same(found, test.at("expected"), "the tokens");
}

}  // namespace

Kinds sampling_kinds() { return {{"pcg32", check_generator}, {"sampler", check_sampler}}; }

}  // namespace edgelora::conformance
