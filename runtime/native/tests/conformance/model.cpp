#include "model.hpp"

#include <algorithm>
#include <cmath>

namespace edgelora {

namespace {

Request make_request(const Json& item) {
    Request request;
    const Json& sampling = item.at("sampling");
    request.sampling.temperature = sampling.value("temperature", 0.0);
    request.sampling.top_k = sampling.value("top_k", std::int64_t{0});
    request.sampling.top_p = sampling.value("top_p", 1.0);
    request.sampling.min_p = sampling.value("min_p", 0.0);
    request.sampling.repetition_penalty = sampling.value("repetition_penalty", 1.0);
    if (sampling.contains("seed")) {
        request.sampling.seed = sampling.at("seed").get<std::uint64_t>();
    }
    request.max_new_tokens = item.at("max_new_tokens").get<std::int64_t>();
    return request;
}

std::string compare_ids(const Ids& found, const Json& expected) {
    if (found == expected.get<Ids>()) {
        return "";
    }
    return "gives " + Json(found).dump() + ", expected " + expected.dump();
}

}  // namespace

TokenModel& Models::find(const std::string& artifact) {
    std::unique_ptr<TokenModel>& model = loaded_[artifact];
    if (model == nullptr) {
        LoadOptions options;
        options.hashes = true;
        model = TokenModel::load(folder_ / artifact, options);
    }
    return *model;
}

std::string check_logits(const Json& item, Models& models) {
    TokenModel& model = models.find(item.at("artifact"));
    const Logits logits = model.logits(item.at("input_ids").get<Ids>(), {item.at("adapter").get<std::string>()},
                                       item.at("positions").get<std::vector<std::size_t>>());
    const Json& columns = item.at("columns");
    const double tolerance = item.at("tolerance");
    for (std::size_t row = 0; row < item.at("positions").size(); ++row) {
        for (std::size_t column = 0; column < columns.size(); ++column) {
            const double found = logits.row(row)[columns[column].get<std::size_t>()];
            const double expected = item.at("expected")[row][column];
            if (!(std::abs(found - expected) <= tolerance)) {
                return "logit " + columns[column].dump() + " of position " + item.at("positions")[row].dump() + " is " +
                       std::to_string(found) + ", expected " + std::to_string(expected);
            }
        }
        const float* first = logits.row(row);
        const auto largest = std::max_element(first, first + logits.vocab_size()) - first;
        if (largest != item.at("expected_argmax")[row].get<std::ptrdiff_t>()) {
            return "the largest logit is " + std::to_string(largest) + ", expected " +
                   item.at("expected_argmax")[row].dump();
        }
    }
    return "";
}

std::string check_tokens(const Json& item, Models& models) {
    TokenModel& model = models.find(item.at("artifact"));
    const auto answers = model.generate_ids({item.at("input_ids").get<Ids>()},
                                            {item.at("adapter").get<std::string>()}, make_request(item));
    return compare_ids(answers.front().ids, item.at("expected_ids"));
}

std::string check_batch(const Json& item, Models& models) {
    TokenModel& model = models.find(item.at("artifact"));
    const auto answers = model.generate_ids(item.at("input_ids").get<std::vector<Ids>>(),
                                            item.at("adapters").get<Specs>(), make_request(item));
    for (std::size_t row = 0; row < answers.size(); ++row) {
        const std::string wrong = compare_ids(answers[row].ids, item.at("expected_ids")[row]);
        if (!wrong.empty()) {
            return "row " + std::to_string(row) + " " + wrong;
        }
    }
    return answers.size() == item.at("expected_ids").size() ? "" : "the number of rows is another";
}

std::string check_error(const Json& item, Models& models) {
    TokenModel& model = models.find(item.at("artifact"));
    try {
        model.generate_ids({item.at("input_ids").get<Ids>()}, {item.at("adapter").get<std::string>()}, {});
    } catch (const Error& error) {
        const std::string message = error.what();
        return message.find(item.at("message_has").get<std::string>()) != std::string::npos ? "" : "says " + message;
    }
    return "is not refused";
}

}  // namespace edgelora
