// Keep what onnxruntime makes of a graph on the device, so that later loads map it instead of making it again.
//
// Knows nothing about tokens or adapters: one folder for each graph, weights, onnxruntime and processor. Opt-in, because
// an entry takes two to three times the bytes of the weights on disk.
#pragma once

#include <filesystem>
#include <string>

#include "manifest.hpp"
#include "ort.hpp"

namespace edgelora {

// Where one graph is kept; the folder's name says for which graph, weights, onnxruntime and processor.
struct CacheEntry {
    std::filesystem::path folder;
    std::string source;      // the graph file that it was made from: another entry of the same one is out of date
    bool is_hashed = false;  // whether every byte is looked at before it is used, or sizes alone
};

// The entry, there already or not, for `file`, a graph of the artifact. Throws Error{invalid_input} where the folder
// `cache` cannot be written to.
CacheEntry find_entry(const std::filesystem::path& cache, const std::filesystem::path& artifact,
                      const Manifest& manifest, const std::string& file, bool hashes, const Ort& ort);

// Whether the files are those that were written; the graph is always read, the weights only when asked for.
bool is_whole(const CacheEntry& entry);

// The optimized graph of an entry.
std::filesystem::path graph_of(const CacheEntry& entry);

// An entry that is being made: a folder beside its place, which is gone unless `keep` puts it there.
class FreshEntry {
  public:
    explicit FreshEntry(const CacheEntry& entry);
    FreshEntry(const FreshEntry&) = delete;
    FreshEntry& operator=(const FreshEntry&) = delete;
    ~FreshEntry();

    // Have onnxruntime write the graph there while it loads it.
    void prepare(const Ort& ort, OrtSessionOptions* options) const;
    // Say in the entry what its files are, put it in place of the old one, and remove those of the same graph that it
    // takes the place of. A disk that is full leaves no entry.
    void keep();

  private:
    const CacheEntry& entry_;
    std::filesystem::path folder_;
};

}  // namespace edgelora
