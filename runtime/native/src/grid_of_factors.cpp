#include "grid_of_factors.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace edgelora {

namespace {

constexpr float kLargestCode = 127;
constexpr int kScaleBits = 4;      // of a scale: with the seven of a code, the product is exact in float16 as well
constexpr int kTinyExponent = -100;  // two to this: the largest number of a row that counts as zero
constexpr int kTries = 3;          // scales: the largest code of a row may be less than 127

float round_up(float scale) {
    int exponent = 0;
    const float fraction = std::frexp(scale, &exponent);  // from 0.5 to 1
    return std::ldexp(std::ceil(fraction * (1 << kScaleBits)), exponent - kScaleBits);
}

// The smallest scale of few bits with which a row has codes up to 127; 1 for a row of zeros.
float smallest_scale(const float* row, std::size_t count) {
    float largest = 0;
    for (std::size_t index = 0; index < count; ++index) {
        largest = std::max(largest, std::abs(row[index]));
    }
    return largest > std::ldexp(1.0F, kTinyExponent) ? round_up(largest / kLargestCode) : 1.0F;
}

bool write_codes(const float* row, std::size_t count, float scale, std::int8_t* codes) {
    for (std::size_t index = 0; index < count; ++index) {
        const float quotient = row[index] / scale;
        const float code = std::nearbyint(quotient);
        if (code != quotient || !(std::abs(code) <= kLargestCode)) {
            return false;
        }
        codes[index] = static_cast<std::int8_t>(code);
    }
    return true;
}

// The scale of a row with which its codes are exact; nothing where there is none.
std::optional<float> code_row(const float* row, std::size_t count, std::int8_t* codes) {
    float scale = smallest_scale(row, count);
    for (int attempt = 0; attempt < kTries; ++attempt) {
        if (write_codes(row, count, scale, codes)) {
            return scale;
        }
        scale = round_up(scale * (1.0F + 1.0F / 1024));
    }
    return std::nullopt;
}

}  // namespace

std::optional<std::vector<RankCodes>> find_codes(const std::vector<RankRows>& sides) {
    std::vector<std::int8_t> first;
    for (const RankRows& side : sides) {  // one row nearly always tells
        first.resize(side.count);
        if (side.ranks > 0 && !code_row(side.values.data(), side.count, first.data())) {
            return std::nullopt;
        }
    }
    std::vector<RankCodes> found;
    for (const RankRows& side : sides) {
        RankCodes coded{std::vector<std::int8_t>(side.ranks * side.count), std::vector<float>(side.ranks)};
        for (std::size_t rank = 0; rank < side.ranks; ++rank) {
            const std::size_t start = rank * side.count;
            const auto scale = code_row(side.values.data() + start, side.count, coded.codes.data() + start);
            if (!scale) {
                return std::nullopt;
            }
            coded.scales[rank] = *scale;
        }
        found.push_back(std::move(coded));
    }
    return found;
}

std::optional<std::uint16_t> exact_half(float value) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof(bits));
    const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000);
    const int exponent = static_cast<int>(bits >> 23 & 0xFF) - 127;
    const std::uint32_t fraction = bits & 0x7FFFFF;
    if ((bits & 0x7FFFFFFF) == 0) {
        return sign;
    }
    if (exponent > 15 || exponent < -24) {
        return std::nullopt;
    }
    if (exponent >= -14) {  // a normal number: ten bits of the fraction are left
        if ((fraction & 0x1FFF) != 0) {
            return std::nullopt;
        }
        return static_cast<std::uint16_t>(sign | (exponent + 15) << 10 | fraction >> 13);
    }
    const std::uint32_t whole = fraction | 0x800000;  // of 2 ** (exponent - 23); a subnormal counts 2 ** -24
    const int shift = -1 - exponent;
    if ((whole & ((1U << shift) - 1)) != 0) {
        return std::nullopt;
    }
    return static_cast<std::uint16_t>(sign | whole >> shift);
}

}  // namespace edgelora
