// Adapters by name and SPEC, packed once and kept ready to be bound, as many as a budget has room for.
//
// Knows nothing about tokens or text; `open_adapter` reads, `packers` pack, `session` binds.
#pragma once

#include <filesystem>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "manifest.hpp"
#include "session.hpp"
#include "spec.hpp"

namespace edgelora {

// Every adapter that SPECs can name. Equal SPECs give the identical object as long as it is kept.
//
// What is dropped or loaded anew comes back as another object, so that nothing that was computed with the old one, and
// is known by it, is ever taken for the new one's. `most_bytes` bounds what is kept; what the last call asked for stays
// in any case. `names`, `parse` and `folder` may be called from any thread, all else by one at a time.
class AdapterSet {
  public:
    AdapterSet(const std::filesystem::path& folder, std::shared_ptr<const Manifest> manifest, const Session& session,
               std::optional<std::size_t> most_bytes);

    // Known names, those of the artifact first.
    std::vector<std::string> names() const;
    // Where a known name was read from.
    std::filesystem::path folder(const std::string& name) const;
    // The SPEC taken apart, every name known; throws Error{adapter}.
    Spec parse(const std::string& text) const;

    // Memory of all slot inputs that are kept ready.
    std::size_t n_bytes() const;
    // Read, check and pack a PEFT folder; `name` means it from now on.
    void load(const std::string& name, const std::filesystem::path& folder, bool trust);
    // Forget a name and what was made of it; throws Error{adapter} for an unknown one.
    void unload(const std::string& name);
    // Let go of everything that is kept ready.
    void clear();
    // Whether `adapter` is kept ready.
    bool holds(const SharedAdapter& adapter) const;
    // The adapter of one SPEC; throws Error{adapter} for a malformed SPEC or an unknown name.
    SharedAdapter find(const std::string& text);
    // One SPEC for each row of a batch; a shared one stays a single adapter.
    SharedAdapter find_rows(const std::vector<std::string>& texts);

  private:
    struct Source {
        std::string name;
        std::filesystem::path folder;
        bool is_trusted;  // whatever its receipt says
    };
    struct Single {
        std::string name;
        SharedAdapter adapter;
    };
    struct Mixture {
        std::vector<Spec> specs;
        SharedAdapter adapter;
    };

    SharedAdapter bound(const Spec& spec);
    SharedAdapter keep(const std::vector<Spec>& specs, const std::function<Packed()>& build);
    Packed blend(const Spec& spec);
    SharedAdapter pack(const std::string& name);
    SharedAdapter read(const Source& source) const;
    Source source(const std::string& name) const;
    void forget(const std::string& name);
    void drop_beyond_budget(const SharedAdapter& needed);

    std::shared_ptr<const Manifest> manifest_;
    const Session& session_;
    std::optional<std::size_t> most_bytes_;
    SharedAdapter none_;
    std::list<Single> single_;  // least recently used first
    std::list<Mixture> mixed_;  // likewise
    mutable std::mutex reading_;
    std::vector<Source> sources_;  // under `reading_`
};

}  // namespace edgelora
