#include "graph.hpp"

#include <algorithm>

#include "errors.hpp"
#include "parse_json.hpp"

namespace edgelora {

namespace {

// An input or output as the graph has it.
struct Found {
    ONNXTensorElementDataType numbers = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    bool is_tensor = false;
    std::vector<int64_t> sizes;
    std::vector<std::string> symbols;
};

const char* name_of(ONNXTensorElementDataType numbers) {
    switch (numbers) {
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT: return "tensor(float)";
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8: return "tensor(uint8)";
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8: return "tensor(int8)";
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16: return "tensor(uint16)";
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16: return "tensor(int16)";
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32: return "tensor(int32)";
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64: return "tensor(int64)";
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING: return "tensor(string)";
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL: return "tensor(bool)";
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16: return "tensor(float16)";
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE: return "tensor(double)";
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32: return "tensor(uint32)";
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64: return "tensor(uint64)";
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16: return "tensor(bfloat16)";
        default: return "tensor of another type";
    }
}

std::string shape_of(const Found& found) {
    if (found.sizes.size() > 4) {
        return "a list of " + std::to_string(found.sizes.size());
    }
    std::string text = "[";
    for (size_t index = 0; index < found.sizes.size(); ++index) {
        text += index == 0 ? "" : ", ";
        if (found.sizes[index] >= 0) {
            text += std::to_string(found.sizes[index]);
        } else {
            text += found.symbols[index].empty() ? "None" : show(found.symbols[index]);
        }
    }
    return text + "]";
}

// How `found` is another than `wanted`, empty where it is the same; the graph leaves open what is open there, no more.
std::string difference(const std::string& name, const Found& found, const ValueType& wanted) {
    bool fits = found.is_tensor && found.numbers == wanted.numbers && found.sizes.size() == wanted.sizes.size();
    for (size_t index = 0; fits && index < wanted.sizes.size(); ++index) {
        fits = wanted.sizes[index] ? found.sizes[index] == *wanted.sizes[index] : found.sizes[index] < 0;
    }
    if (fits) {
        return "";
    }
    std::string sizes;
    for (const auto& size : wanted.sizes) {
        sizes += (sizes.empty() ? "" : ", ") + (size ? std::to_string(*size) : "any");
    }
    const std::string is = found.is_tensor ? name_of(found.numbers) + (" " + shape_of(found)) : "no tensor";
    return name + " is " + is + ", expected " + name_of(wanted.numbers) + " [" + sizes + "]";
}

Found describe(const Ort& ort, const OrtTypeInfo* type) {
    const OrtApi& api = ort.api();
    const char* const doing = "reading the graph's inputs";
    Found found;
    const OrtTensorTypeAndShapeInfo* info = nullptr;  // owned by `type`
    ort.check(api.CastTypeInfoToTensorInfo(type, &info), doing);
    if (info == nullptr) {
        return found;
    }
    found.is_tensor = true;
    ort.check(api.GetTensorElementType(info, &found.numbers), doing);
    size_t count = 0;
    ort.check(api.GetDimensionsCount(info, &count), doing);
    found.sizes.resize(count);
    std::vector<const char*> symbols(count, nullptr);
    ort.check(api.GetDimensions(info, found.sizes.data(), count), doing);
    ort.check(api.GetSymbolicDimensions(info, symbols.data(), count), doing);
    for (const char* symbol : symbols) {
        found.symbols.emplace_back(symbol == nullptr ? "" : symbol);
    }
    return found;
}

// Every input, or every output, of a session by its name.
std::map<std::string, Found> list_values(const Ort& ort, const OrtSession* session, bool is_input) {
    const OrtApi& api = ort.api();
    const char* const doing = "reading the graph's inputs";
    OrtAllocator* allocator = nullptr;  // onnxruntime's own
    ort.check(api.GetAllocatorWithDefaultOptions(&allocator), doing);
    size_t count = 0;
    ort.check((is_input ? api.SessionGetInputCount : api.SessionGetOutputCount)(session, &count), doing);
    std::map<std::string, Found> found;
    for (size_t index = 0; index < count; ++index) {
        char* text = nullptr;
        ort.check((is_input ? api.SessionGetInputName : api.SessionGetOutputName)(session, index, allocator, &text),
                  doing);
        const std::string name = text;
        ort.check(api.AllocatorFree(allocator, text), doing);
        OrtTypeInfo* type = nullptr;
        ort.check((is_input ? api.SessionGetInputTypeInfo : api.SessionGetOutputTypeInfo)(session, index, &type),
                  doing);
        const Handle<OrtTypeInfo> owned = ort.own(type);
        found.emplace(name, describe(ort, type));
    }
    return found;
}

}  // namespace

Graph::Graph(std::shared_ptr<const Ort> ort, const std::filesystem::path& path, const GraphOptions& options,
             const ValueTypes& inputs, const ValueTypes& outputs)
    : ort_(std::move(ort)), session_(ort_->own<OrtSession>(nullptr)) {
    open(path, options);
    check_values(path, inputs, outputs);
}

Handle<OrtSessionOptions> Graph::make_options(const GraphOptions& options) const {
    const OrtApi& api = ort_->api();
    const char* const doing = "preparing to load a graph";
    OrtSessionOptions* made = nullptr;
    ort_->check(api.CreateSessionOptions(&made), doing);
    Handle<OrtSessionOptions> owned = ort_->own(made);
    // A warning for each of hundreds of slot inputs helps nobody.
    ort_->check(api.SetSessionLogSeverityLevel(made, ORT_LOGGING_LEVEL_FATAL), doing);
    ort_->check(api.SetIntraOpNumThreads(made, options.threads > 0 ? options.threads : default_threads()), doing);
    ort_->check(api.SetInterOpNumThreads(made, 1), doing);
    for (const auto& [key, value] : options.settings) {
        ort_->check(api.AddSessionConfigEntry(made, key, value), doing);
    }
    OrtFailure failure{};
    const std::filesystem::path& named = options.operator_library;
    // A bare name would be looked for among the system's libraries.
    const std::filesystem::path library = named.empty() || named.has_parent_path() ? named : "." / named;
    if (!library.empty() && !ort_->succeeded(api.RegisterCustomOpsLibrary_V2(made, library.c_str()), failure)) {
        throw Error(Code::unsupported, options.operator_library.u8string() + " cannot be loaded as operators (" +
                                           failure.message + "); build it for this onnxruntime, or load without it");
    }
    return owned;
}

// Open what the device keeps of the graph, or keep it; false where it has to be opened without that: the disk may be
// full, or the graph damaged, as opening it again says.
bool Graph::open_cached(const std::filesystem::path& path, const GraphOptions& options) {
    const OrtApi& api = ort_->api();
    OrtFailure failure{};
    OrtSession* session = nullptr;
    if (is_whole(*options.entry)) {
        const Handle<OrtSessionOptions> made = make_options(options);
        ort_->check(api.SetSessionGraphOptimizationLevel(made.get(), ORT_DISABLE_ALL), "loading a kept graph");
        if (ort_->succeeded(api.CreateSession(ort_->env(), graph_of(*options.entry).c_str(), made.get(), &session),
                            failure)) {
            session_.reset(session);
            return true;
        }
    }
    try {
        FreshEntry fresh(*options.entry);
        const Handle<OrtSessionOptions> made = make_options(options);
        fresh.prepare(*ort_, made.get());
        if (!ort_->succeeded(api.CreateSession(ort_->env(), path.c_str(), made.get(), &session), failure)) {
            return false;
        }
        session_.reset(session);
        fresh.keep();
    } catch (const std::filesystem::filesystem_error&) {
        return session_ != nullptr;
    }
    return true;
}

void Graph::open(const std::filesystem::path& path, const GraphOptions& options) {
    if (options.entry && open_cached(path, options)) {
        return;
    }
    const Handle<OrtSessionOptions> made = make_options(options);
    OrtFailure failure{};
    OrtSession* session = nullptr;
    if (!ort_->succeeded(ort_->api().CreateSession(ort_->env(), path.c_str(), made.get(), &session), failure)) {
        if (failure.is_memory()) {
            throw Error(Code::memory, path.u8string() + " does not fit into memory (" + failure.message +
                                          "); close other programs, or use a smaller model");
        }
        throw Error(Code::artifact,
                    path.u8string() + " cannot be loaded (" + failure.message + "); export the artifact again");
    }
    session_.reset(session);
}

void Graph::check_values(const std::filesystem::path& path, const ValueTypes& inputs,
                         const ValueTypes& outputs) const {
    const auto there = list_values(*ort_, session_.get(), true);
    const auto given = list_values(*ort_, session_.get(), false);
    std::vector<std::string> wrong;
    const auto compare = [&wrong](const std::map<std::string, Found>& found, const ValueTypes& wanted) {
        for (const auto& [name, type] : wanted) {
            const auto place = found.find(name);
            const std::string told =
                place == found.end() ? name + " is missing" : difference(name, place->second, type);
            if (!told.empty()) {
                wrong.push_back(told);
            }
        }
    };
    compare(there, inputs);
    compare(given, outputs);
    for (const auto& item : there) {
        if (inputs.count(item.first) == 0) {
            wrong.push_back(item.first + " is unknown");
        }
    }
    if (!wrong.empty()) {
        std::sort(wrong.begin(), wrong.end());
        throw Error(Code::artifact, path.u8string() + " and the manifest disagree: inputs " + join_some(wrong) +
                                        "; export it again");
    }
}

Handle<OrtIoBinding> Graph::make_binding() const {
    OrtIoBinding* made = nullptr;
    ort_->check(ort_->api().CreateIoBinding(session_.get(), &made), "binding memory");
    return ort_->own(made);
}

void Graph::select(const std::shared_ptr<const void>& owner) {
    auto found = bindings_.find(owner);
    if (found == bindings_.end()) {
        for (auto item = bindings_.begin(); item != bindings_.end();) {
            item = item->first.expired() ? bindings_.erase(item) : std::next(item);
        }
        found = bindings_.emplace(owner, Binding{make_binding(), {}}).first;
    }
    current_ = &found->second;
}

void Graph::forget() {
    bindings_.clear();
    current_ = nullptr;
}

void Graph::bind_inputs(Group group, const SharedValues& values, const Names& names) {
    SharedValues& held = current_->held[static_cast<size_t>(group)];
    if (held == values) {
        return;
    }
    held = nullptr;  // until all are bound
    for (size_t index = 0; index < names.size(); ++index) {
        ort_->check(ort_->api().BindInput(current_->io.get(), names[index].c_str(), (*values)[index].get()),
                    "binding memory");
    }
    held = values;
}

void Graph::bind_outputs(Group group, const SharedValues& values, const Names& names) {
    SharedValues& held = current_->held[static_cast<size_t>(group)];
    if (held == values) {
        return;
    }
    held = nullptr;
    for (size_t index = 0; index < names.size(); ++index) {
        ort_->check(ort_->api().BindOutput(current_->io.get(), names[index].c_str(), (*values)[index].get()),
                    "binding memory");
    }
    held = values;
}

void Graph::run() {
    ort_->check(ort_->api().RunWithBinding(session_.get(), nullptr, current_->io.get()), "running the graph");
}

}  // namespace edgelora
