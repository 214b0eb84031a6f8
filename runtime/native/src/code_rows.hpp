// Factors that a file holds as codes of 8 bits: a row for each rank, with its scale behind the codes.
//
// Knows nothing about names: a tensor, and the numbers that it stands for.
#pragma once

#include <string>
#include <vector>

#include "safetensors.hpp"

namespace edgelora {

// Whether it is I8 (rank, n + 4, 1) with a rank and n of 1 or more: n codes and the four bytes of a float32 in a row.
bool are_code_rows(const StoredTensor& tensor);

// What is wrong with a scale or a code of such a tensor, to be told behind its name; empty where nothing is.
std::string find_wrong_codes(const StoredTensor& tensor);

// The numbers of such a tensor: code times scale, (rank, n) or `transposed` (n, rank), row by row.
std::vector<float> widen_codes(const StoredTensor& tensor, bool transposed);

}  // namespace edgelora
