// Choose the next token from logits: greedy, or a seeded draw that every language repeats exactly.
//
// Knows nothing about sessions, caches or text: numbers in, one token id out. `docs/format.md` is the definition.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace edgelora {

// The PCG32 generator (XSH-RR, 64-bit state), seeded as in its reference algorithm.
class Pcg32 {
  public:
    static constexpr std::uint64_t kStream = 54;

    explicit Pcg32(std::uint64_t seed, std::uint64_t stream = kStream);

    // The next 32 bits.
    std::uint32_t next();

    // A number in [0, 1) with 32 random bits.
    double uniform();

  private:
    std::uint64_t state_ = 0;
    std::uint64_t increment_;
};

// How tokens are chosen; `temperature` 0 is greedy.
struct SamplingOptions {
    double temperature = 0.0;
    std::int64_t top_k = 0;  // 0: no limit
    double top_p = 1.0;
    double min_p = 0.0;
    double repetition_penalty = 1.0;
    std::optional<std::uint64_t> seed;
};

// Throw one Error{invalid_input} with every value that is out of range.
void check_sampling(const SamplingOptions& options);

// Chooses the tokens of one row, remembering what the repetition penalty and the generator need.
class Sampler {
  public:
    // Checks `options`, too. Without a seed the generator starts anywhere.
    explicit Sampler(const SamplingOptions& options, const std::vector<std::int32_t>& prompt_ids = {},
                     std::size_t row = 0);

    // The next token for `count` logits, which are left as they were; `count` is at least 1.
    std::int32_t choose(const float* logits, std::size_t count);

  private:
    void remember(std::int32_t token);

    SamplingOptions options_;
    Pcg32 generator_;
    std::vector<bool> is_seen_;
    std::vector<std::int32_t> seen_;
    std::vector<double> scores_;  // kept from call to call for its memory
};

// Log-probabilities of `count` logits, in float64.
std::vector<double> log_softmax(const float* logits, std::size_t count);

// Indices of the `most` largest of `count` scores, largest first, the lower index first among equals.
std::vector<std::int32_t> largest(const float* scores, std::size_t count, std::size_t most);

}  // namespace edgelora
