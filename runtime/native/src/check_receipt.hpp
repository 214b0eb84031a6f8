// What a receipt must hold to, field by field; `docs/format.md` ("Receipt") says what the fields mean.
//
// Knows nothing about artifacts or factors. What is missing or null is unknown, and nothing is wrong with that.
#pragma once

#include <string>
#include <vector>

#include "parse_json.hpp"

namespace edgelora {

// Every field of a receipt that cannot be used, with what was expected.
std::vector<std::string> find_wrong_in_receipt(const Json& receipt);

}  // namespace edgelora
