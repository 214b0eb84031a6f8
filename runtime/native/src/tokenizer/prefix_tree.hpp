// Tokens by their beginnings: which of them stand at a place of a text.
//
// Knows nothing about scores.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace edgelora::tokenizer {

class PrefixTree {
  public:
    // Throws Error(unsupported) for a token that is longer than any vocabulary has them.
    void add(std::string_view token, std::int32_t id);

    static constexpr std::uint32_t kRoot = 0;
    static constexpr std::uint32_t kNone = 0xffffffffU;

    // The node that `byte` leads to from `node`, kNone where no token goes on that way.
    std::uint32_t step(std::uint32_t node, unsigned char byte) const;
    // The token that ends at `node`, -1 where none does.
    std::int32_t id(std::uint32_t node) const { return ids_[node]; }

  private:
    struct Slot {
        std::uint64_t key = 0;  // 0: free
        std::uint32_t node = 0;
    };
    static std::uint64_t key_of(std::uint32_t node, unsigned char byte) {
        return (std::uint64_t{node} << 8 | byte) + 1;
    }
    std::size_t place_of(std::uint64_t key) const;

    std::vector<std::int32_t> ids_{-1};
    std::vector<Slot> slots_ = std::vector<Slot>(1024);
};

}  // namespace edgelora::tokenizer
