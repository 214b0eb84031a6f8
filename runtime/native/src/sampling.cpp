#include "sampling.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>
#include <string>

#include "parse_json.hpp"

namespace edgelora {
namespace {

constexpr std::uint64_t kMultiplier = 6364136223846793005u;
constexpr std::size_t kFirstCandidates = 128;  // almost every draw ends within these
constexpr double kRoughness = 1e-4;            // the rough sum of all weights is nearer than that to the exact one
constexpr double kLeastRoughTemperature = 1e-6;
constexpr std::int64_t kBeyond = -1;

std::uint64_t system_seed() {
    std::random_device device;
    return static_cast<std::uint64_t>(device()) << 32 | device();
}

template <typename Score>
std::size_t largest_index(const Score* scores, std::size_t count) {
    return static_cast<std::size_t>(std::max_element(scores, scores + count) - scores);
}

template <typename Score>
std::vector<std::int32_t> find_largest(const Score* scores, std::size_t count, std::size_t most) {
    const auto is_before = [scores](std::int32_t one, std::int32_t other) {
        return scores[one] != scores[other] ? scores[one] > scores[other] : one < other;
    };
    const std::size_t wanted = std::min(most, count);
    std::vector<std::int32_t> kept(wanted);
    std::iota(kept.begin(), kept.end(), 0);
    // A heap whose top is the worst of those kept: nearly every score is told by one comparison with it.
    std::make_heap(kept.begin(), kept.end(), is_before);
    for (std::size_t index = wanted; index < count && wanted > 0; index++) {
        if (!(scores[index] > scores[kept.front()])) continue;
        std::pop_heap(kept.begin(), kept.end(), is_before);
        kept.back() = static_cast<std::int32_t>(index);
        std::push_heap(kept.begin(), kept.end(), is_before);
    }
    std::sort_heap(kept.begin(), kept.end(), is_before);
    return kept;
}

// exp(x) for x up to 0 within 1e-6 of itself, in operations that a compiler does for many numbers at once.
inline float rough_exp(float x) {
    const float scaled = std::max(-87.0f, x) * 1.44269504f;  // in this order NaN becomes -87
    const auto whole = static_cast<std::int32_t>(scaled - 0.5f);
    const float rest = scaled - static_cast<float>(whole);  // -0.5 to 0.5
    const float power =
        1.0f +
        rest * (0.693147182f +
                rest * (0.240226507f + rest * (0.0555041087f + rest * (0.00961812911f + rest * 0.00133335581f))));
    const std::int32_t bits = (whole + 127) << 23;
    float two = 0;
    std::memcpy(&two, &bits, sizeof two);
    return power * two;
}

// The sum of all weights within kRoughness of itself, at a small part of the cost of float64.
template <typename Score>
double rough_total(const Score* scores, std::size_t count, double peak, double temperature) {
    constexpr std::size_t kChunk = 256, kLanes = 16;
    const auto best = static_cast<Score>(peak);
    const auto factor = static_cast<float>(1.0 / temperature);
    double total = 0;
    for (std::size_t start = 0; start < count; start += kChunk) {
        const std::size_t end = std::min(count, start + kChunk);
        float lanes[kLanes] = {};
        std::size_t index = start;
        for (; index + kLanes <= end; index += kLanes) {
            for (std::size_t lane = 0; lane < kLanes; lane++) {
                lanes[lane] += rough_exp(static_cast<float>(scores[index + lane] - best) * factor);
            }
        }
        for (; index < end; index++) lanes[0] += rough_exp(static_cast<float>(scores[index] - best) * factor);
        for (const float lane : lanes) total += static_cast<double>(lane);
    }
    return total;
}

template <typename Score>
double weight_of(Score score, double peak, double temperature) {
    return std::exp((static_cast<double>(score) - peak) / temperature);
}

// Index of the drawn candidate among falling `weights`; kBeyond where the answer may lie beyond them.
std::int64_t pick(const std::vector<double>& weights, double total, double uniform, const SamplingOptions& options,
                  bool is_all) {
    std::vector<double> cumulated(weights.size());
    std::partial_sum(weights.begin(), weights.end(), cumulated.begin());
    std::size_t kept = weights.size();
    if (options.top_p < 1.0) {
        const double wanted = options.top_p * total;
        if (!is_all && cumulated.back() < wanted) return kBeyond;
        const auto reached = std::lower_bound(cumulated.begin(), cumulated.end(), wanted) - cumulated.begin();
        kept = std::min(kept, static_cast<std::size_t>(reached) + 1);
    }
    if (options.min_p > 0.0) {
        const double least = options.min_p * weights[0];
        const auto n_likely = static_cast<std::size_t>(
            std::count_if(weights.begin(), weights.end(), [least](double weight) { return weight >= least; }));
        if (!is_all && n_likely == weights.size() && kept == weights.size()) return kBeyond;
        kept = std::max<std::size_t>(1, std::min(kept, n_likely));  // none is likely among what is no number
    }
    const bool is_cut = options.top_p < 1.0 || options.min_p > 0.0;
    const double mass = is_cut ? cumulated[kept - 1] : total;
    const auto end = cumulated.begin() + static_cast<std::ptrdiff_t>(kept);
    const auto index = static_cast<std::size_t>(std::upper_bound(cumulated.begin(), end, uniform * mass) -
                                                cumulated.begin());
    if (index == kept && kept == weights.size() && !is_all) return kBeyond;
    return static_cast<std::int64_t>(std::min(index, kept - 1));
}

template <typename Score>
std::int32_t draw(const Score* scores, std::size_t count, double uniform, const SamplingOptions& options) {
    const double peak = static_cast<double>(scores[largest_index(scores, count)]);
    const double temperature = options.temperature;
    const auto weigh = [&](const std::vector<std::int32_t>& order) {
        std::vector<double> weights(order.size());
        for (std::size_t index = 0; index < order.size(); index++) {
            weights[index] = weight_of(scores[order[index]], peak, temperature);
        }
        return weights;
    };
    if (options.top_k > 0 && static_cast<std::uint64_t>(options.top_k) < count) {
        const auto order = find_largest(scores, count, static_cast<std::size_t>(options.top_k));
        const auto weights = weigh(order);
        const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
        return order[static_cast<std::size_t>(pick(weights, total, uniform, options, true))];
    }
    auto order = find_largest(scores, count, kFirstCandidates);
    auto weights = weigh(order);
    if (count > kFirstCandidates && temperature >= kLeastRoughTemperature) {
        const double total = rough_total(scores, count, peak, temperature);
        // The pick never moves back as the total grows: what both bounds pick, the exact total picks too.
        const std::int64_t low = pick(weights, total * (1 - kRoughness), uniform, options, false);
        const std::int64_t high = pick(weights, total * (1 + kRoughness), uniform, options, false);
        if (low >= 0 && low == high) return order[static_cast<std::size_t>(low)];
    }
    double total = 0;
    for (std::size_t index = 0; index < count; index++) total += weight_of(scores[index], peak, temperature);
    for (;;) {
        const std::int64_t index = pick(weights, total, uniform, options, order.size() == count);
        if (index >= 0) return order[static_cast<std::size_t>(index)];
        order = find_largest(scores, count, order.size() * 16);
        weights = weigh(order);
    }
}

}  // namespace

Pcg32::Pcg32(std::uint64_t seed, std::uint64_t stream) : increment_(stream << 1 | 1) {
    next();
    state_ += seed;
    next();
}

std::uint32_t Pcg32::next() {
    const std::uint64_t old = state_;
    state_ = old * kMultiplier + increment_;
    const auto shifted = static_cast<std::uint32_t>(((old >> 18) ^ old) >> 27);
    const auto rotation = static_cast<std::uint32_t>(old >> 59);
    return shifted >> rotation | shifted << (-rotation & 31);
}

double Pcg32::uniform() { return next() / 4294967296.0; }

void check_sampling(const SamplingOptions& options) {
    std::vector<std::string> wrong;
    const auto refuse = [&](const char* name, const Json& value, const char* expected) {
        wrong.push_back(name + (" is " + show(value)) + ", expected " + expected);
    };
    const auto is_within = [](double value, double low, double high) {
        return std::isfinite(value) && value >= low && value <= high;
    };
    if (!is_within(options.temperature, 0, HUGE_VAL)) refuse("temperature", options.temperature, "a number from 0");
    if (options.top_k < 0) refuse("top_k", options.top_k, "a whole number from 0 (0: no limit)");
    if (!is_within(options.top_p, 0, 1) || options.top_p == 0) {
        refuse("top_p", options.top_p, "a number above 0 and up to 1");
    }
    if (!is_within(options.min_p, 0, 1)) refuse("min_p", options.min_p, "a number from 0 to 1");
    if (!is_within(options.repetition_penalty, 0, HUGE_VAL) || options.repetition_penalty == 0) {
        refuse("repetition_penalty", options.repetition_penalty, "a number above 0 (1: no penalty)");
    }
    if (!wrong.empty()) throw Error(Code::invalid_input, join_some(wrong));
}

Sampler::Sampler(const SamplingOptions& options, const std::vector<std::int32_t>& prompt_ids, std::size_t row)
    : options_(options), generator_(options.seed ? *options.seed : system_seed(), Pcg32::kStream + row) {
    check_sampling(options);
    if (options.repetition_penalty == 1.0) return;
    for (const std::int32_t id : prompt_ids) remember(id);
}

std::int32_t Sampler::choose(const float* logits, std::size_t count) {
    const bool is_greedy = options_.temperature == 0;
    const auto choose_from = [&](const auto* scores) {
        return is_greedy ? static_cast<std::int32_t>(largest_index(scores, count))
                         : draw(scores, count, generator_.uniform(), options_);
    };
    const double penalty = options_.repetition_penalty;
    if (penalty == 1.0) return choose_from(logits);
    scores_.assign(logits, logits + count);
    for (const std::int32_t id : seen_) {
        if (static_cast<std::size_t>(id) >= count) continue;
        double& score = scores_[static_cast<std::size_t>(id)];
        score = score > 0 ? score / penalty : score * penalty;
    }
    const std::int32_t token = choose_from(scores_.data());
    remember(token);
    return token;
}

void Sampler::remember(std::int32_t token) {
    if (token < 0) return;
    const auto index = static_cast<std::size_t>(token);
    if (index >= is_seen_.size()) is_seen_.resize(index + 1);
    if (is_seen_[index]) return;
    is_seen_[index] = true;
    seen_.push_back(token);
}

std::vector<double> log_softmax(const float* logits, std::size_t count) {
    std::vector<double> shifted(logits, logits + count);
    const double peak = static_cast<double>(logits[largest_index(logits, count)]);
    double total = 0;
    for (double& value : shifted) {
        value -= peak;
        total += std::exp(value);
    }
    const double shift = std::log(total);
    for (double& value : shifted) value -= shift;
    return shifted;
}

std::vector<std::int32_t> largest(const float* scores, std::size_t count, std::size_t most) {
    return find_largest(scores, count, most);
}

}  // namespace edgelora
