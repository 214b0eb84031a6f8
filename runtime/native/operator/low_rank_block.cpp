#include "low_rank_block.hpp"

#include <cstring>
#include <stdexcept>
#include <string>

namespace edgelora::ops {

static constexpr int32_t largest_rank = 1 << 24;  // far beyond all that fits into memory, and no product overflows

namespace {

// Hands out one array after another, each from the next line on.
class Reader {
 public:
  Reader(const unsigned char* bytes, size_t size) : bytes_(bytes), left_(size) {}

  const unsigned char* take(size_t size) {
    const size_t taken = (size + line - 1) / line * line;
    if (taken > left_) throw std::invalid_argument("a packed adapter ends too early");
    const unsigned char* found = bytes_;
    bytes_ += taken;
    left_ -= taken;
    return found;
  }

 private:
  const unsigned char* bytes_;
  size_t left_;
};

int32_t word(const unsigned char* bytes, size_t index) {
  int32_t found;
  std::memcpy(&found, bytes + 4 * index, 4);
  return found;
}

[[noreturn]] void refuse(const char* what, int64_t found) {
  throw std::invalid_argument("a packed adapter has " + std::string(what) + " " + std::to_string(found));
}

}  // namespace

Block read_block(const unsigned char* bytes, size_t size, int64_t offset, const Layout& layout) {
  if (offset < 0 || static_cast<uint64_t>(offset) > size) refuse("offset", offset);
  if (reinterpret_cast<uintptr_t>(bytes + offset) % 4 != 0) refuse("offset", offset);  // its scales are floats
  Reader reader(bytes + offset, size - static_cast<size_t>(offset));
  const size_t count = layout.parts();
  const unsigned char* head = reader.take(4 * (4 + 2 * count));
  const int32_t kind = word(head, 0), rank = word(head, 1), parts = word(head, 2), gains = word(head, 3);
  if (kind < 0 || kind > 2) refuse("kind", kind);
  if (rank < 0 || rank > largest_rank) refuse("rank", rank);
  if (parts != static_cast<int32_t>(count)) refuse("number of parts", parts);
  if (gains != 0 && gains != 1) refuse("number of gains for a column", gains);
  Block block;
  block.kind = static_cast<Kind>(kind);
  block.rank = static_cast<size_t>(rank);
  size_t ranks = 0;
  for (size_t i = 0; i < count; ++i) {
    const int32_t start = word(head, 4 + 2 * i), own = word(head, 5 + 2 * i);
    if (start < 0 || own < 0 || start > rank || own > rank - start) refuse("ranks of a part from", start);
    block.parts[i].start = static_cast<size_t>(start);
    block.parts[i].rank = static_cast<size_t>(own);
    ranks += block.parts[i].rank;
  }
  const size_t wide = width_of(block.kind);
  const auto* scales = reinterpret_cast<const float*>(reader.take(4 * ranks));
  if (gains == 1) block.gains = reinterpret_cast<const float*>(reader.take(4 * layout.out_features()));
  block.a = reader.take(lanes(layout.in_features) * lane * block.rank * wide);
  for (size_t i = 0; i < count; ++i) {
    Part& part = block.parts[i];
    part.scales = scales;
    scales += part.rank;
    part.b = reader.take(lanes(layout.width(i)) * lane * part.rank * wide);
  }
  return block;
}

}  // namespace edgelora::ops
