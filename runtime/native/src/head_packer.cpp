// The packer of models with a head: slots as another packer does it, and the tensors of the head behind them.
#include <algorithm>
#include <cmath>
#include <utility>

#include "head.hpp"
#include "packers.hpp"

namespace edgelora {

namespace {

constexpr double kNoWeight = 1e-9;

// Sizes of an input for one row, in and out; a size of 0 stays 0.
std::pair<std::int64_t, std::int64_t> fed_sizes(const HeadTensor& item, const std::vector<std::int64_t>& sizes) {
    return item.sizes.size() == 2 ? std::pair(sizes[1], sizes[0]) : std::pair(std::int64_t{1}, sizes[0]);
}

// An input (rows, in, out) of zeros, to be written to.
PackedInput make_input(std::size_t rows, std::int64_t in, std::int64_t out, float** values) {
    const std::size_t width = checked_product(static_cast<std::size_t>(in), static_cast<std::size_t>(out));
    auto memory = std::make_shared<Memory>(checked_product(checked_product(rows, width), sizeof(float)));
    *values = memory->as<float>();
    return {std::move(memory), 0, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, {static_cast<std::int64_t>(rows), in, out}, true};
}

class HeadPacker : public Packer {
  public:
    HeadPacker(std::unique_ptr<Packer> slots, std::vector<HeadTensor> head, BaseHead base, bool has_base_head)
        : slots_(std::move(slots)), head_(std::move(head)), base_(std::move(base)), first_(slots_->names().size()) {
        if (has_base_head) none_ = pack_head(base_.tensors);
    }

    Names names() const override {
        Names names = slots_->names();
        for (const HeadTensor& item : head_) names.push_back(item.input);
        return names;
    }

    std::vector<ValueType> types() const override {
        std::vector<ValueType> types = slots_->types();
        const auto known = [](std::int64_t size) { return size == 0 ? std::nullopt : std::optional(size); };
        for (const HeadTensor& item : head_) {
            const auto [in, out] = fed_sizes(item, item.sizes);
            types.push_back({ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, {std::nullopt, known(in), known(out)}});
        }
        return types;
    }

    Packed pack(const Adapter& adapter) const override {
        return with(slots_->pack(adapter), pack_head(joined_head(adapter, base_.tensors)));
    }

    // Heads by their share of the weights; no parts have the base's own head, or none where it has no whole one.
    Packed blend(const WeightedParts& parts) const override {
        return with(slots_->blend(parts), parts.empty() ? none_ : blend_heads(parts));
    }

    // Zeros up to the largest number of labels.
    Packed stack(const std::vector<const Packed*>& rows) const override {
        std::vector<PackedInput> inputs;
        for (std::size_t index = 0; index < head_.size(); ++index) {
            std::int64_t in = 0, out = 0;
            for (const Packed* row : rows) {
                in = std::max(in, of_head(*row, index).shape[1]);
                out = std::max(out, of_head(*row, index).shape[2]);
            }
            float* to = nullptr;
            inputs.push_back(make_input(rows.size(), in, out, &to));
            for (const Packed* row : rows) {
                const PackedInput& own = of_head(*row, index);
                const float* from = own.as<float>();
                for (std::int64_t line = 0; line < own.shape[1]; ++line, from += own.shape[2]) {
                    std::copy_n(from, own.shape[2], to + line * out);
                }
                to += in * out;
            }
        }
        return with(slots_->stack(rows), std::move(inputs));
    }

  private:
    static Packed with(Packed packed, std::vector<PackedInput> head) {
        packed.inputs.insert(packed.inputs.end(), head.begin(), head.end());
        return packed;
    }

    const PackedInput& of_head(const Packed& packed, std::size_t index) const { return packed.inputs[first_ + index]; }

    std::vector<PackedInput> pack_head(const SavedTensors& tensors) const {
        std::vector<PackedInput> inputs;
        for (const HeadTensor& item : head_) {
            const SavedTensor& tensor = tensors.at(item.tensor);
            const auto [in, out] = fed_sizes(item, tensor.shape);
            float* to = nullptr;
            inputs.push_back(make_input(1, in, out, &to));
            for (std::int64_t row = 0; row < out; ++row) {
                for (std::int64_t column = 0; column < in; ++column) {
                    to[column * out + row] = tensor.values[row * in + column];
                }
            }
        }
        return inputs;
    }

    std::vector<PackedInput> blend_heads(const WeightedParts& parts) const {
        const auto first = static_cast<std::ptrdiff_t>(first_);
        if (parts.size() == 1) {  // the weight of a single adapter acts on its factors alone
            const std::vector<PackedInput>& inputs = parts.front().first->inputs;
            return std::vector<PackedInput>(inputs.begin() + first, inputs.end());
        }
        double total = 0;
        for (const auto& part : parts) total += part.second;
        if (std::abs(total) < kNoWeight) {
            throw Error(Code::adapter,
                        "the weights of the blend add up to 0, so that no head can be made of it; give others");
        }
        std::vector<PackedInput> inputs;
        for (std::size_t index = 0; index < head_.size(); ++index) {
            const PackedInput& like = of_head(*parts.front().first, index);
            float* to = nullptr;
            inputs.push_back(make_input(1, like.shape[1], like.shape[2], &to));
            for (const auto& [packed, weight] : parts) {
                if (of_head(*packed, index).shape != like.shape) {
                    throw Error(Code::adapter,
                                "the blend has heads of other sizes, and no head lies between them; blend adapters with "
                                "the same labels");
                }
                const auto share = static_cast<float>(weight / total);
                const float* from = of_head(*packed, index).as<float>();
                for (std::size_t number = 0; number < like.count(); ++number) to[number] += from[number] * share;
            }
        }
        return inputs;
    }

    std::unique_ptr<Packer> slots_;
    std::vector<HeadTensor> head_;
    BaseHead base_;
    std::size_t first_;  // of the inputs behind those of the slots
    std::vector<PackedInput> none_;
};

}  // namespace

std::unique_ptr<Packer> make_head_packer(std::unique_ptr<Packer> slots, const std::vector<HeadTensor>& head,
                                         const BaseHead& base, bool has_base_head) {
    return std::make_unique<HeadPacker>(std::move(slots), head, base, has_base_head);
}

}  // namespace edgelora
