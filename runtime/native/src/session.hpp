// One step on onnxruntime: token ids and a KV cache in pre-bound memory go in, logits come out.
//
// Knows nothing about text, sampling or adapter files; it counts tokens and owns buffers.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <vector>

#include "bound_adapter.hpp"
#include "cache.hpp"
#include "cancel.hpp"
#include "graph.hpp"
#include "manifest.hpp"
#include "packers.hpp"

namespace edgelora {

constexpr std::size_t kFirstCapacity = 256;  // tokens; doubled whenever more are needed
constexpr std::size_t kPrefillChunk = 384;   // tokens of one row a call; attention memory grows with these times all

using Ids = std::vector<std::int32_t>;

// Logits (rows, vocab_size).
class Logits {
  public:
    Logits(std::size_t rows, std::size_t vocab_size)
        : memory_(checked_product(checked_product(rows, vocab_size), sizeof(float))), vocab_size_(vocab_size) {}
    float* row(std::size_t index) { return memory_.as<float>() + index * vocab_size_; }
    const float* row(std::size_t index) const { return memory_.as<float>() + index * vocab_size_; }
    std::size_t vocab_size() const { return vocab_size_; }

  private:
    Memory memory_;
    std::size_t vocab_size_;
};

struct SessionOptions {
    int threads = 0;                         // 0: `default_threads`
    bool twin = false;                       // keep the graph without slots in memory beside the one with slots
    std::filesystem::path operator_library;  // runs the fused graph in the place of the one with slots; empty for none
    std::filesystem::path cache;             // a folder of the device for what is made of graphs; empty for none
    bool hashes = false;                     // look at every byte of what is kept there
};

// The graphs of an artifact over one KV cache, one call at a time; `turn` changes when the cache is rewound.
//
// An artifact may hold a twin graph without slots, which costs nothing where no adapter acts. One graph is in memory,
// the twin until the first adapter is used when the artifact has none; with `twin` both are, for as long as the session
// lives.
class Session {
  public:
    Session(std::shared_ptr<const Ort> ort, std::filesystem::path folder, std::shared_ptr<const Manifest> manifest,
            SessionOptions options);
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    // The adapter that the cached tokens went through; nullptr before the first.
    const SharedAdapter& adapter() const { return adapter_; }
    // Tokens in the cache, row by row.
    const std::vector<std::int64_t>& lengths() const { return lengths_; }
    // What the cache holds while there is one row.
    const Ids& tokens() const { return tokens_; }
    std::uint64_t turn() const { return turn_; }
    std::size_t rows() const { return lengths_.size(); }
    // Tokens for which each row has memory now.
    std::size_t capacity() const { return cache_.capacity(); }
    // Memory that a token of a row takes in the cache.
    std::size_t bytes_per_token() const { return cache_.shape().bytes_per_token(); }
    // Tokens that a row can hold at most.
    std::size_t context_length() const { return static_cast<std::size_t>(manifest_->model.context_length); }
    std::size_t vocab_size() const { return static_cast<std::size_t>(manifest_->model.vocab_size); }

    // Packs adapters for the graph of this session.
    const Packer& packer() const { return *packer_; }
    // Let go of graphs and cache; nothing can be computed afterwards.
    void close();
    // Start `rows` empty rows with `adapter`; nothing of what the cache held can be reached afterwards. A single row
    // takes its first `start` tokens through what `adapter` has before its invocation.
    void begin(std::size_t rows, const SharedAdapter& adapter, std::size_t start = 0);
    // Bind `adapter` for what comes next, and keep what the base computed where that serves it.
    void change(const SharedAdapter& adapter);
    // Forget every token of the single row after the first `length`; they are overwritten by the next ones.
    void rewind(std::size_t length);
    // Start one row with as much of `ids` as is computed already, at most `limit` tokens; returns how many. The adapter
    // acts from index `start` on; what comes before it serves the base and every other adapter that acts from there on,
    // or later.
    std::size_t resume(const SharedAdapter& adapter, const Ids& ids, std::size_t limit, std::size_t start = 0);

    // Append the ids from `first` on to the single row; logits at those indices into `ids`, none before `first`.
    // A call that is cancelled keeps the pieces that it computed.
    Logits prefill(const Ids& ids, std::size_t first, const std::vector<std::size_t>& positions, const Cancel* cancel);
    // Fill the empty rows; logits after each row's last id. Short neighbours go through the graph together, padded on
    // the right; a long row goes alone and in pieces, so that no call needs more memory than that of a single row.
    Logits prefill_rows(const std::vector<Ids>& rows, const Cancel* cancel);
    // Feed one token to every row, of which only the active ones, one at least, keep it. Returns logits
    // (rows, vocab_size) in memory that the next call overwrites; those of other rows mean nothing.
    const float* decode(const std::vector<std::int64_t>& ids, const std::vector<char>& is_active);

  private:
    struct Rows {
        std::size_t first;
        std::size_t count;
    };

    std::shared_ptr<Graph> load(bool with_slots) const;
    const std::shared_ptr<Graph>& choose_graph(const BoundAdapter& adapter);
    void append(Rows row, const Ids& ids, std::size_t first, const std::vector<std::size_t>& positions, float* logits,
                const Cancel* cancel);
    void run(Rows rows, const std::vector<std::int64_t>& ids, const std::vector<std::int64_t>& counts,
             const std::vector<std::int64_t>& positions, float* logits);
    void compute(const SharedValues& inputs, const SharedValues& output, Rows rows);
    void check(const float* logits, std::size_t rows);
    void bind_step(const SharedValues& inputs, const SharedValues& output);
    std::size_t bind_next(std::size_t count);
    void bind_adapter(const SharedAdapter& adapter);
    void forget_bindings();
    void allocate_rows(std::size_t rows);
    void reserve(std::size_t total);
    SharedValues lengths_of(Rows rows) const {
        return length_values(*ort_, seqlens_.data() + rows.first, rows.count, &total_);
    }
    SharedValues adapter_of(Rows rows) const {
        return packed_values(*ort_, bound_->packed, rows.first, rows.count);
    }

    std::shared_ptr<const Ort> ort_;
    std::filesystem::path folder_;
    std::shared_ptr<const Manifest> manifest_;
    SessionOptions options_;
    Names past_names_;
    Names present_names_;
    std::unique_ptr<Packer> packer_;
    Names adapter_names_;
    std::shared_ptr<Graph> plain_;
    std::shared_ptr<Graph> slotted_;
    std::shared_ptr<Graph> graph_;  // one of the two
    SharedAdapter adapter_;
    SharedAdapter bound_;    // the same, or what its tokens before the invocation go through
    std::size_t start_ = 0;  // tokens of the single row before those that the adapter acts on
    Cache cache_;
    std::vector<std::int64_t> lengths_;
    Ids tokens_;
    std::uint64_t turn_ = 0;

    std::vector<std::int64_t> decode_ids_;
    std::vector<std::int64_t> decode_positions_;
    std::unique_ptr<Logits> decode_logits_;
    mutable std::vector<std::int32_t> seqlens_;  // values are made over them
    mutable std::int32_t total_ = 0;
    SharedValues decode_inputs_;
    SharedValues decode_output_;
    SharedValues length_inputs_;
};

// Length of the common beginning of two lists.
inline std::size_t shared_length(const Ids& one, const Ids& other) {
    const auto shortest = static_cast<std::ptrdiff_t>(std::min(one.size(), other.size()));
    return static_cast<std::size_t>(
        std::mismatch(one.begin(), one.begin() + shortest, other.begin()).first - one.begin());
}

}  // namespace edgelora
