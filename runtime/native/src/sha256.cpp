#include "sha256.hpp"

#include <algorithm>
#include <cstring>

#include "sha256_blocks.hpp"

namespace edgelora {
namespace {

constexpr std::size_t kBlock = 64;  // bytes

std::uint32_t turned(std::uint32_t value, int bits) { return value >> bits | value << (32 - bits); }

void take_block(std::uint32_t* state, const unsigned char* block) {
    std::uint32_t words[64];
    for (int index = 0; index < 16; index++) {
        const unsigned char* word = block + 4 * index;
        words[index] = static_cast<std::uint32_t>(word[0]) << 24 | static_cast<std::uint32_t>(word[1]) << 16 |
                       static_cast<std::uint32_t>(word[2]) << 8 | word[3];
    }
    for (int index = 16; index < 64; index++) {
        const std::uint32_t one = words[index - 15], two = words[index - 2];
        words[index] = words[index - 16] + (turned(one, 7) ^ turned(one, 18) ^ one >> 3) + words[index - 7] +
                       (turned(two, 17) ^ turned(two, 19) ^ two >> 10);
    }
    std::uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    std::uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (int index = 0; index < 64; index++) {
        const std::uint32_t one = h + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) + ((e & f) ^ (~e & g)) +
                                  kSha256Round[index] + words[index];
        const std::uint32_t two = (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
        h = g;
        g = f;
        f = e;
        e = d + one;
        d = c;
        c = b;
        b = a;
        a = one + two;
    }
    const std::uint32_t mixed[8] = {a, b, c, d, e, f, g, h};
    for (int index = 0; index < 8; index++) state[index] += mixed[index];
}

void take_in_words(std::uint32_t* state, const unsigned char* data, std::size_t n_blocks) {
    for (; n_blocks > 0; n_blocks--, data += kBlock) take_block(state, data);
}

}  // namespace

Sha256::Sha256(bool use_instructions) {
    static const TakeBlocks instructions = find_sha256_instructions();
    take_blocks_ = use_instructions && instructions != nullptr ? instructions : take_in_words;
}

void Sha256::update(std::string_view bytes) {
    n_bytes_ += bytes.size();
    const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
    std::size_t left = bytes.size();
    while (left > 0) {
        if (n_waiting_ == 0 && left >= kBlock) {
            take_blocks_(state_.data(), data, left / kBlock);
            data += left - left % kBlock;
            left %= kBlock;
            continue;
        }
        const std::size_t taken = std::min(left, kBlock - n_waiting_);
        std::memcpy(waiting_.data() + n_waiting_, data, taken);
        data += taken;
        left -= taken;
        n_waiting_ += taken;
        if (n_waiting_ == kBlock) {
            take_blocks_(state_.data(), waiting_.data(), 1);
            n_waiting_ = 0;
        }
    }
}

std::string Sha256::finish() {
    const std::uint64_t n_bits = n_bytes_ * 8;
    std::string tail(1, '\x80');
    tail.append((64 + 56 - (n_waiting_ + 1) % 64) % 64, '\0');
    for (int shift = 56; shift >= 0; shift -= 8) tail.push_back(static_cast<char>(n_bits >> shift & 0xff));
    update(tail);
    std::string digest;
    for (const std::uint32_t word : state_) {
        for (int shift = 28; shift >= 0; shift -= 4) digest.push_back("0123456789abcdef"[word >> shift & 0xf]);
    }
    return digest;
}

std::string sha256(std::string_view bytes) {
    Sha256 digest;
    digest.update(bytes);
    return digest.finish();
}

}  // namespace edgelora
