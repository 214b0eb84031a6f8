// The tokens of a tokenizer and their ids, both ways.
//
// Knows nothing about how a text becomes tokens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <string>

namespace edgelora::tokenizer {

class Vocabulary {
  public:
    // Puts a token in; one that is there already gets the new id. Throws Error(artifact) for texts that collide on
    // purpose. Memory grows with the tokens, however large their ids are.
    void add(std::string_view token, std::int32_t id);

    std::optional<std::int32_t> find(std::string_view token) const;
    std::optional<std::string_view> token(std::int32_t id) const;
    std::size_t size() const { return entries_.size(); }
    std::size_t longest() const { return longest_; }  // bytes of the longest token

    template <typename Function>
    void for_each(Function function) const {
        for (const Entry& entry : entries_) function(text_of(entry), entry.id);
    }

  private:
    struct Entry {
        std::size_t start;
        std::uint32_t length;
        std::int32_t id;
    };

    std::string_view text_of(const Entry& entry) const {
        return std::string_view(texts_).substr(entry.start, entry.length);
    }
    std::size_t place_of(std::string_view token, std::size_t hash) const;
    void grow();

    std::string texts_;
    std::vector<Entry> entries_;
    std::vector<std::uint32_t> places_;  // by hash: 1 + an index of entries_, or 0
    std::vector<std::uint32_t> by_id_;   // 1 + an index of entries_, or 0; ids that are too large stand in others_
    std::unordered_map<std::int32_t, std::uint32_t> others_;
    std::size_t longest_ = 0;
};

}  // namespace edgelora::tokenizer
