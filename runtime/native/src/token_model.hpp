// A loaded artifact that speaks token ids: adapters by name, generation, logits, log-probabilities.
//
// Knows nothing about text, buffers or kernels; it joins adapters, sampling and session.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "adapter_set.hpp"
#include "callers.hpp"
#include "generate.hpp"
#include "open_artifact.hpp"
#include "probe.hpp"
#include "request.hpp"
#include "session.hpp"

namespace edgelora {

// The SPECs of a call: none for the one that is set, one for all prompts, or one for each.
using Specs = std::vector<std::string>;

// One answer in token ids, without the end token.
struct IdsAnswer {
    Ids ids;
    FinishReason reason = FinishReason::length;
};

// Takes each token as it is chosen, with the place of its prompt in the list; false ends that row. It runs within the
// call: what it asks of the same model is answered at once, and ends the call with an error if it changed the cache.
using OnToken = std::function<bool(std::size_t prompt, std::int32_t token)>;

// Answers one call at a time: calls of other threads wait until it has returned. A `cancel` ends a call of any thread,
// one that waits too, with Error{cancelled}; the model stays usable.
class TokenModel {
  public:
    // Open an artifact. Throws Error{artifact} for a damaged one, Error{adapter} naming the adapter that is not what
    // its receipt says.
    static std::unique_ptr<TokenModel> load(const std::filesystem::path& folder, const LoadOptions& options = {});
    // The same of one that is open; throws Error{artifact} for one of another task.
    static std::unique_ptr<TokenModel> load(Artifact artifact);

    // Let go of the graph, the KV cache and every adapter; later calls throw Error{invalid_input}. Waits for its turn.
    void close();

    const Manifest& manifest() const { return *manifest_; }
    const std::filesystem::path& folder() const { return folder_; }
    const Ort& ort() const { return *ort_; }
    // Names that a SPEC can use.
    std::vector<std::string> adapters() const { return adapters_.names(); }
    // The SPEC used where a call gives none.
    std::string adapter() const;
    // Memory of the slot inputs that are kept ready.
    std::size_t adapter_bytes();
    // Memory of the KV cache as it is now.
    std::size_t cache_bytes();

    // Use `spec` from now on where a call gives none, and bind it. A change drops the KV cache, but for what the base
    // computed before an activated adapter.
    void set_adapter(const std::string& spec);
    // Make the PEFT folder known as `name` (replacing that name); throws Error{adapter} when it does not fit. That
    // includes a receipt that names another base, grid, tokenizer or template, or other factors; `trust` leaves the
    // receipt unread.
    void load_adapter(const std::string& name, const std::filesystem::path& folder, bool trust = false);
    // Forget `name` and give its memory back; throws Error{adapter} for an unknown name and the one that is set.
    void unload_adapter(const std::string& name);

    // Hold an adapter to its receipt and replay a probe of it; nothing where the receipt has none, or there is none.
    // Throws Error{adapter} when it does nothing, or not what its receipt says.
    std::optional<ProbeResult> probe(const std::string& name, const Cancel* cancel = nullptr);

    // Continue each list of token ids.
    std::vector<IdsAnswer> generate_ids(const std::vector<Ids>& prompts, const Specs& adapters, const Request& request,
                                        const Cancel* cancel = nullptr, const OnToken& on_token = {});
    // Logits after the tokens at `positions` of `ids`, by default after every one.
    Logits logits(const Ids& ids, const Specs& adapter = {}, std::vector<std::size_t> positions = {},
                  const Cancel* cancel = nullptr);
    // Log-probability of each completion token after the prompt and those before it.
    std::vector<double> score(const Ids& prompt, const Ids& completion, const Specs& adapter = {},
                              const Cancel* cancel = nullptr);
    // Summed log-probability of each choice after the prompt, its end included.
    std::vector<double> score_choices(const Ids& prompt, const std::vector<Ids>& choices, const Specs& adapter = {},
                                      const Cancel* cancel = nullptr);

    // Wait for a turn: what is called until it ends belongs to one call.
    Callers::Turn turn(const Cancel* cancel = nullptr) { return callers_.enter(cancel); }
    // Throws for SPECs that are malformed, unknown or too few or many for `n_rows`; returns one for each row.
    Specs check_specs(const Specs& adapters, std::size_t n_rows) const;
    // Index in a prompt from which a SPEC acts; throws Error{invalid_input} where an activated adapter would do nothing.
    std::size_t start_in(const Ids& prompt, const std::string& spec);
    // Decode prompts that were checked, in groups of rows that go together; `work` gets the places of the rows in
    // `prompts` and must ask for all tokens.
    void decode_groups(const std::vector<Ids>& prompts, const Specs& adapters, const Request& request,
                       const Cancel* cancel,
                       const std::function<void(const std::vector<std::size_t>&, Decoding&)>& work);

  private:
    explicit TokenModel(Artifact artifact);

    std::shared_ptr<const Ort> ort_;
    std::filesystem::path folder_;
    std::shared_ptr<const Manifest> manifest_;
    Session session_;
    AdapterSet adapters_;
    Callers callers_;
    mutable std::mutex reading_;
    std::string spec_ = "none";  // under `reading_`
};

}  // namespace edgelora
