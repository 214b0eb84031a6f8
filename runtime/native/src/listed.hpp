// Entries of a manifest that are read and checked when somebody asks for them: there may be thousands.
//
// Knows nothing about what an entry says. Nothing is kept of what is read, so that threads may ask at once.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace edgelora {

// Entries in their order.
template <typename Entry>
class ListedEntries {
  public:
    ListedEntries() = default;

    // Entries that were read at once.
    explicit ListedEntries(std::vector<Entry> known)
        : read_([known](std::size_t index) { return known.at(index); }) {
        for (const Entry& entry : known) names_.push_back(entry.name);
    }

    // `read` gets the number of an entry, and throws where it is wrong.
    ListedEntries(std::vector<std::string> names, std::function<Entry(std::size_t)> read)
        : names_(std::move(names)), read_(std::move(read)) {}

    const std::vector<std::string>& names() const { return names_; }
    std::size_t size() const { return names_.size(); }
    bool empty() const { return names_.empty(); }
    Entry at(std::size_t index) const { return read_(index); }

  private:
    std::vector<std::string> names_;
    std::function<Entry(std::size_t)> read_;
};

// Where entries that nobody has read lie.
template <typename Entry>
struct UnreadEntries {
    std::function<bool(const std::string& name)> has;
    std::function<Entry(const std::string& name)> read;  // of a name that there is; throws where the entry is wrong
    std::function<std::vector<std::string>(const std::string& folder)> below;  // names that begin with a folder
    std::function<std::map<std::string, Entry>()> all;
};

// Entries by name.
template <typename Entry>
class NamedEntries {
  public:
    NamedEntries() = default;
    explicit NamedEntries(std::map<std::string, Entry> known) : known_(std::move(known)) {}
    NamedEntries(std::map<std::string, Entry> known, UnreadEntries<Entry> unread)
        : known_(std::move(known)), unread_(std::move(unread)) {}

    // Those that were read at once.
    const std::map<std::string, Entry>& known() const { return known_; }

    bool has(const std::string& name) const { return known_.count(name) != 0 || (unread_.has && unread_.has(name)); }

    // Of a name that there is; throws where the entry is wrong.
    Entry at(const std::string& name) const {
        const auto found = known_.find(name);
        return found != known_.end() || !unread_.has ? known_.at(name) : unread_.read(name);
    }

    // Names that begin with `folder`, that of an adapter with a slash behind it.
    std::vector<std::string> below(const std::string& folder) const {
        std::vector<std::string> found = unread_.has ? unread_.below(folder) : std::vector<std::string>();
        for (auto item = known_.lower_bound(folder); item != known_.end(); ++item) {
            if (item->first.compare(0, folder.size(), folder) != 0) break;
            found.push_back(item->first);
        }
        return found;
    }

    // Every entry; throws where one is wrong.
    std::map<std::string, Entry> all() const {
        std::map<std::string, Entry> found = unread_.has ? unread_.all() : std::map<std::string, Entry>();
        found.insert(known_.begin(), known_.end());
        return found;
    }

  private:
    std::map<std::string, Entry> known_;
    UnreadEntries<Entry> unread_;
};

}  // namespace edgelora
