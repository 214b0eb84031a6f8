#include "numbers.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "errors.hpp"

namespace edgelora {

void check_numbers(const float* values, std::size_t count, const std::string& name) {
    constexpr std::uint32_t infinite = 0x7f800000;
    constexpr std::uint32_t below_all = 0xff800000;  // masks of graphs may leave it
    bool are_all = true;
    for (std::size_t index = 0; index < count; ++index) {  // by their bits: a compiler does many at once
        std::uint32_t bits = 0;
        std::memcpy(&bits, values + index, sizeof bits);
        are_all = are_all & (((bits & infinite) != infinite) | (bits == below_all));
    }
    if (are_all) {
        return;
    }
    const bool has_nan = std::any_of(values, values + count, [](float value) { return std::isnan(value); });
    throw Error(Code::artifact, name + " computed " + (has_nan ? "nan" : "inf") +
                                    " where a number is due; give adapters smaller weights, or export the artifact "
                                    "again");
}

}  // namespace edgelora
