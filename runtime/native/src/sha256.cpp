#include "sha256.hpp"

#include <algorithm>
#include <cstring>

namespace edgelora {
namespace {

// The first 32 bits of the fractions of the cube roots of the first 64 primes.
constexpr std::uint32_t kRound[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

std::uint32_t turned(std::uint32_t value, int bits) { return value >> bits | value << (32 - bits); }

}  // namespace

void Sha256::update(std::string_view bytes) {
    n_bytes_ += bytes.size();
    const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
    std::size_t left = bytes.size();
    while (left > 0) {
        if (n_waiting_ == 0 && left >= waiting_.size()) {
            take_block(data);
            data += waiting_.size();
            left -= waiting_.size();
            continue;
        }
        const std::size_t taken = std::min(left, waiting_.size() - n_waiting_);
        std::memcpy(waiting_.data() + n_waiting_, data, taken);
        data += taken;
        left -= taken;
        n_waiting_ += taken;
        if (n_waiting_ == waiting_.size()) {
            take_block(waiting_.data());
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

void Sha256::take_block(const unsigned char* block) {
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
    auto [a, b, c, d, e, f, g, h] = state_;
    for (int index = 0; index < 64; index++) {
        const std::uint32_t one = h + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) + ((e & f) ^ (~e & g)) +
                                  kRound[index] + words[index];
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
    for (std::size_t index = 0; index < state_.size(); index++) state_[index] += mixed[index];
}

std::string sha256(std::string_view bytes) {
    Sha256 digest;
    digest.update(bytes);
    return digest.finish();
}

}  // namespace edgelora
