#include "encoder_session.hpp"

#include <string>
#include <utility>

#include "byte_products.hpp"
#include "errors.hpp"
#include "numbers.hpp"

namespace edgelora {

namespace {

constexpr auto kFloat = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
constexpr auto kInt64 = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;

std::unique_ptr<Packer> make_packer(const Manifest& manifest, const BaseHead& base, bool is_fused) {
    auto slots = is_fused ? make_fused_packer(manifest.slots) : make_slot_packer(manifest.slots);
    const EncoderInfo& encoder = *manifest.encoder;
    if (encoder.head.empty()) {
        return slots;
    }
    return make_head_packer(std::move(slots), encoder.head, base, encoder.base_head.has_value());
}

template <typename T>
Handle<OrtValue> value_of(const Ort& ort, const std::vector<T>& numbers, std::vector<std::int64_t> shape,
                          ONNXTensorElementDataType type) {
    // onnxruntime reads inputs only.
    return ort.value_over(const_cast<T*>(numbers.data()), numbers.size() * sizeof(T), shape, type);
}

}  // namespace

EncoderSession::EncoderSession(const Artifact& artifact)
    : ort_(artifact.ort),
      manifest_(artifact.manifest),
      base_(read_base_head(artifact.folder, *manifest_)),
      packer_(make_packer(*manifest_, base_, !artifact.options.operator_library.empty())),
      adapter_names_(packer_->names()),
      graph_(load(artifact)) {}

std::shared_ptr<Graph> EncoderSession::load(const Artifact& artifact) const {
    const EncoderInfo& encoder = *manifest_->encoder;
    const LoadOptions& used = artifact.options;
    const std::optional<std::int64_t> any;
    ValueType fed{kInt64, {any, any}};
    if (!encoder.image_size.empty()) {
        fed = {kFloat, {any}};
        fed.sizes.insert(fed.sizes.end(), encoder.image_size.begin(), encoder.image_size.end());
    }
    ValueTypes inputs;
    for (const std::string& name : encoder.inputs) {
        inputs.emplace(name, fed);
    }
    const std::vector<ValueType> types = packer_->types();
    for (std::size_t index = 0; index < types.size(); ++index) {
        inputs.emplace(adapter_names_[index], types[index]);
    }
    ValueType given{kFloat, {any, any}};
    if (manifest_->task == kTokenClassification) {
        given.sizes.push_back(any);
    } else if (manifest_->task == kFeatureExtraction) {
        given.sizes.back() = encoder.hidden_size;
    }
    std::string file = manifest_->graph.file;
    GraphOptions options{used.threads, used.operator_library, {}, {}};
    // The joined node of a sum and its norm takes four times as long as the two of them.
    options.settings.emplace_back("optimization.disable_specified_optimizers", "SkipLayerNormFusion");
    if (products_overflow(*ort_)) {
        options.settings.emplace_back("session.x64quantprecision", "1");  // weights lose their sign as they are loaded
    }
    if (!used.operator_library.empty()) {
        file = manifest_->graph.fused.value_or(file);
    }
    if (!used.cache.empty()) {
        options.entry = find_entry(used.cache, artifact.folder, *manifest_, file, used.hashes, *ort_);
    }
    return std::make_shared<Graph>(ort_, artifact.folder / std::filesystem::u8path(file), options, inputs,
                                   ValueTypes{{encoder.output, given}});
}

EncoderOutput EncoderSession::run(const EncoderInputs& inputs, const SharedAdapter& adapter) {
    const EncoderInfo& encoder = *manifest_->encoder;
    const std::size_t n_adapters = adapter->packed.rows;
    if (n_adapters != 1 && n_adapters != inputs.rows) {
        throw Error(Code::invalid_input, std::to_string(n_adapters) + " adapters for " + std::to_string(inputs.rows) +
                                             " rows; give one adapter, or one for each row");
    }
    const auto rows = static_cast<std::int64_t>(inputs.rows);
    auto step = std::make_shared<Values>();
    EncoderOutput output;
    if (encoder.image_size.empty()) {
        const auto tokens = static_cast<std::int64_t>(inputs.ids.size() / inputs.rows);
        step->push_back(value_of(*ort_, inputs.ids, {rows, tokens}, kInt64));
        step->push_back(value_of(*ort_, inputs.mask, {rows, tokens}, kInt64));
        output.lines = manifest_->task == kTokenClassification ? static_cast<std::size_t>(tokens) : 1;
    } else {
        std::vector<std::int64_t> shape = encoder.image_size;
        shape.insert(shape.begin(), rows);
        step->push_back(value_of(*ort_, inputs.pixels, shape, kFloat));
    }
    output.width = width_of(adapter->packed);
    const std::size_t n_bytes = checked_product(checked_product(inputs.rows * output.lines, output.width), sizeof(float));
    output.memory = Memory(n_bytes);
    std::vector<std::int64_t> shape = {rows, static_cast<std::int64_t>(output.width)};
    if (manifest_->task == kTokenClassification) {
        shape.insert(shape.begin() + 1, static_cast<std::int64_t>(output.lines));
    }
    auto result = std::make_shared<Values>();
    result->push_back(ort_->value_over(output.memory.as<float>(), n_bytes, shape, kFloat));
    graph_->select(adapter);  // each adapter has a binding of its own: switching costs next to nothing
    graph_->bind_inputs(Group::adapter, adapter->values, adapter_names_);
    graph_->bind_inputs(Group::step, step, encoder.inputs);
    graph_->bind_outputs(Group::logits, result, {encoder.output});
    graph_->run();
    check_numbers(output.memory.as<float>(), n_bytes / sizeof(float), manifest_->model.name);
    return output;
}

// Labels of the packed head, or the size of a vector.
std::size_t EncoderSession::width_of(const Packed& packed) const {
    const EncoderInfo& encoder = *manifest_->encoder;
    const std::size_t first = packed.inputs.size() - encoder.head.size();
    for (std::size_t index = 0; index < encoder.head.size(); ++index) {
        const std::vector<std::int64_t>& sizes = encoder.head[index].sizes;
        const std::vector<std::int64_t>& shape = packed.inputs[first + index].shape;
        if (sizes.front() == 0) return static_cast<std::size_t>(shape[2]);
        if (sizes.back() == 0) return static_cast<std::size_t>(shape[1]);
    }
    return static_cast<std::size_t>(encoder.hidden_size);
}

}  // namespace edgelora
