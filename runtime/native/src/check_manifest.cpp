#include "check_manifest.hpp"

#include <algorithm>
#include <cstdint>
#include <map>
#include <utility>

#include "names.hpp"
#include "parse_json.hpp"

namespace edgelora {
namespace {

// Beyond all models that there are, and small enough that nothing which is made of them ends a device.
constexpr std::int64_t kMostTokens = 1 << 24;  // of a vocabulary
constexpr std::int64_t kMostLayers = 4096;
constexpr std::int64_t kMostHeads = 65536;
constexpr std::int64_t kLargestHead = 65536;
constexpr std::int64_t kLongestContext = (std::int64_t{1} << 31) - 1;
constexpr std::int64_t kMostFeatures = 1 << 24;
constexpr std::int64_t kLargestRank = 65536;
constexpr std::int64_t kLargestFile = (std::int64_t{1} << 53) - 1;  // the whole numbers that every language reads alike
constexpr std::int64_t kSmallestPiece = std::int64_t{1} << 16;       // bytes: worth a hash of their own
constexpr std::int64_t kLargestPiece = std::int64_t{1} << 26;        // and little enough to hold in memory

constexpr std::int64_t kMostPixels = 65536;  // of a side of an image
constexpr const char* kDriven[] = {"input_ids", "seqlens_k", "total_sequence_length", "logits_positions"};

class Checker {
  public:
    explicit Checker(const Manifest& manifest) : manifest_(manifest) {}

    std::vector<std::string> check() {
        if (!is_one_of(manifest_.task, kTasks)) {
            add("task is " + show(manifest_.task) + ", expected one of " + told(kTasks));
            return std::move(wrong_);
        }
        model();
        files();
        slots();
        adapters();
        encoder();
        variables();
        control("producer", manifest_.producer);
        control("target", manifest_.target);
        control("model: name", manifest_.model.name);
        control("model: architecture", manifest_.model.architecture);
        return std::move(wrong_);
    }

    std::vector<std::string> check_adapter(std::size_t index, const AdapterInfo& info) {
        adapter(index, info);
        return std::move(wrong_);
    }

    std::vector<std::string> check_file(const std::string& name, const FileInfo& info) {
        file(name, info);
        return std::move(wrong_);
    }

  private:
    void model() {
        const ModelInfo& model = manifest_.model;
        count("model: context_length", model.context_length, kLongestContext);
        const bool has_cache = manifest_.task == kTextGeneration;
        size("vocab_size", model.vocab_size, kMostTokens, manifest_.task != kImageClassification);
        size("num_layers", model.num_layers, kMostLayers, has_cache);
        size("num_kv_heads", model.num_kv_heads, kMostHeads, has_cache);
        size("head_dim", model.head_dim, kLargestHead, has_cache);
        for (std::size_t index = 0; index < model.eos_token_ids.size(); index++) {
            const std::int64_t token = model.eos_token_ids[index];
            if (token >= 0 && token < model.vocab_size) continue;
            add("model: eos_token_ids[" + std::to_string(index) + "] is " + std::to_string(token) +
                ", expected an id below the " + std::to_string(model.vocab_size) + " of the vocabulary");
        }
        const std::string& cache = manifest_.graph.kv_cache;
        if (cache != kFloatCache && cache != kInt8Cache) {
            add("graph: kv_cache is " + show(cache) + ", expected 'float32' or 'int8'");
        }
        hash("base: fingerprint", manifest_.base.fingerprint);
        hash("base: grid", manifest_.base.grid);
    }

    void files() {
        for (const auto& [name, info] : manifest_.files.known()) file(name, info);
        const GraphInfo& graph = manifest_.graph;
        listed("graph: file", graph.file);
        listed("graph: weights", graph.weights);
        if (graph.without_slots) listed("graph: without_slots", *graph.without_slots);
        if (graph.fused) listed("graph: fused", *graph.fused);
        if (const auto& tokenizer = manifest_.tokenizer) {
            listed("tokenizer: file", tokenizer->file);
            if (tokenizer->chat_template) listed("tokenizer: chat_template", *tokenizer->chat_template);
        }
        if (manifest_.reference) listed("reference", *manifest_.reference);
        const auto& encoder = manifest_.encoder;
        if (encoder && encoder->head_file) listed("encoder: head_file", *encoder->head_file);
    }

    void file(const std::string& name, const FileInfo& info) {
        const std::string where = "files: " + show(name);
        if (const std::string why = find_unsafe(name); !why.empty()) {
            add(where + " " + why);
        } else if (name == kManifestFile) {
            add("files: 'manifest.json' is listed in itself");
        }
        if (info.bytes < 0 || info.bytes > kLargestFile) {
            add(where + ": bytes is " + std::to_string(info.bytes) + ", expected 0 to " + std::to_string(kLargestFile));
        }
        hash(where + ": sha256", info.sha256);
        if (info.pieces) pieces(where + ": pieces", info.bytes, *info.pieces);
    }

    void pieces(const std::string& field, std::int64_t bytes, const Pieces& pieces) {
        const auto found = static_cast<std::int64_t>(pieces.sha256.size());
        if (pieces.size < kSmallestPiece || pieces.size > kLargestPiece) {
            add(field + ": size is " + std::to_string(pieces.size) + ", expected " + std::to_string(kSmallestPiece) +
                " to " + std::to_string(kLargestPiece));
        } else if (bytes >= 0 && bytes <= kLargestFile && found != (bytes + pieces.size - 1) / pieces.size) {
            add(field + ": " + std::to_string(found) + " hashes, expected " +
                std::to_string((bytes + pieces.size - 1) / pieces.size) + " for " + std::to_string(bytes) + " bytes");
        }
        for (std::size_t index = 0; index < pieces.sha256.size(); index++) {
            hash(field + ": sha256[" + std::to_string(index) + "]", pieces.sha256[index]);
        }
    }

    void slots() {
        std::vector<std::string> names, inputs(std::begin(kDriven), std::end(kDriven)), modules;
        if (const auto& encoder = manifest_.encoder) {
            inputs = encoder->inputs;
            for (const HeadTensor& item : encoder->head) inputs.push_back(item.input);
        }
        for (std::size_t index = 0; index < manifest_.slots.size(); index++) {
            const Slot& slot = manifest_.slots[index];
            const std::string where = "slots[" + std::to_string(index) + "]";
            count(where + ": in_features", slot.in_features, kMostFeatures);
            count(where + ": out_features", slot.out_features, kMostFeatures);
            named(where + ": name", slot.name);
            named(where + ": a", slot.a);
            named(where + ": b", slot.b);
            if (slot.gain) named(where + ": gain", *slot.gain);
            parts(where, slot);
            names.push_back(slot.name);
            inputs.push_back(slot.a);
            inputs.push_back(slot.b);
            if (slot.gain) inputs.push_back(*slot.gain);
            for (const SlotPart& part : slot.parts) modules.push_back(part.module);
        }
        twice("slots: name", names);
        twice("slots: input", inputs);
        twice("slots: module", modules);
    }

    void parts(const std::string& where, const Slot& slot) {
        std::int64_t end = 0;
        for (std::size_t index = 0; index < slot.parts.size(); index++) {
            const SlotPart& part = slot.parts[index];
            const std::string place = where + ": parts[" + std::to_string(index) + "]";
            if (part.module.empty() || has_control(part.module)) {
                add(place + ": module is " + show(part.module) + ", expected the name of a module");
            }
            if (!count(place + ": out_features", part.out_features, kMostFeatures)) return;  // no sum of such numbers
            if (part.offset != end) {
                add(place + ": offset is " + std::to_string(part.offset) + ", expected " + std::to_string(end));
                return;
            }
            end += part.out_features;
        }
        if (end != slot.out_features) {
            add(where + ": parts end at " + std::to_string(end) + ", expected out_features " +
                std::to_string(slot.out_features));
        }
    }

    void adapters() {
        for (std::size_t index = 0; index < manifest_.adapters.size(); index++) adapter(index, manifest_.adapters.at(index));
        twice("adapters: name", manifest_.adapters.names());
    }

    void adapter(std::size_t index, const AdapterInfo& info) {
        const std::string where = "adapters[" + std::to_string(index) + "]";
        if (!is_adapter_name(info.name)) add(where + ": name " + show(info.name) + " is no adapter name");
        if (info.path != "adapters/" + info.name) {
            add(where + ": path is " + show(info.path) + ", expected 'adapters/' and the name");
        } else {
            for (const char* file : {"/adapter_config.json", "/adapter_model.safetensors"}) {
                listed(where + ": path", info.path + file);
            }
        }
        const bool has_factors = info.rank != 0 || !info.head;  // a head alone has none
        if (has_factors) count(where + ": rank", info.rank, kLargestRank);
        if (info.store != "float32" && info.store != "float16" && info.store != "int8") {
            add(where + ": store is " + show(info.store) + ", expected 'float32' or 'float16' or 'int8'");
        }
        if (info.shared) {
            hash(where + ": shared", *info.shared);
            listed(where + ": shared", "adapters/" + shared_file(*info.shared));
        }
        head(where + ": head", info.head);
    }

    void encoder() {
        const auto& encoder = manifest_.encoder;
        const std::string& task = manifest_.task;
        const std::string goes = ", which does not go with the task " + task;
        if (encoder.has_value() == (task == kTextGeneration)) {
            add(std::string("encoder is ") + (encoder ? "an object" : "null") + goes);
        }
        if (!encoder) return;
        const bool has_images = task == kImageClassification, embeds = task == kFeatureExtraction;
        std::vector<std::string> inputs = {"input_ids", "attention_mask"};
        if (has_images) inputs = {"pixel_values"};
        if (encoder->inputs != inputs) {
            add("encoder: inputs are " + show(Json(encoder->inputs)) + ", expected " + join_some(inputs, ", "));
        }
        const std::string output = embeds ? "embeddings" : "logits";
        if (encoder->output != output) add("encoder: output is " + show(encoder->output) + ", expected " + output);
        count("encoder: hidden_size", encoder->hidden_size, kMostFeatures);
        const std::vector<std::int64_t>& image = encoder->image_size;
        const bool is_size = std::all_of(image.begin(), image.end(),
                                         [](std::int64_t side) { return side >= 1 && side <= kMostPixels; });
        if (image.size() != (has_images ? 3 : 0) || !is_size) {
            add("encoder: image_size is " + show(Json(image)) + ", expected " + (has_images ? "three" : "no") +
                " counts");
        }
        if (encoder->head.empty() != embeds) {
            add("encoder: head has " + std::to_string(encoder->head.size()) + " tensors" + goes);
        }
        std::vector<std::string> tensors;
        for (std::size_t index = 0; index < encoder->head.size(); index++) {
            const HeadTensor& item = encoder->head[index];
            const std::string where = "encoder: head[" + std::to_string(index) + "]";
            named(where + ": tensor", item.tensor);
            named(where + ": input", item.input);
            const bool are_sizes = std::all_of(item.sizes.begin(), item.sizes.end(),
                                               [](std::int64_t size) { return size >= 0 && size <= kMostFeatures; });
            if (item.sizes.empty() || item.sizes.size() > 2 || !are_sizes) {
                add(where + ": sizes are " + show(Json(item.sizes)) + ", expected one or two counts, 0 for the labels");
            }
            tensors.push_back(item.tensor);
        }
        twice("encoder: tensor", tensors);
        if (encoder->base_head && !encoder->head_file) {
            add("encoder: base_head is there, but head_file with its tensors is not");
        }
        head("encoder: base_head", encoder->base_head);
    }

    // Labels of a head; a model that has no head has none.
    void head(const std::string& where, const std::optional<HeadInfo>& head) {
        if (!head) return;
        if (!manifest_.encoder || manifest_.encoder->head.empty()) {
            add(where + " has labels, but the model has no head");
        }
        if (head->labels.empty() || head->labels.size() > kMostLabels) {
            add(where + ": " + std::to_string(head->labels.size()) + " labels, expected 1 to " +
                std::to_string(kMostLabels));
        }
        for (std::size_t index = 0; index < head->labels.size(); index++) {
            named(where + ": labels[" + std::to_string(index) + "]", head->labels[index]);
        }
        twice(where + ": label", head->labels);
        if (!is_one_of(head->problem_type, kProblemTypes)) {
            add(where + ": problem_type is " + show(head->problem_type) + ", expected one of " + told(kProblemTypes));
        }
        if (!is_temperature(head->temperature)) {
            add(where + ": temperature is " + show(Json(head->temperature)) + ", expected 0.000001 to 1000000");
        }
    }

    void variables() {
        if (!manifest_.tokenizer) return;
        for (const auto& item : manifest_.tokenizer->template_variables.items()) {
            if (is_variable(item.key())) continue;
            add("tokenizer: template_variables: " + show(item.key()) + " is no name of a variable that can be set");
        }
    }

    void control(const char* field, const std::string& text) {
        if (has_control(text)) add(field + (": " + show(text)) + " holds a control character");
    }

    void named(const std::string& field, const std::string& text) {
        if (!text.empty() && !has_control(text)) return;
        add(field + " is " + show(text) + ", expected a name without control characters");
    }

    void listed(const std::string& field, const std::string& name) {
        if (const std::string why = find_unsafe(name); !why.empty()) {
            add(field + ": " + show(name) + " " + why);
        } else if (!manifest_.files.has(name)) {
            add(field + ": " + show(name) + " is not listed in files");
        }
    }

    void hash(const std::string& field, const std::string& text) {
        if (!is_hash(text)) add(field + " is " + show(text) + ", expected 64 lower-case hexadecimal digits");
    }

    // A size that models have or, for some tasks, must not have.
    void size(const std::string& field, std::int64_t value, std::int64_t largest, bool is_there) {
        if (is_there) {
            count("model: " + field, value, largest);
        } else if (value != 0) {
            add("model: " + field + " is " + std::to_string(value) + ", expected 0 for the task " + manifest_.task);
        }
    }

    bool count(const std::string& field, std::int64_t value, std::int64_t largest) {
        const bool is_right = value >= 1 && value <= largest;
        if (!is_right) {
            add(field + " is " + std::to_string(value) + ", expected 1 to " + std::to_string(largest));
        }
        return is_right;
    }

    void twice(const std::string& field, const std::vector<std::string>& names) {
        std::map<std::string, int> counts;
        for (const std::string& name : names) {
            if (++counts[name] == 2) add(field + " " + show(name) + " stands twice");
        }
    }

    void add(std::string line) { wrong_.push_back(std::move(line)); }

    const Manifest& manifest_;
    std::vector<std::string> wrong_;
};

}  // namespace

std::vector<std::string> find_wrong(const Manifest& manifest) { return Checker(manifest).check(); }

std::vector<std::string> find_wrong_adapter(std::size_t index, const AdapterInfo& info, const Manifest& manifest) {
    return Checker(manifest).check_adapter(index, info);
}

std::vector<std::string> find_wrong_file(const std::string& name, const FileInfo& info) {
    return Checker(Manifest()).check_file(name, info);
}

}  // namespace edgelora
