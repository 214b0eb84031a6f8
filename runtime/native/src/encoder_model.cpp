#include "encoder_model.hpp"

#include <algorithm>
#include <cmath>

#include "characters.hpp"
#include "errors.hpp"
#include "groups.hpp"
#include "replay_answers.hpp"
#include "request.hpp"
#include "windows.hpp"

namespace edgelora {

namespace {

// Of the rows of a call, padding included: more gain little, but take memory. A fused graph takes less of it.
constexpr std::size_t kMostTokens = 128, kMostTokensFused = 256;
constexpr std::size_t kMostImages = 16;

std::string method_of(std::string_view task) {
    return task == kTokenClassification ? "tag" : task == kFeatureExtraction ? "embed" : "classify";
}

}  // namespace

std::unique_ptr<EncoderModel> EncoderModel::load(const Artifact& artifact) {
    std::unique_ptr<EncoderModel> model(new EncoderModel(artifact));
    for (const std::string& name : artifact.options.probe ? model->adapters() : std::vector<std::string>()) {
        model->probe(name);
    }
    return model;
}

EncoderModel::EncoderModel(const Artifact& artifact)
    : LoadedModel(artifact, "outputs"),
      session_(artifact),
      adapters_(folder_, manifest_, ort_, session_.packer(), artifact.options.adapter_bytes, session_.base_head()) {}

std::string EncoderModel::adapter() const {
    const std::lock_guard<std::mutex> lock(setting_);
    return spec_;
}

void EncoderModel::set_adapter(const std::string& spec) {
    const auto turn = callers_.enter();
    adapters_.find(spec);
    const std::lock_guard<std::mutex> lock(setting_);
    spec_ = spec;
}

void EncoderModel::load_adapter(const std::string& name, const std::filesystem::path& folder, bool trust,
                                const std::optional<Labels>& labels) {
    const auto turn = callers_.enter();
    adapters_.load(name, folder, trust, labels);
}

void EncoderModel::unload_adapter(const std::string& name) {
    const auto turn = callers_.enter();
    const std::string set = adapter();
    for (const SpecTerm& term : parse_spec(set)) {
        if (term.name == name) {
            throw Error(Code::adapter, "adapter " + show(name) + " is in use (" + show(set) +
                                           " is set); set another one first");
        }
    }
    adapters_.unload(name);
}

Json EncoderModel::probe(const std::string& name) {
    const auto turn = callers_.enter();
    adapters_.find(name);
    const auto answer = [this](const std::vector<Ids>& rows, const std::string& spec) {
        EncoderOptions options;
        options.adapter = spec;
        std::vector<double> joined;
        for (const auto& row : outputs(rows, options)) {
            joined.insert(joined.end(), row.begin(), row.end());
        }
        return joined;
    };
    const auto result = check_answers(answer, manifest(), name, adapters_.folder(name));
    if (!result) {
        return nullptr;
    }
    return Json{{"effect_found", result->effect_found},
                {"effect_expected", result->effect_expected},
                {"seconds", result->seconds},
                {"reason", result->reason}};
}

std::optional<HeadInfo> EncoderModel::labels(const std::optional<std::string>& spec) {
    const auto turn = callers_.enter();
    return adapters_.head(spec ? *spec : adapter());
}

std::vector<Classification> EncoderModel::classify(const std::vector<std::string>& texts,
                                                   const EncoderOptions& options) {
    check_task("classify", kTextClassification, kImageClassification);
    return classify_rows(rows_of(texts), options);
}

std::vector<Classification> EncoderModel::classify(const Pixels& pixels, const EncoderOptions& options) {
    check_task("classify", kTextClassification, kImageClassification);
    return classify_rows(rows_of(pixels), options);
}

std::vector<std::pair<std::string, Classification>> EncoderModel::classify_each(const std::string& text,
                                                                                const EncoderOptions& options) {
    check_task("classify_each", kTextClassification, kImageClassification);
    return classify_row(rows_of({text}), options);
}

std::vector<std::pair<std::string, Classification>> EncoderModel::classify_each(const Pixels& pixels,
                                                                                const EncoderOptions& options) {
    check_task("classify_each", kTextClassification, kImageClassification);
    return classify_row(rows_of(pixels), options);
}

std::vector<Classification> EncoderModel::classify_rows(const Rows& rows, const EncoderOptions& options) {
    const std::vector<std::string> specs = specs_of(options, rows.count, "text");
    const auto turn = callers_.enter(options.cancel);
    const std::vector<HeadInfo> heads = heads_of(specs);
    const Outputs outputs = compute(rows, specs, heads, options.cancel);
    std::vector<Classification> answers;
    for (std::size_t row = 0; row < rows.count; ++row) {
        answers.push_back(classify_logits(outputs[row].data(), heads[row], rows.truncated[row]));
    }
    return answers;
}

std::vector<std::pair<std::string, Classification>> EncoderModel::classify_row(const Rows& row,
                                                                               const EncoderOptions& options) {
    if (options.adapter) {
        throw Error(Code::invalid_input, "classify_each asks several adapters; give adapters instead of adapter");
    }
    if (row.count != 1) {
        throw Error(Code::invalid_input, "classify_each got " + std::to_string(row.count) + " inputs, expected one");
    }
    std::vector<std::string> specs;
    for (const std::string& spec : options.adapters ? *options.adapters : adapters()) {
        if (std::find(specs.begin(), specs.end(), spec) == specs.end()) {
            specs.push_back(spec);
        }
    }
    if (specs.empty()) {
        throw Error(Code::invalid_input, "there are no adapters to classify with; load some, or give SPECs");
    }
    Rows rows{row.ids.empty() ? row.ids : std::vector<Ids>(specs.size(), row.ids.front()), row.pixels, specs.size(),
              row.truncated};
    const auto turn = callers_.enter(options.cancel);
    const std::vector<HeadInfo> heads = heads_of(specs);
    const Outputs outputs = compute(rows, specs, heads, options.cancel);
    std::vector<std::pair<std::string, Classification>> answers;
    for (std::size_t index = 0; index < specs.size(); ++index) {
        answers.emplace_back(specs[index],
                             classify_logits(outputs[index].data(), heads[index], row.truncated.front()));
    }
    return answers;
}

std::vector<Tagging> EncoderModel::tag(const std::vector<std::string>& texts, const EncoderOptions& options) {
    check_task("tag", kTokenClassification);
    const std::vector<EncodedText> encoded = encode(texts, true);
    const std::vector<std::string> specs = specs_of(options, texts.size(), "text");
    std::vector<std::vector<Window>> plans;
    Rows rows;
    std::vector<std::string> row_specs;
    for (std::size_t index = 0; index < encoded.size(); ++index) {
        const EncodedText& item = encoded[index];
        plans.push_back(item.ids.empty() ? std::vector<Window>() : plan_windows(item.ids.size(), room_of(item)));
        for (const Window& window : plans.back()) {
            rows.ids.push_back(item.cut(window.start, window.end));
            row_specs.push_back(specs[index]);
        }
    }
    rows.count = rows.ids.size();
    const auto turn = callers_.enter(options.cancel);
    const std::vector<HeadInfo> heads = heads_of(specs);
    const Outputs outputs = compute(rows, row_specs, heads_of(row_specs), options.cancel);
    std::vector<Tagging> answers;
    auto output = outputs.begin();
    for (std::size_t index = 0; index < encoded.size(); ++index) {
        const HeadInfo& head = heads[index];
        const std::size_t width = head.labels.size();
        std::vector<const float*> logits;  // of each token of the text
        for (const Window& window : plans[index]) {
            const float* own = output->data() + encoded[index].before.size() * width;
            for (std::size_t token = window.first; token < window.last; ++token) {
                logits.push_back(own + (token - window.start) * width);
            }
            ++output;
        }
        const std::u32string text = decode_utf8(texts[index]);
        const std::vector<Word> words = find_words(text, encoded[index].offsets);
        std::vector<std::string> labels;
        std::vector<double> scores;
        for (const Word& word : words) {
            const std::size_t best = best_of(logits[word.token], width);
            labels.push_back(head.labels[best]);
            scores.push_back(score_labels(logits[word.token], head)[best]);
        }
        answers.push_back({find_spans(text, words, labels, scores), plans[index].size()});
    }
    return answers;
}

Embeddings EncoderModel::embed(const std::vector<std::string>& texts, const EncoderOptions& options) {
    check_task("embed", kFeatureExtraction);
    const Rows rows = rows_of(texts);
    Embeddings found;
    found.truncated = rows.truncated;
    for (const auto& vector : output_rows(rows, options, "text")) {
        found.numbers.insert(found.numbers.end(), vector.begin(), vector.end());
    }
    return found;
}

std::vector<std::vector<float>> EncoderModel::outputs(const std::vector<Ids>& rows, const EncoderOptions& options) {
    if (!manifest().encoder->image_size.empty()) {
        throw Error(Code::invalid_input, manifest().model.name + " reads images; give pixels");
    }
    for (const Ids& row : rows) {
        check_ids(row, manifest().model);
    }
    return output_rows({rows, {}, rows.size(), {}}, options, "row");
}

std::vector<std::vector<float>> EncoderModel::outputs(const Pixels& pixels, const EncoderOptions& options) {
    return output_rows(rows_of(pixels), options, "row");
}

EncoderModel::Outputs EncoderModel::output_rows(const Rows& rows, const EncoderOptions& options, const char* what) {
    const std::vector<std::string> specs = specs_of(options, rows.count, what);
    const auto turn = callers_.enter(options.cancel);
    return compute(rows, specs, heads_of(specs), options.cancel);
}

EncoderModel::Outputs EncoderModel::compute(const Rows& rows, const std::vector<std::string>& specs,
                                            const std::vector<HeadInfo>& heads, const Cancel* cancel) {
    Outputs found(rows.count);
    if (rows.count == 0) {
        return found;
    }
    const bool has_images = rows.ids.empty();
    std::vector<std::size_t> lengths(rows.count, 1);
    for (std::size_t row = 0; row < rows.count; ++row) {
        lengths[row] = has_images ? 1 : rows.ids[row].size();
    }
    const std::size_t most = has_images ? kMostImages : has_operators_ ? kMostTokensFused : kMostTokens;
    for (const auto& call : plan_calls(lengths, specs, most, manifest().encoder->one_adapter)) {
        check_cancel(cancel);
        std::vector<std::string> of_call;
        for (const std::size_t index : call) {
            of_call.push_back(specs[index]);
        }
        const EncoderOutput output = session_.run(inputs_of(rows, call), adapters_.find_rows(of_call));
        for (std::size_t place = 0; place < call.size(); ++place) {
            const std::size_t index = call[place];
            const std::size_t width = heads.empty() ? output.width : heads[index].labels.size();
            const std::size_t lines = output.lines == 1 ? 1 : lengths[index];
            const float* from = output.row(place);
            for (std::size_t line = 0; line < lines; ++line, from += output.width) {
                found[index].insert(found[index].end(), from, from + width);
            }
        }
    }
    return found;
}

EncoderInputs EncoderModel::inputs_of(const Rows& rows, const std::vector<std::size_t>& call) const {
    EncoderInputs inputs;
    inputs.rows = call.size();
    if (rows.ids.empty()) {
        const std::size_t size = rows.pixels.count / std::max<std::size_t>(1, rows.truncated.size());
        for (const std::size_t index : call) {  // one image may have several rows
            const float* from = rows.pixels.numbers + (rows.truncated.size() == 1 ? 0 : index) * size;
            inputs.pixels.insert(inputs.pixels.end(), from, from + size);
        }
        return inputs;
    }
    std::size_t longest = 0;
    for (const std::size_t index : call) {
        longest = std::max(longest, rows.ids[index].size());
    }
    for (const std::size_t index : call) {
        inputs.ids.insert(inputs.ids.end(), rows.ids[index].begin(), rows.ids[index].end());
        inputs.mask.resize(inputs.ids.size(), 1);
        inputs.ids.resize((inputs.ids.size() + longest - 1) / longest * longest, 0);
        inputs.mask.resize(inputs.ids.size(), 0);
    }
    return inputs;
}

// The head of each SPEC, none where the model has no head; throws Error{adapter} where one cannot answer.
std::vector<HeadInfo> EncoderModel::heads_of(const std::vector<std::string>& specs) {
    std::map<std::string, std::optional<HeadInfo>> known;
    std::vector<HeadInfo> heads;
    for (const std::string& spec : specs) {
        auto found = known.find(spec);
        if (found == known.end()) {
            found = known.emplace(spec, adapters_.head(spec)).first;
        }
        if (found->second) {
            heads.push_back(*found->second);
        }
    }
    return heads;
}

std::vector<std::string> EncoderModel::specs_of(const EncoderOptions& options, std::size_t n_rows,
                                                const char* what) const {
    if (options.adapter && options.adapters) {
        throw Error(Code::invalid_input, "adapter and adapters exclude each other; give one of them");
    }
    if (n_rows == 0) {
        throw Error(Code::invalid_input, std::string("the batch is empty; give at least one ") + what);
    }
    if (!options.adapters) {
        return std::vector<std::string>(n_rows, options.adapter ? *options.adapter : adapter());
    }
    if (options.adapters->size() != n_rows) {
        throw Error(Code::invalid_input, std::to_string(options.adapters->size()) + " adapters for " +
                                             std::to_string(n_rows) + " " + what +
                                             "s; give one SPEC, or one for each " + what);
    }
    return *options.adapters;
}

EncoderModel::Rows EncoderModel::rows_of(const std::vector<std::string>& texts) const {
    Rows rows;
    rows.count = texts.size();
    for (const EncodedText& item : encode(texts, false)) {
        const std::size_t room = room_of(item);
        rows.ids.push_back(item.cut(0, room));
        rows.truncated.push_back(item.ids.size() > room);
        if (rows.ids.back().empty()) {
            throw Error(Code::invalid_input, "text " + std::to_string(rows.ids.size()) +
                                                 " has no tokens, and this model reads at least one; leave it out");
        }
    }
    return rows;
}

EncoderModel::Rows EncoderModel::rows_of(const Pixels& pixels) const {
    const std::vector<std::int64_t>& size = manifest().encoder->image_size;
    if (size.empty()) {
        throw Error(Code::invalid_input, manifest().model.name + " reads texts, and no pixels; give texts");
    }
    std::size_t of_image = 1;
    for (const std::int64_t side : size) {
        of_image = checked_product(of_image, static_cast<std::size_t>(side));
    }
    if (pixels.count == 0 || pixels.count % of_image != 0) {
        throw Error(Code::invalid_input, "pixels are " + std::to_string(pixels.count) + " numbers, expected " +
                                             show(Json(size)) +
                                             ", or several of them; prepare images as the model's processor does");
    }
    if (!are_finite(pixels.numbers, pixels.count)) {
        throw Error(Code::invalid_input, "pixels are not finite; prepare images as the model's processor does");
    }
    const std::size_t count = pixels.count / of_image;
    return {{}, pixels, count, std::vector<bool>(count, false)};
}

std::vector<EncodedText> EncoderModel::encode(const std::vector<std::string>& texts, bool with_offsets) const {
    if (!manifest().encoder->image_size.empty()) {
        throw Error(Code::invalid_input, manifest().model.name + " reads images, and no text; give pixels");
    }
    const auto tokenizer = text();
    std::vector<EncodedText> encoded;
    for (const std::string& one : texts) {
        encoded.push_back(tokenizer->take_apart(one, with_offsets));
    }
    return encoded;
}

std::size_t EncoderModel::room_of(const EncodedText& text) const {
    const std::size_t around = text.before.size() + text.after.size();
    if (around >= limit()) {
        throw Error(Code::invalid_input, manifest().model.name + " reads " + std::to_string(limit()) +
                                             " tokens, fewer than its special ones");
    }
    return limit() - around;
}

void EncoderModel::check_task(const char* method, std::string_view task, std::string_view other) const {
    const std::string& ours = manifest().task;
    if (ours != task && ours != other) {
        throw Error(Code::invalid_input, std::string(method) + "() is not for " + ours + "; use " + method_of(ours) + "()");
    }
}

}  // namespace edgelora
