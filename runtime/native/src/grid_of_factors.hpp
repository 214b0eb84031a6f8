// Factors of 8 bits: a scale for each rank, and codes; the floats of a file are exactly their products.
//
// Knows nothing about where factors come from or go to.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace edgelora {

// Numbers with a row for each rank, row by row.
struct RankRows {
    std::size_t ranks = 0;
    std::size_t count = 0;  // numbers of a row
    std::vector<float> values;
};

struct RankCodes {
    std::vector<std::int8_t> codes;  // (ranks, count)
    std::vector<float> scales;       // (ranks,)
};

// Codes and scales whose products are exactly the rows of every side; nothing where there are none.
std::optional<std::vector<RankCodes>> find_codes(const std::vector<RankRows>& sides);

// The bits of a float16 that is exactly `value`; nothing where there is none.
std::optional<std::uint16_t> exact_half(float value);

}  // namespace edgelora
