#include "low_rank.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "choose_path.hpp"
#include "room.hpp"

namespace edgelora::ops {

namespace {

constexpr size_t most_tokens = 32;       // of a prompt that a thread takes at once
constexpr size_t worth_sharing = 40000;  // multiplications; fewer take less time than waking another thread
constexpr size_t gelu_worth = 8;         // multiplications
constexpr size_t most_shares = 4;        // of one token: more wait for each other longer than they work

// Tokens that a thread takes at once, and what acts on them: null for no adapter.
struct Tile {
  size_t first, count;
  const Span* span;
};

void cut_tiles(size_t first, size_t end, const Span* span, std::vector<Tile>& tiles) {
  for (; first < end; first += most_tokens) tiles.push_back({first, std::min(most_tokens, end - first), span});
}

// Some of the tokens of a job.
Scale cut(Scale job, size_t token, size_t tokens) {
  if (job.from != nullptr) job.from += token * job.from_stride;
  if (job.scales != nullptr) job.scales += token;
  if (job.residual != nullptr) job.residual += token * job.residual_stride;
  job.y += token * job.y_stride;
  job.tokens = tokens;
  return job;
}

size_t products_of(const Block& block, const Layout& layout) {
  size_t found = block.rank * layout.in_features;
  for (size_t i = 0; i < layout.parts(); ++i) found += block.parts[i].rank * layout.width(i);
  return found;
}

// The columns of h that a part reads, times its scales; (tokens, rank) at `to`.
void scale(const float* h, size_t h_stride, size_t tokens, const Part& part, float weight, float* to) {
  for (size_t t = 0; t < tokens; ++t) {
    const float* from = h + t * h_stride + part.start;
    for (size_t r = 0; r < part.rank; ++r) to[t * part.rank + r] = from[r] * (part.scales[r] * weight);
  }
}

size_t widest_rank(const Block& block, size_t parts) {
  size_t found = 0;
  for (size_t i = 0; i < parts; ++i) found = std::max(found, block.parts[i].rank);
  return found;
}

// Some tokens through one piece, on this thread alone; to `columns` of each part, the first time from what they scale.
void add_piece(const Path& path, const Layout& layout, const Piece& piece, const float* x,
               const std::vector<Scale>& columns, bool is_first, size_t token, size_t tokens) {
  const Block& block = piece.block;
  const size_t widest = widest_rank(block, layout.parts());
  const bool widens = block.kind != Kind::float32 && tokens >= widen_from;
  const size_t n_wide = widens ? std::max(panel * lane * lanes(layout.in_features), 2 * widest * lane) : 0;
  float* h = float_room(tokens * (block.rank + widest) + n_wide);
  float* scaled = h + tokens * block.rank;
  float* wide = scaled + tokens * widest;
  path.down({x + token * layout.in_features, layout.in_features, tokens, layout.in_features, block.a, block.kind,
             block.rank, 0, lanes(layout.in_features), h, block.rank, wide});
  for (size_t i = 0; i < layout.parts(); ++i) {
    const Part& part = block.parts[i];
    const Scale here = cut(columns[i], token, tokens);
    const bool scales = is_first && here.from != nullptr;
    if (part.rank == 0) {
      if (scales) path.scale(here);
      continue;
    }
    scale(h, block.rank, tokens, part, piece.weight, scaled);
    path.up({scaled, part.rank, tokens, part.b, block.kind, part.rank, layout.width(i), 0, lanes(layout.width(i)),
             here.y, here.y_stride, wide, scales ? &here : nullptr});
  }
}

// One token through one piece on several threads: each a share of the input features, then each a share of the columns.
void share_piece(const Call& call, const Path& path, const Layout& layout, const Piece& piece, const float* x,
                 const std::vector<Scale>& columns, size_t shares) {
  const Block& block = piece.block;
  const size_t n_in = lanes(layout.in_features);
  size_t ranks = 0;
  for (size_t i = 0; i < layout.parts(); ++i) ranks += block.parts[i].rank;
  float* h = float_room(shares * block.rank + ranks);
  auto down = [&](size_t share) {
    path.down({x, layout.in_features, 1, layout.in_features, block.a, block.kind, block.rank, n_in * share / shares,
               n_in * (share + 1) / shares, h + share * block.rank, block.rank, nullptr});
  };
  call.parallel(shares, down);
  for (size_t share = 1; share < shares; ++share) {
    for (size_t r = 0; r < block.rank; ++r) h[r] += h[share * block.rank + r];
  }
  float* scaled = h + shares * block.rank;
  size_t start = 0;
  for (size_t i = 0; i < layout.parts(); ++i) {
    scale(h, block.rank, 1, block.parts[i], piece.weight, scaled + start);
    start += block.parts[i].rank;
  }
  auto up = [&](size_t share) {
    size_t from = 0;
    for (size_t i = 0; i < layout.parts(); ++i) {
      const Part& part = block.parts[i];
      const size_t n_out = lanes(layout.width(i));
      path.up({scaled + from, part.rank, 1, part.b, block.kind, part.rank, layout.width(i), n_out * share / shares,
               n_out * (share + 1) / shares, columns[i].y, columns[i].y_stride, nullptr});
      from += part.rank;
    }
  };
  call.parallel(shares, up);
}

void add_gains(const Piece& piece, size_t columns, std::vector<float>& gains) {
  if (piece.block.gains == nullptr) return;
  gains.resize(columns, 0.0f);
  for (size_t i = 0; i < columns; ++i) gains[i] += piece.weight * piece.block.gains[i];
}

}  // namespace

void scale_with_gains(const Scale& scale, const float* gains) {
  for (size_t t = 0; t < scale.tokens; ++t) {
    float* y = scale.y + t * scale.y_stride;
    const float* from = scale.from == nullptr ? nullptr : scale.from + t * scale.from_stride;
    const float times = scale.scales == nullptr ? 1.0f : scale.scales[t];
    for (size_t n = 0; n < scale.columns; ++n) {
      const float bias = scale.bias == nullptr ? 0.0f : scale.bias[n];
      const float rest = scale.residual == nullptr ? 0.0f : scale.residual[t * scale.residual_stride + n];
      const float product = from == nullptr ? y[n] - bias : from[n] * times;
      y[n] = product * (1.0f + gains[n]) + bias + rest;
    }
  }
}

Adapters read_adapters(const Tensor& factors, const Tensor& blocks, const Tensor& weights) {
  if (factors.n_dims != 1 || blocks.n_dims != 3 || weights.n_dims != 2) {
    throw std::invalid_argument("expected factors [bytes], blocks [rows, pieces, slots] and weights [rows, pieces]");
  }
  if (weights.dims[0] != blocks.dims[0] || weights.dims[1] != blocks.dims[1]) {
    throw std::invalid_argument("blocks and weights have different numbers of rows or pieces");
  }
  Adapters found;
  found.bytes = factors.as<unsigned char>();
  found.size = static_cast<size_t>(factors.dims[0]);
  found.blocks = blocks.as<int64_t>();
  found.weights = weights.as<float>();
  found.rows = static_cast<size_t>(blocks.dims[0]);
  found.pieces = static_cast<size_t>(blocks.dims[1]);
  found.slots = static_cast<size_t>(blocks.dims[2]);
  return found;
}

const Path& find_path(const std::string& name) {
  static const Path* const known[] = {
#if defined(__x86_64__) || defined(__i386__)
      &avx512_path, &avx2_path,
#elif defined(__aarch64__)
      &neon_path,
#endif
      &plain_path,
  };
  return choose_path(known, name);
}

LowRank::LowRank(Layout layout, size_t slot, const Path& path, bool gelu)
    : layout_(std::move(layout)), slot_(slot), path_(&path), gelu_(gelu) {}

std::vector<Span> LowRank::spans(const Adapters& adapters, size_t rows) const {
  if (adapters.rows != 1 && adapters.rows != rows) throw std::invalid_argument("blocks have other rows than the input");
  if (adapters.slots <= slot_) throw std::invalid_argument("blocks have fewer slots than the graph");
  std::vector<Span> spans;
  const size_t step = adapters.pieces * adapters.slots;
  for (size_t row = 0; row < adapters.rows; ++row) {
    const int64_t* blocks = adapters.blocks + row * step + slot_;
    const float* weights = adapters.weights + row * adapters.pieces;
    bool is_same = row > 0;
    for (size_t i = 0; is_same && i < adapters.pieces; ++i) {
      const size_t place = i * adapters.slots;
      is_same = blocks[place] == (blocks - step)[place] && weights[i] == (weights - adapters.pieces)[i];
    }
    const size_t count = adapters.rows == 1 ? rows : 1;
    if (is_same) {
      spans.back().count += count;
      continue;
    }
    Span span{row, count, {}, 0};
    for (size_t i = 0; i < adapters.pieces; ++i) {
      const int64_t offset = blocks[i * adapters.slots];
      if (offset < 0) continue;
      const Piece piece{read_block(adapters.bytes, adapters.size, offset, layout_), weights[i]};
      if (piece.block.rank == 0) continue;
      span.products += products_of(piece.block, layout_);
      add_gains(piece, layout_.out_features(), span.gains);
      span.pieces.push_back(piece);
    }
    spans.push_back(std::move(span));
  }
  const auto is_none = [](const Span& span) { return span.products == 0 || span.count == 0; };
  spans.erase(std::remove_if(spans.begin(), spans.end(), is_none), spans.end());
  return spans;
}

void LowRank::add(const Call& call, const std::vector<Span>& spans, const float* x, float* y, size_t tokens,
                  const float* bias) const {
  Scale nothing;
  nothing.y = y;
  nothing.bias = bias;
  nothing.y_stride = layout_.out_features();
  scale_and_add(call, spans, x, nothing, tokens);
}

void LowRank::begin(const std::vector<Scale>& columns, const Span& span, size_t token, size_t tokens) const {
  for (size_t i = 0; i < columns.size(); ++i) {
    const Scale here = cut(columns[i], token, tokens);
    if (!span.gains.empty()) {
      scale_with_gains(here, span.gains.data() + layout_.columns[i]);
    } else if (here.from != nullptr) {
      path_->scale(here);
    }
  }
}

void LowRank::finish(const std::vector<Scale>& columns, size_t token, size_t tokens) const {
  if (!gelu_) return;
  for (const Scale& part : columns) {
    path_->gelu({part.y + token * part.y_stride, part.y_stride, tokens, part.columns});
  }
}

void LowRank::scale_and_add(const Call& call, const std::vector<Span>& spans, const float* x, const Scale& scale,
                            size_t tokens, const std::vector<float*>& parts) const {
  std::vector<Scale> columns(layout_.parts(), scale);
  for (size_t i = 0; i < columns.size(); ++i) {
    const size_t begin = layout_.columns[i];
    columns[i].columns = layout_.width(i);
    columns[i].y = parts.empty() ? scale.y + begin : parts[i];
    columns[i].y_stride = parts.empty() ? scale.y_stride : layout_.width(i);
    if (scale.from != nullptr) columns[i].from += begin;
    if (scale.bias != nullptr) columns[i].bias += begin;
    if (scale.residual != nullptr) columns[i].residual += begin;
  }
  std::vector<Tile> tiles;
  size_t work = scale.tokens * layout_.out_features() * (gelu_ ? gelu_worth : 1), end = 0;
  for (const Span& span : spans) {
    const size_t first = span.row * tokens, count = span.count * tokens;
    if (end < scale.tokens) cut_tiles(end, first, nullptr, tiles);
    cut_tiles(first, first + count, &span, tiles);
    work += span.products * count;
    end = first + count;
  }
  if (end < scale.tokens) cut_tiles(end, scale.tokens, nullptr, tiles);
  if (tiles.size() == 1 && tiles.front().count == 1 && work >= 2 * worth_sharing && tiles.front().span != nullptr) {
    const size_t token = tiles.front().first, shares = std::min(most_shares, work / worth_sharing);
    begin(columns, *tiles.front().span, token, 1);
    for (Scale& part : columns) part = cut(part, token, 1);
    for (const Piece& piece : tiles.front().span->pieces) {
      share_piece(call, *path_, layout_, piece, x + token * layout_.in_features, columns, shares);
    }
    finish(columns, token, 1);
    return;
  }
  auto task = [&](size_t index) {
    const Tile& tile = tiles[index];
    if (tile.span == nullptr) {
      for (const Scale& part : columns) path_->scale(cut(part, tile.first, tile.count));
    } else {
      const std::vector<Piece>& pieces = tile.span->pieces;
      const bool is_begun = !tile.span->gains.empty();  // they multiply before anything is added
      if (is_begun) begin(columns, *tile.span, tile.first, tile.count);
      for (size_t i = 0; i < pieces.size(); ++i) {
        add_piece(*path_, layout_, pieces[i], x, columns, i == 0 && !is_begun, tile.first, tile.count);
      }
    }
    finish(columns, tile.first, tile.count);
  };
  if (work < worth_sharing) {
    for (size_t i = 0; i < tiles.size(); ++i) task(i);
  } else {
    call.parallel(tiles.size(), task);
  }
}

}  // namespace edgelora::ops
