// Kinds of encoders.json: outputs, classify, each, tag, embed, refused, adapter.
//
// EDGELORA_ONNXRUNTIME names the library.
#include <cmath>
#include <memory>

#include "conformance/kinds.hpp"
#include "encoder_model.hpp"

namespace edgelora::conformance {

namespace {

using Kind = void (*)(EncoderModel&, const std::filesystem::path&, const Json&);

EncoderOptions options_of(const Json& test) {
    EncoderOptions options;
    options.adapters = test.at("adapters").get<std::vector<std::string>>();
    return options;
}

std::vector<std::string> texts_of(const Json& test) { return test.at("texts").get<std::vector<std::string>>(); }

// The numbers of nested lists, in order.
void flatten(const Json& value, std::vector<float>& numbers) {
    if (value.is_number()) {
        numbers.push_back(value.get<float>());
        return;
    }
    for (const Json& item : value) flatten(item, numbers);
}

void expect_near(double found, const Json& expected, double tolerance, const std::string& what) {
    if (std::abs(found - expected.get<double>()) <= tolerance) return;
    throw Failure(what + " is " + std::to_string(found) + ", expected " + expected.dump());
}

void expect_numbers(const std::vector<float>& found, const Json& expected, double tolerance, const std::string& what) {
    std::vector<float> numbers;
    flatten(expected, numbers);
    expect_same(found.size(), numbers.size(), "how many numbers " + what + " has");
    for (std::size_t index = 0; index < found.size(); ++index) {
        expect_near(found[index], numbers[index], tolerance, what);
    }
}

void expect_answer(const Classification& found, const Json& expected, double tolerance) {
    expect_same(found.label, expected.at("label"), "the label");
    expect_same(found.labels, expected.at("labels"), "the labels");
    expect_same(found.truncated, expected.at("truncated"), "truncated");
    std::size_t index = 0;
    expect_same(found.known.size(), expected.at("scores").size(), "the number of scores");
    for (const auto& item : expected.at("scores").items()) {
        expect_same(found.known[index], item.key(), "a label");
        expect_near(found.scores[index++], item.value(), tolerance, "the score of " + item.key());
    }
}

void check_outputs(EncoderModel& model, const std::filesystem::path&, const Json& test) {
    std::vector<float> numbers;
    if (test.contains("pixel_values")) flatten(test.at("pixel_values"), numbers);
    const auto found = test.contains("pixel_values")
                           ? model.outputs(Pixels{numbers.data(), numbers.size()}, options_of(test))
                           : model.outputs(test.at("input_ids").get<std::vector<Ids>>(), options_of(test));
    expect_same(found.size(), test.at("expected").size(), "the number of rows");
    for (std::size_t row = 0; row < found.size(); ++row) {
        expect_numbers(found[row], test.at("expected")[row], test.at("tolerance"), "row " + std::to_string(row));
    }
}

void check_classify(EncoderModel& model, const std::filesystem::path&, const Json& test) {
    std::vector<float> numbers;
    const bool has_images = test.contains("pixel_values");
    if (has_images) flatten(test.at("pixel_values"), numbers);
    const EncoderOptions options = options_of(test);
    const auto found = has_images ? model.classify(Pixels{numbers.data(), numbers.size()}, options)
                                  : model.classify(texts_of(test), options);
    const std::size_t n_rows = test.at("expected").size();
    expect_same(found.size(), n_rows, "the number of answers");
    for (std::size_t row = 0; row < n_rows; ++row) {
        const Json& expected = test.at("expected")[row];
        expect_answer(found[row], expected, test.at("tolerance"));
        EncoderOptions alone;  // as in company
        alone.adapter = (*options.adapters)[row];
        const std::size_t size = numbers.size() / n_rows;
        const auto one = has_images ? model.classify(Pixels{numbers.data() + row * size, size}, alone)
                                    : model.classify({texts_of(test)[row]}, alone);
        expect_answer(one.front(), expected, test.at("tolerance"));
    }
}

void check_each(EncoderModel& model, const std::filesystem::path&, const Json& test) {
    const auto found = model.classify_each(test.at("text").get<std::string>(), options_of(test));
    expect_same(found.size(), test.at("adapters").size(), "the number of answers");
    for (std::size_t index = 0; index < found.size(); ++index) {
        expect_same(found[index].first, test.at("adapters")[index], "a SPEC");
        expect_answer(found[index].second, test.at("expected").at(found[index].first), test.at("tolerance"));
    }
}

void expect_spans(const Tagging& found, const Json& test) {
    const Json& expected = test.at("expected");
    expect_same(found.windows, expected.at("windows"), "the number of windows");
    Json told = Json::array(), wanted = Json::array();
    for (const TagSpan& span : found.spans) told.push_back({span.start, span.end, span.label, span.text});
    for (const Json& span : expected.at("spans")) {
        wanted.push_back({span.at("start"), span.at("end"), span.at("label"), span.at("text")});
    }
    expect_same(told, wanted, "the spans");
    for (std::size_t index = 0; index < found.spans.size(); ++index) {
        expect_near(found.spans[index].score, expected.at("spans")[index].at("score"), test.at("tolerance"), "a score");
    }
}

void check_tag(EncoderModel& model, const std::filesystem::path&, const Json& test) {
    EncoderOptions options;
    options.adapter = test.at("adapter").get<std::string>();
    const auto text = test.at("text").get<std::string>();
    expect_spans(model.tag({text}, options).front(), test);
    expect_spans(model.tag({"my mail", text, ""}, options)[1], test);
}

void check_embed(EncoderModel& model, const std::filesystem::path&, const Json& test) {
    const Embeddings found = model.embed(texts_of(test), options_of(test));
    expect_numbers(found.numbers, test.at("expected"), test.at("tolerance"), "what was embedded");
    expect_same(found.truncated, test.at("truncated"), "which texts were cut");
}

void check_refused(EncoderModel& model, const std::filesystem::path&, const Json& test) {
    const auto method = test.at("method").get<std::string>();
    const auto call = [&] {
        if (method == "tag") {
            model.tag(texts_of(test), options_of(test));
        } else if (method == "embed") {
            model.embed(texts_of(test), options_of(test));
        } else {
            model.classify(texts_of(test), options_of(test));
        }
    };
    expect_refused(call, test.at("message_has"));
}

void check_adapter(EncoderModel& model, const std::filesystem::path& folder, const Json& test) {
    const auto call = [&] {
        const Json& labels = test.at("labels");
        const auto given = labels.is_null() ? std::nullopt : std::optional(labels.get<Labels>());
        model.load_adapter("given", folder / test.at("folder").get<std::string>(), test.at("trust"), given);
        if (test.at("probe")) model.probe("given");
    };
    const auto forget = [&] {
        for (const std::string& name : model.adapters()) {
            if (name == "given") model.unload_adapter(name);
        }
    };
    if (test.value("accepted", false)) {
        call();
        return forget();
    }
    const Error error = expect_refused(call, test.at("message_has"));
    forget();
    if (error.code != Code::adapter) throw Failure("the error has another code: " + std::string(error.what()));
}

}  // namespace

Kinds encoder_kinds(const Suite& suite) {
    auto models = std::make_shared<std::map<std::string, std::unique_ptr<LoadedModel>>>();
    const auto on_model = [models, folder = suite.folder](Kind check) {
        return [models, folder, check](const Json& test) {
            const auto artifact = test.at("artifact").get<std::string>();
            auto& model = (*models)[artifact];
            if (model == nullptr) {
                LoadOptions options;
                options.hashes = options.probe = true;
                model = load_model(folder / artifact, options);
            }
            check(dynamic_cast<EncoderModel&>(*model), folder, test);
        };
    };
    return {{"outputs", on_model(check_outputs)}, {"classify", on_model(check_classify)},
            {"each", on_model(check_each)},       {"tag", on_model(check_tag)},
            {"embed", on_model(check_embed)},     {"refused", on_model(check_refused)},
            {"adapter", on_model(check_adapter)}};
}

}  // namespace edgelora::conformance
