// The functions of one instruction set, put together. Included last by its file.
#pragma once

#include "linear_floats.hpp"
#include "linear_rows.hpp"
#include "linear_tiles.hpp"

namespace edgelora::ops::in_place {
namespace {

template <class V>
void quantize(const Matrix& m, const float* x, bool tiled, const Tokens& t, int64_t token) {
  const int flip = m.bits == 8 ? V::template flip<8> : V::template flip<4>;
  round_token(m, x + token * m.columns, tiled, static_cast<uint8_t>(tiled ? flip : 0), t, token);
}

template <class V>
size_t scratch_bytes(const Matrix& m, bool in_floats) {
  return in_floats ? static_cast<size_t>(float_columns(m)) * float_rows * sizeof(float) : Tile<V>::bytes(m);
}

template <class V>
constexpr Path path(const char* name) {
  return {name, V::lanes, Tile<V>::rows, places<V>, quantize<V>, rows<V>, scratch_bytes<V>, tiles<V>, floats, widen};
}

}  // namespace
}  // namespace edgelora::ops::in_place
