#include "session.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "errors.hpp"
#include "groups.hpp"
#include "numbers.hpp"
#include "values.hpp"

namespace edgelora {

namespace {

const Names kStepNames = {"input_ids", "logits_positions"};
const Names kLogitsNames = {"logits"};
const Names kLengthNames = {"seqlens_k", "total_sequence_length"};

constexpr std::uint32_t kOldestInt8Cache = 28;  // 1.24 to 1.26 have none, 1.27 answers batches wrongly with it

CacheShape cache_shape(const Manifest& manifest) {
    const ModelInfo& model = manifest.model;
    return {2 * static_cast<std::size_t>(model.num_layers), static_cast<std::size_t>(model.num_kv_heads),
            static_cast<std::size_t>(model.head_dim), manifest.graph.kv_cache == kInt8Cache};
}

}  // namespace

Session::Session(std::shared_ptr<const Ort> ort, std::filesystem::path folder,
                 std::shared_ptr<const Manifest> manifest, SessionOptions options)
    : ort_(std::move(ort)),
      folder_(std::move(folder)),
      manifest_(std::move(manifest)),
      options_(std::move(options)),
      packer_(options_.operator_library.empty() ? make_slot_packer(manifest_->slots)
                                                : make_fused_packer(manifest_->slots)),
      adapter_names_(packer_->names()),
      cache_(ort_, cache_shape(*manifest_)) {
    if (cache_.shape().is_int8 && ort_->api_version() < kOldestInt8Cache) {
        throw Error(Code::unsupported, manifest_->model.name + " keeps its KV cache in 8 bits, for which onnxruntime " +
                                           ort_->version() + " is too old; use 1." +
                                           std::to_string(kOldestInt8Cache) + " or newer");
    }
    for (std::int64_t layer = 0; layer < manifest_->model.num_layers; ++layer) {
        for (const char* part : {"key", "value"}) {
            past_names_.push_back("past_key_values." + std::to_string(layer) + "." + part);
            present_names_.push_back("present." + std::to_string(layer) + "." + part);
        }
    }
    // The fused graph answers without an adapter as fast, and its linears take no copy of the weights.
    const bool has_twin = manifest_->graph.without_slots && options_.operator_library.empty();
    if (has_twin && (options_.twin || manifest_->adapters.empty())) {
        plain_ = load(false);
    }
    if (options_.twin || plain_ == nullptr) {
        slotted_ = load(true);
    }
    graph_ = slotted_ != nullptr ? slotted_ : plain_;
}

void Session::close() {
    ++turn_;
    forget_bindings();
    graph_ = plain_ = slotted_ = nullptr;
    adapter_ = bound_ = nullptr;
    cache_.clear(0);
    lengths_.clear();
    tokens_.clear();
    decode_logits_ = nullptr;
    decode_inputs_ = decode_output_ = length_inputs_ = nullptr;
}

void Session::begin(std::size_t rows, const SharedAdapter& adapter, std::size_t start) {
    const std::size_t n_adapters = adapter->packed.rows;
    if (n_adapters != 1 && n_adapters != rows) {
        throw Error(Code::invalid_input, std::to_string(n_adapters) + " adapters for " + std::to_string(rows) +
                                             " rows; give one adapter, or one for each row");
    }
    ++turn_;
    tokens_.clear();
    if (rows != lengths_.size()) {
        allocate_rows(rows);
    }
    std::fill(lengths_.begin(), lengths_.end(), 0);
    adapter_ = adapter;
    start_ = start;
    bind_adapter(adapter);
}

void Session::change(const SharedAdapter& adapter) {
    if (adapter != adapter_) {
        const Ids held = tokens_;
        resume(adapter, held, held.size(), adapter->before != nullptr ? held.size() : 0);
        bind_adapter(adapter);
    }
}

void Session::rewind(std::size_t length) {
    ++turn_;
    tokens_.resize(std::min(length, tokens_.size()));
    lengths_[0] = static_cast<std::int64_t>(tokens_.size());
}

std::size_t Session::resume(const SharedAdapter& adapter, const Ids& ids, std::size_t limit, std::size_t start) {
    std::size_t n_kept = 0;
    if (lengths_.size() == 1 && adapter_ != nullptr) {
        n_kept = std::min(shared_length(tokens_, ids), limit);
        if (adapter != adapter_ || start != start_) {
            n_kept = std::min({n_kept, adapter_->n_through_base(start_), adapter->n_through_base(start)});
        }
    }
    if (n_kept > 0) {
        rewind(n_kept);
        adapter_ = adapter;
        start_ = start;
    } else {
        begin(1, adapter, start);
    }
    return n_kept;
}

Logits Session::prefill(const Ids& ids, std::size_t first, const std::vector<std::size_t>& positions,
                        const Cancel* cancel) {
    Logits logits(positions.size(), vocab_size());
    append({0, 1}, ids, first, positions, logits.row(0), cancel);
    return logits;
}

Logits Session::prefill_rows(const std::vector<Ids>& rows, const Cancel* cancel) {
    std::vector<std::size_t> counts;
    for (const Ids& row : rows) {
        counts.push_back(row.size());
    }
    if (rows.size() > 1) {  // the parts below are views of the cache, which must not move any more
        reserve(*std::max_element(counts.begin(), counts.end()));
    }
    Logits logits(rows.size(), vocab_size());
    for (const auto& [first, last] : split_rows(counts, kPrefillChunk)) {
        check_cancel(cancel);
        const Rows part{first, last - first};
        if (part.count == 1) {
            append(part, rows[first], 0, {counts[first] - 1}, logits.row(first), cancel);
            continue;
        }
        const auto of_part = [&counts](std::size_t index) {
            return counts.begin() + static_cast<std::ptrdiff_t>(index);
        };
        const std::size_t longest = *std::max_element(of_part(first), of_part(last));
        std::vector<std::int64_t> ids(part.count * longest, 0);
        std::vector<std::int64_t> here(of_part(first), of_part(last));
        std::vector<std::int64_t> positions;
        for (std::size_t index = 0; index < part.count; ++index) {
            const Ids& row = rows[first + index];
            std::copy(row.begin(), row.end(), ids.begin() + static_cast<std::ptrdiff_t>(index * longest));
            positions.push_back(here[index] - 1);
        }
        run(part, ids, here, positions, logits.row(first));
    }
    return logits;
}

// Append the ids from `first` on to one row in pieces; `logits` (positions, vocab_size) at those indices into `ids`.
void Session::append(Rows row, const Ids& ids, std::size_t first, const std::vector<std::size_t>& positions,
                     float* logits, const Cancel* cancel) {
    for (std::size_t start = first, end = first; start < ids.size(); start = end) {
        check_cancel(cancel);
        end = std::min(ids.size(), start + kPrefillChunk);
        if (lengths_.size() == 1) {
            end = start + bind_next(end - start);
        }
        const std::vector<std::int64_t> chunk(ids.begin() + static_cast<std::ptrdiff_t>(start),
                                              ids.begin() + static_cast<std::ptrdiff_t>(end));
        std::vector<std::int64_t> inside;
        std::vector<std::size_t> here;
        for (std::size_t index = 0; index < positions.size(); ++index) {
            if (positions[index] >= start && positions[index] < end) {
                inside.push_back(static_cast<std::int64_t>(positions[index] - start));
                here.push_back(index);
            }
        }
        const auto count = static_cast<std::int64_t>(chunk.size());
        if (!here.empty() && here.back() - here.front() + 1 == here.size()) {  // neighbours: in place
            run(row, chunk, {count}, inside, logits + here.front() * vocab_size());
        } else {
            if (here.empty()) {  // the graph always selects something: here what nobody wants
                inside.push_back(count - 1);
            }
            Logits found(inside.size(), vocab_size());
            run(row, chunk, {count}, inside, found.row(0));
            for (std::size_t index = 0; index < here.size(); ++index) {
                std::copy_n(found.row(index), vocab_size(), logits + here[index] * vocab_size());
            }
        }
        if (lengths_.size() == 1) {
            tokens_.insert(tokens_.end(), ids.begin() + static_cast<std::ptrdiff_t>(start),
                           ids.begin() + static_cast<std::ptrdiff_t>(end));
        }
    }
}

const float* Session::decode(const std::vector<std::int64_t>& ids, const std::vector<char>& is_active) {
    std::int64_t longest = 0;
    for (std::size_t row = 0; row < lengths_.size(); ++row) {
        longest = is_active[row] != 0 ? std::max(longest, lengths_[row]) : longest;
    }
    reserve(static_cast<std::size_t>(longest) + 1);
    for (std::size_t row = 0; row < lengths_.size(); ++row) {
        decode_ids_[row] = ids[row];
        // A row that is over may be longer than those that go on, even as long as the context: it writes over itself.
        seqlens_[row] = static_cast<std::int32_t>(std::min(lengths_[row], longest));
    }
    total_ = static_cast<std::int32_t>(longest + 1);
    compute(decode_inputs_, decode_output_, {0, lengths_.size()});
    for (std::size_t row = 0; row < lengths_.size(); ++row) {
        lengths_[row] += is_active[row] != 0 ? 1 : 0;
    }
    if (lengths_.size() == 1 && is_active[0] != 0) {
        tokens_.push_back(static_cast<std::int32_t>(ids[0]));
    }
    for (std::size_t row = 0; row < lengths_.size(); ++row) {
        if (is_active[row] != 0) {
            check(decode_logits_->row(row), 1);
        }
    }
    return decode_logits_->row(0);
}

// Feed ids (n_rows, sequence), of which `counts` are real, to `rows`; `logits` (n_rows, n_positions, vocab_size).
void Session::run(Rows rows, const std::vector<std::int64_t>& ids, const std::vector<std::int64_t>& counts,
                  const std::vector<std::int64_t>& positions, float* logits) {
    std::int64_t longest = 0;
    for (std::size_t row = rows.first; row < rows.first + rows.count; ++row) {
        longest = std::max(longest, lengths_[row]);
    }
    const std::size_t total = static_cast<std::size_t>(longest) + ids.size() / rows.count;
    reserve(total);
    for (std::size_t index = 0; index < rows.count; ++index) {
        seqlens_[rows.first + index] = static_cast<std::int32_t>(lengths_[rows.first + index] + counts[index] - 1);
    }
    total_ = static_cast<std::int32_t>(total);
    compute(step_values(*ort_, ids, positions, rows.count),
            logits_value(*ort_, logits, rows.count, positions.size() / rows.count, vocab_size()), rows);
    bind_step(decode_inputs_, decode_output_);  // lets go of the memory of this call
    for (std::size_t index = 0; index < rows.count; ++index) {
        lengths_[rows.first + index] += counts[index];
    }
    check(logits, positions.size());
}

// Throw for what is no number, and let nobody go on from what the cache holds of it.
void Session::check(const float* logits, std::size_t rows) {
    try {
        check_numbers(logits, rows * vocab_size(), manifest_->model.name);
    } catch (const Error&) {
        ++turn_;
        tokens_.clear();
        adapter_ = nullptr;
        throw;
    }
}

// Run the graph on `rows`; what is bound already stays as it is. Past and present are the same memory: attention
// appends in place, and nothing is copied in a step.
void Session::compute(const SharedValues& inputs, const SharedValues& output, Rows rows) {
    const bool is_all = rows.count == lengths_.size();
    bind_step(inputs, output);
    graph_->bind_inputs(Group::lengths, is_all ? length_inputs_ : lengths_of(rows), kLengthNames);
    const SharedValues caches = is_all ? cache_.values() : cache_.values_of(rows.first, rows.count);
    graph_->bind_inputs(Group::past, caches, past_names_);
    graph_->bind_outputs(Group::present, caches, present_names_);
    if (bound_->packed.rows > 1 && graph_ != plain_) {
        graph_->bind_inputs(Group::adapter, is_all ? bound_->values : adapter_of(rows), adapter_names_);
    }
    graph_->run();
}

void Session::bind_step(const SharedValues& inputs, const SharedValues& output) {
    graph_->bind_inputs(Group::step, inputs, kStepNames);
    graph_->bind_outputs(Group::logits, output, kLogitsNames);
}

// Bind what the next tokens of the single row go through; returns how many of `count` do.
std::size_t Session::bind_next(std::size_t count) {
    const auto length = static_cast<std::size_t>(lengths_[0]);
    if (adapter_->before != nullptr && length < start_) {
        bind_adapter(adapter_->before);
        return std::min(count, start_ - length);
    }
    bind_adapter(adapter_);
    return count;
}

// Each adapter has a binding of its own, so that switching back to one costs next to nothing.
void Session::bind_adapter(const SharedAdapter& adapter) {
    bound_ = adapter;
    graph_ = choose_graph(*adapter);
    graph_->select(adapter);
    if (graph_ != plain_) {
        graph_->bind_inputs(Group::adapter, adapter->values, adapter_names_);
    }
}

// Bindings hold values over the memory that they are bound to: none may stay when the cache gets other memory.
void Session::forget_bindings() {
    for (const auto& graph : {plain_, slotted_}) {
        if (graph != nullptr) {
            graph->forget();
        }
    }
}

// The twin for no adapter where it is in memory; the graph with slots takes its place otherwise.
const std::shared_ptr<Graph>& Session::choose_graph(const BoundAdapter& adapter) {
    if (adapter.packed.is_none() && plain_ != nullptr) {
        return plain_;
    }
    if (slotted_ == nullptr) {
        graph_ = plain_ = nullptr;  // before the other one is loaded: an app has memory for one
        slotted_ = load(true);
    }
    return slotted_;
}

std::shared_ptr<Graph> Session::load(bool with_slots) const {
    const GraphInfo& info = manifest_->graph;
    const CacheShape& cache = cache_.shape();
    const auto float32 = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    const auto int64 = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
    const auto int32 = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32;
    const std::optional<std::int64_t> any;
    const ValueType kept{cache.is_int8 ? ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8 : float32,
                         {any, manifest_->model.num_kv_heads, any, manifest_->model.head_dim}};
    ValueTypes inputs = {{"input_ids", {int64, {any, any}}},
                         {"seqlens_k", {int32, {any}}},
                         {"total_sequence_length", {int32, {}}},
                         {"logits_positions", {int64, {any, any}}}};
    ValueTypes outputs = {{"logits", {float32, {any, any, manifest_->model.vocab_size}}}};
    for (const std::string& name : past_names_) {
        inputs.emplace(name, kept);
    }
    for (const std::string& name : present_names_) {
        outputs.emplace(name, kept);
    }
    GraphOptions options{options_.threads, {}, {}, {}};
    std::string file = with_slots ? info.file : info.without_slots.value_or(info.file);
    if (with_slots) {
        const std::vector<ValueType> types = packer_->types();
        for (std::size_t index = 0; index < types.size(); ++index) {
            inputs.emplace(adapter_names_[index], types[index]);
        }
        if (!options_.operator_library.empty()) {
            options.operator_library = options_.operator_library;
            file = info.fused.value_or(info.file);
        }
    }
    if (!options_.cache.empty()) {
        options.entry = find_entry(options_.cache, folder_, *manifest_, file, options_.hashes, *ort_);
    }
    return std::make_shared<Graph>(ort_, folder_ / std::filesystem::u8path(file), options, inputs, outputs);
}

void Session::allocate_rows(std::size_t rows) {
    forget_bindings();
    lengths_.clear();  // until all is there: memory may be lacking
    cache_.clear(rows);
    decode_ids_.assign(rows, 0);
    decode_positions_.assign(rows, 0);
    seqlens_.assign(rows, 0);
    decode_logits_ = std::make_unique<Logits>(rows, vocab_size());
    decode_inputs_ = step_values(*ort_, decode_ids_, decode_positions_, rows);
    decode_output_ = logits_value(*ort_, decode_logits_->row(0), rows, 1, vocab_size());
    length_inputs_ = lengths_of({0, rows});
    lengths_.assign(rows, 0);
}

// Make room for `total` tokens in every row, keeping what the cache holds.
void Session::reserve(std::size_t total) {
    if (total <= cache_.capacity()) {
        return;
    }
    if (total > context_length()) {
        throw Error(Code::invalid_input, std::to_string(total) + " tokens, but the context length of " +
                                             manifest_->model.name + " is " + std::to_string(context_length()) +
                                             "; shorten the text");
    }
    std::size_t capacity = std::max(cache_.capacity(), kFirstCapacity);
    while (capacity < total) {
        capacity *= 2;
    }
    capacity = std::min(capacity, context_length());
    tokens_.reserve(capacity);
    cache_.grow(capacity, static_cast<std::size_t>(*std::max_element(lengths_.begin(), lengths_.end())));
    forget_bindings();
    bind_adapter(bound_);
}

}  // namespace edgelora
