#include "low_rank_steps.hpp"

#include <algorithm>
#include <thread>

namespace edgelora::ops {

static constexpr int patience = 2000;  // looks at a counter, some microseconds, before another thread may have the core

Steps::Steps(const LowRank& low_rank, const std::vector<Span>& spans, const float* x, size_t tokens, const float* bias)
    : low_rank_(&low_rank), spans_(&spans), x_(x), bias_(bias), tokens_(tokens) {
  size_t floats = 0;
  for (const Span& span : spans) {
    for (const Piece& piece : span.pieces) {
      const Block& block = piece.block;
      Job job{&piece, span.row * tokens, span.count * tokens, (block.rank + panel - 1) / panel, floats, 0};
      job.scaled = job.h + job.tokens * block.rank;
      floats = job.scaled;
      for (size_t i = 0; i < low_rank.layout().parts(); ++i) floats += job.tokens * block.parts[i].rank;
      panels_ += job.panels;
      jobs_.push_back(job);
    }
  }
  memory_.resize(floats);
}

bool Steps::can_cut(const Layout& layout) {
  return std::all_of(layout.columns.begin(), layout.columns.end() - 1, [](size_t begin) { return begin % lane == 0; });
}

void Steps::work() {
  while (begun_.load(std::memory_order_relaxed) < panels_) {
    const size_t index = begun_.fetch_add(1, std::memory_order_relaxed);
    if (index >= panels_) return;
    down(index);
    done_.fetch_add(1, std::memory_order_release);
  }
}

void Steps::wait() const {
  for (int looks = 0; done_.load(std::memory_order_acquire) < panels_; ++looks) {
    if (looks > patience) std::this_thread::yield();
  }
}

void Steps::down(size_t index) {
  const auto* job = jobs_.data();
  for (; index >= job->panels; ++job) index -= job->panels;
  const Layout& layout = low_rank_->layout();
  const Block& block = job->piece->block;
  const size_t k = layout.in_features, first = index * panel, ranks = std::min(panel, block.rank - first);
  const size_t bytes = lanes(k) * lane * width_of(block.kind);  // of one rank
  float* h = memory_.data() + job->h;
  float* scaled = memory_.data() + job->scaled;
  for (size_t t = 0; t < job->tokens; ++t) {
    low_rank_->path().down({x_ + (job->token + t) * k, k, 1, k, block.a + first * bytes, block.kind, ranks, 0, lanes(k),
                            h + t * block.rank + first, block.rank, nullptr});
  }
  for (size_t i = 0; i < layout.parts(); ++i) {
    const Part& part = block.parts[i];
    const size_t from = std::max(first, part.start), to = std::min(first + ranks, part.start + part.rank);
    for (size_t t = 0; t < job->tokens; ++t) {
      for (size_t r = from; r < to; ++r) {
        const float scale = part.scales[r - part.start] * job->piece->weight;
        scaled[t * part.rank + r - part.start] = h[t * block.rank + r] * scale;
      }
    }
    scaled += job->tokens * part.rank;
  }
}

void Steps::up(float* y, size_t first, size_t last) const {
  const Layout& layout = low_rank_->layout();
  const size_t n = layout.out_features();
  for (const Span& span : *spans_) {
    if (span.gains.empty()) continue;
    Scale there;
    there.y = y + span.row * tokens_ * n + first;
    there.y_stride = n;
    there.tokens = span.count * tokens_;
    there.columns = last - first;
    there.bias = bias_ == nullptr ? nullptr : bias_ + first;
    scale_with_gains(there, span.gains.data() + first);
  }
  for (const Job& job : jobs_) {
    const Block& block = job.piece->block;
    const float* scaled = memory_.data() + job.scaled;
    for (size_t i = 0; i < layout.parts(); ++i) {
      const Part& part = block.parts[i];
      const size_t begin = layout.columns[i];
      const size_t from = std::max(first, begin), to = std::min(last, layout.columns[i + 1]);
      if (from < to && part.rank > 0) {
        for (size_t t = 0; t < job.tokens; ++t) {
          low_rank_->path().up({scaled + t * part.rank, part.rank, 1, part.b, block.kind, part.rank, layout.width(i),
                                (from - begin) / lane, lanes(to - begin), y + (job.token + t) * n + begin, n, nullptr});
        }
      }
      scaled += job.tokens * part.rank;
    }
  }
}

}  // namespace edgelora::ops
