// Adapters by name and SPEC, packed once and kept ready to be bound, as many as a budget has room for.
//
// Knows nothing about tokens or text; `open_adapter` reads, `packers` pack, sessions bind.
#pragma once

#include <filesystem>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "bound_adapter.hpp"
#include "head_info.hpp"
#include "manifest.hpp"
#include "packers.hpp"
#include "spec.hpp"

namespace edgelora {

// Every adapter that SPECs can name. Equal SPECs give the identical object as long as it is kept.
//
// What is dropped or loaded anew comes back as another object, so that nothing that was computed with the old one, and
// is known by it, is ever taken for the new one's. `most_bytes` bounds what is kept; what the last call asked for stays
// in any case. `names`, `parse` and `folder` may be called from any thread, all else by one at a time.
class AdapterSet {
  public:
    // `packer` and `base`, what the base itself has of a head, must outlive the set.
    AdapterSet(const std::filesystem::path& folder, std::shared_ptr<const Manifest> manifest,
               std::shared_ptr<const Ort> ort, const Packer& packer, std::optional<std::size_t> most_bytes,
               const SavedTensors& base = kNoHead);

    // Known names, those of the artifact first.
    std::vector<std::string> names() const;
    // Where a known name was read from.
    std::filesystem::path folder(const std::string& name) const;
    // The SPEC taken apart, every name known; throws Error{adapter}.
    Spec parse(const std::string& text) const;

    // Memory of all slot inputs that are kept ready.
    std::size_t n_bytes() const;
    // Read, check and pack a PEFT folder; `name` means it from now on. `labels` are those that a caller gives.
    void load(const std::string& name, const std::filesystem::path& folder, bool trust,
              const std::optional<Labels>& labels = std::nullopt);
    // Forget a name and what was made of it; throws Error{adapter} for an unknown one.
    void unload(const std::string& name);
    // Let go of everything that is kept ready.
    void clear();
    // Whether `adapter` is kept ready.
    bool holds(const SharedAdapter& adapter) const;
    // The adapter of one SPEC; throws Error{adapter} for a malformed SPEC, an unknown name and a blend with an activated
    // adapter.
    SharedAdapter find(const std::string& text);
    // Token ids from whose last place in a prompt on one SPEC acts; none where it acts on every token.
    std::vector<std::int32_t> invocation(const std::string& text);
    // One SPEC for each row of a batch; a shared one stays a single adapter.
    SharedAdapter find_rows(const std::vector<std::string>& texts);
    // What the head of one SPEC means, nothing where the model has no head. Throws Error{adapter} where neither an
    // adapter nor the base has one, and for a blend of unlike heads.
    std::optional<HeadInfo> head(const std::string& text);

  private:
    static const SavedTensors kNoHead;

    struct Source {
        std::string name;
        std::filesystem::path folder;
        bool is_trusted;                 // whatever its receipt says
        std::optional<HeadInfo> listed;  // of the manifest
        std::optional<Labels> labels;    // as the caller gave them
        // Of an adapter of the artifact, which place in the manifest it has: its folder and head are read there.
        std::optional<std::size_t> listed_at = std::nullopt;
    };
    struct Single {
        std::string name;
        SharedAdapter adapter;
        std::optional<HeadInfo> head;
        std::vector<std::int32_t> invocation;
    };
    struct Mixture {
        std::vector<Spec> specs;
        SharedAdapter adapter;
    };

    SharedAdapter bound(const Spec& spec);
    SharedAdapter keep(const std::vector<Spec>& specs, const std::function<Packed()>& build,
                       const SharedAdapter& before = nullptr);
    void refuse_blend(const Spec& spec, const std::string& text);
    std::vector<std::int32_t> read_invocation(const std::string& name);
    Packed blend(const Spec& spec);
    const Single& keep_single(const std::string& name);
    Single read(const Source& source) const;
    Source source(const std::string& name) const;
    void forget(const std::string& name);
    void drop_beyond_budget(const SharedAdapter& needed);

    std::filesystem::path folder_;  // of the artifact
    std::shared_ptr<const Manifest> manifest_;
    std::shared_ptr<const Ort> ort_;
    const Packer& packer_;
    const SavedTensors& base_;
    std::optional<std::size_t> most_bytes_;
    SharedAdapter none_;
    std::list<Single> single_;  // least recently used first
    std::list<Mixture> mixed_;  // likewise
    std::map<std::string, std::vector<std::int32_t>> invocations_;  // of adapters that were read
    mutable std::mutex reading_;
    std::vector<Source> sources_;  // under `reading_`
};

}  // namespace edgelora
