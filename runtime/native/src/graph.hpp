// One loaded graph and what is bound to it: memory of the caller, input by input.
//
// Knows nothing about tokens, adapters' values or how long anything is.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "graph_cache.hpp"
#include "ort.hpp"

namespace edgelora {

// What an input or output has to be: the type of its numbers, and sizes, none where any may come.
struct ValueType {
    ONNXTensorElementDataType numbers;
    std::vector<std::optional<int64_t>> sizes;
};

using ValueTypes = std::map<std::string, ValueType>;

// Values that are bound together; which they are is known by their identity.
using Values = std::vector<Handle<OrtValue>>;
using SharedValues = std::shared_ptr<const Values>;
using Names = std::vector<std::string>;

// The groups that inputs and outputs are bound in.
enum class Group { step, logits, lengths, past, present, adapter };

struct GraphOptions {
    int threads = 0;                         // 0: `default_threads`
    std::filesystem::path operator_library;  // registers the operators of ours that the graph has; empty for none
    std::optional<CacheEntry> entry;         // where the device keeps what was made of the graph
    std::vector<std::pair<const char*, const char*>> settings;  // entries of onnxruntime's session configuration
};

// An onnxruntime session with a binding for each owner: coming back to one binds nothing anew.
class Graph {
  public:
    // `outputs` may leave some out; throws Error{artifact} for a graph that cannot be loaded or has others.
    Graph(std::shared_ptr<const Ort> ort, const std::filesystem::path& path, const GraphOptions& options,
          const ValueTypes& inputs, const ValueTypes& outputs);

    // Bind and run what belongs to `owner` from now on. A binding goes when its owner is gone.
    void select(const std::shared_ptr<const void>& owner);
    // Let go of all that was ever bound; an owner must be selected before the next run.
    void forget();
    // Bind `values` as the inputs `names` unless `group` holds these very values already.
    void bind_inputs(Group group, const SharedValues& values, const Names& names);
    // The same for outputs.
    void bind_outputs(Group group, const SharedValues& values, const Names& names);
    // Compute the outputs in place.
    void run();

  private:
    // What one owner has bound; `held` are the values of each group.
    struct Binding {
        Handle<OrtIoBinding> io;
        std::array<SharedValues, 6> held;
    };
    using Owner = std::weak_ptr<const void>;

    Handle<OrtIoBinding> make_binding() const;
    Handle<OrtSessionOptions> make_options(const GraphOptions& options) const;
    bool open_cached(const std::filesystem::path& path, const GraphOptions& options);
    void open(const std::filesystem::path& path, const GraphOptions& options);
    void check_values(const std::filesystem::path& path, const ValueTypes& inputs, const ValueTypes& outputs) const;

    std::shared_ptr<const Ort> ort_;
    Handle<OrtSession> session_;
    std::map<Owner, Binding, std::owner_less<Owner>> bindings_;
    Binding* current_ = nullptr;
};

// Physical cores that this process may use, at most four: more only add waiting on small models.
int default_threads();

}  // namespace edgelora
