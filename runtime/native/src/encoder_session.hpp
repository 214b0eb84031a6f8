// One call of a graph without a KV cache: rows of tokens or pixels and an adapter go in, the one output comes out.
//
// Knows nothing about text or labels; nothing remains from one call to the next.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "bound_adapter.hpp"
#include "head.hpp"
#include "open_artifact.hpp"
#include "packers.hpp"

namespace edgelora {

// Rows of equal size: token ids and what of them counts, each (rows, tokens), or pixels (rows, channels, height, width).
struct EncoderInputs {
    std::size_t rows = 0;
    std::vector<std::int64_t> ids;
    std::vector<std::int64_t> mask;
    std::vector<float> pixels;
};

// Numbers (rows, lines, width): of tags a line for each token, else one.
struct EncoderOutput {
    Memory memory;
    std::size_t lines = 1;
    std::size_t width = 0;

    const float* row(std::size_t index) const { return memory.as<float>() + index * lines * width; }
};

class EncoderSession {
  public:
    explicit EncoderSession(const Artifact& artifact);

    // Packs adapters for the graph of this session.
    const Packer& packer() const { return *packer_; }
    // What the base itself has of the head.
    const SavedTensors& base_head() const { return base_.tensors; }
    // Let go of the graph; nothing can be computed afterwards.
    void close() { graph_ = nullptr; }
    EncoderOutput run(const EncoderInputs& inputs, const SharedAdapter& adapter);

  private:
    std::shared_ptr<Graph> load(const Artifact& artifact) const;
    std::size_t width_of(const Packed& packed) const;

    std::shared_ptr<const Ort> ort_;
    std::shared_ptr<const Manifest> manifest_;
    BaseHead base_;
    std::unique_ptr<Packer> packer_;
    Names adapter_names_;
    std::shared_ptr<Graph> graph_;
};

}  // namespace edgelora
