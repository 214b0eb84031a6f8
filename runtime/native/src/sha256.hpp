// SHA-256 as FIPS 180-4 defines it.
//
// Knows nothing about files: bytes go in, piece by piece, and 64 hexadecimal digits come out.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace edgelora {

class Sha256 {
  public:
    // Without `use_instructions` in the words of the standard, also where the processor has instructions for it.
    explicit Sha256(bool use_instructions = true);

    void update(std::string_view bytes);

    // The digest of all that was given, in lower-case digits; nothing may be given after it.
    std::string finish();

  private:
    void (*take_blocks_)(std::uint32_t* state, const unsigned char* data, std::size_t n_blocks);
    std::array<std::uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                           0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    std::array<unsigned char, 64> waiting_ = {};
    std::size_t n_waiting_ = 0;
    std::uint64_t n_bytes_ = 0;
};

// The digest of a text: the identity of a tokenizer or a chat template.
std::string sha256(std::string_view bytes);

}  // namespace edgelora
