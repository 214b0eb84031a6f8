// The functions of one instruction set, put together. Included last by its file.
#pragma once

#include "linear_floats.hpp"
#include "linear_round.hpp"
#include "linear_rows.hpp"
#include "linear_tiles.hpp"

namespace edgelora::ops::in_place {
namespace {

template <class V>
size_t scratch_bytes(const Matrix& m, bool in_floats) {
  return in_floats ? static_cast<size_t>(float_columns(m)) * float_rows * sizeof(float) : Tile<V>::bytes(m);
}

template <class V>
constexpr Path path(const char* name) {
  return {name,    V::lanes,         Tile<V>::rows, V::least_tiled, places<V>, quantize<V>,
          rows<V>, scratch_bytes<V>, tiles<V>,      floats,         widen,     round_row<V>};
}

}  // namespace
}  // namespace edgelora::ops::in_place
