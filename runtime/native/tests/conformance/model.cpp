// Kinds that run a graph on token ids: logits, tokens, batch, error.
//
// EDGELORA_ONNXRUNTIME names the library; with EDGELORA_OPERATORS, the path of libedgelora_ops, fused graphs are run.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>

#include "conformance/kinds.hpp"
#include "token_model.hpp"

namespace edgelora::conformance {

namespace {

// One loaded model for all cases of an artifact, so that nothing may remain from one case to the next.
class Models {
  public:
    explicit Models(std::filesystem::path folder) : folder_(std::move(folder)) {}

    // nullptr where this onnxruntime has no KV cache in 8 bits and the artifact was refused for it, as it must be.
    TokenModel* find(const Json& test) {
        const auto artifact = test.at("artifact").get<std::string>();
        const auto known = loaded_.find(artifact);
        return known != loaded_.end() ? known->second.get()
                                      : loaded_.emplace(artifact, load(artifact)).first->second.get();
    }

  private:
    std::unique_ptr<TokenModel> load(const std::string& artifact) const {
        LoadOptions options;
        options.hashes = artifact != "tiny-wrong";  // they look at every entry and file
        const char* operators = std::getenv("EDGELORA_OPERATORS");
        if (operators != nullptr && read_manifest(folder_ / artifact).graph.fused) {
            options.operator_library = operators;
        }
        try {
            return TokenModel::load(folder_ / artifact, options);
        } catch (const Error& error) {
            const std::string message = error.what();
            if (error.code == Code::unsupported && message.find("KV cache in 8 bits") != std::string::npos) {
                return nullptr;
            }
            throw;
        }
    }

    std::filesystem::path folder_;
    std::map<std::string, std::unique_ptr<TokenModel>> loaded_;
};

Request make_request(const Json& test) {
    Request request;
    const Json& sampling = test.at("sampling");
    request.sampling.temperature = sampling.value("temperature", 0.0);
    request.sampling.top_k = sampling.value("top_k", std::int64_t{0});
    request.sampling.top_p = sampling.value("top_p", 1.0);
    request.sampling.min_p = sampling.value("min_p", 0.0);
    request.sampling.repetition_penalty = sampling.value("repetition_penalty", 1.0);
    if (sampling.contains("seed")) {
        request.sampling.seed = sampling.at("seed").get<std::uint64_t>();
    }
    request.max_new_tokens = test.at("max_new_tokens").get<std::int64_t>();
    return request;
}

void check_logits(TokenModel& model, const Json& test) {
    const Logits logits = model.logits(test.at("input_ids").get<Ids>(), {test.at("adapter").get<std::string>()},
                                       test.at("positions").get<std::vector<std::size_t>>());
    const Json& columns = test.at("columns");
    const double tolerance = test.at("tolerance").get<double>();
    for (std::size_t row = 0; row < test.at("positions").size(); ++row) {
        const float* values = logits.row(row);
        for (std::size_t column = 0; column < columns.size(); ++column) {
            const double found = values[columns[column].get<std::size_t>()];
            const double expected = test.at("expected")[row][column].get<double>();
            if (!(std::abs(found - expected) <= tolerance)) {
                throw Failure("logit " + columns[column].dump() + " of position " + test.at("positions")[row].dump() +
                              " is " + std::to_string(found) + ", expected " + std::to_string(expected));
            }
        }
        expect_same(std::max_element(values, values + logits.vocab_size()) - values,
                    test.at("expected_argmax")[row], "the largest logit");
    }
}

void check_tokens(TokenModel& model, const Json& test) {
    const auto answers = model.generate_ids({test.at("input_ids").get<Ids>()},
                                            {test.at("adapter").get<std::string>()}, make_request(test));
    expect_same(answers.front().ids, test.at("expected_ids"), "the answer");
}

void check_batch(TokenModel& model, const Json& test) {
    const auto answers = model.generate_ids(test.at("input_ids").get<std::vector<Ids>>(),
                                            test.at("adapters").get<Specs>(), make_request(test));
    Json found = Json::array();
    for (const IdsAnswer& answer : answers) {
        found.push_back(answer.ids);
    }
    expect_same(found, test.at("expected_ids"), "the answers");
}

void check_error(TokenModel& model, const Json& test) {
    const auto call = [&model, &test] {
        model.generate_ids({test.at("input_ids").get<Ids>()}, {test.at("adapter").get<std::string>()}, {});
    };
    expect_refused(call, test.at("message_has").get<std::string>());
}

}  // namespace

Kinds model_kinds(const Suite& suite) {
    auto models = std::make_shared<Models>(suite.folder);
    const auto on_model = [models](void (*check)(TokenModel&, const Json&)) {
        return [models, check](const Json& test) {
            if (TokenModel* const model = models->find(test)) {
                check(*model, test);
            }
        };
    };
    return {{"logits", on_model(check_logits)},
            {"tokens", on_model(check_tokens)},
            {"batch", on_model(check_batch)},
            {"error", on_model(check_error)}};
}

}  // namespace edgelora::conformance
