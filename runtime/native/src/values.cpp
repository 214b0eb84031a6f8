#include "values.hpp"

namespace edgelora {

namespace {

Handle<OrtValue> int64_value(const Ort& ort, const std::vector<std::int64_t>& numbers, std::size_t n_rows) {
    const std::vector<std::int64_t> shape = {static_cast<std::int64_t>(n_rows),
                                             static_cast<std::int64_t>(numbers.size() / n_rows)};
    // onnxruntime reads inputs only.
    return ort.value_over(const_cast<std::int64_t*>(numbers.data()), numbers.size() * sizeof(std::int64_t), shape,
                          ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64);
}

}  // namespace

SharedValues logits_value(const Ort& ort, float* logits, std::size_t n_rows, std::size_t n_positions,
                          std::size_t vocab_size) {
    auto values = std::make_shared<Values>();
    values->push_back(ort.value_over(logits, n_rows * n_positions * vocab_size * sizeof(float),
                                     {static_cast<std::int64_t>(n_rows), static_cast<std::int64_t>(n_positions),
                                      static_cast<std::int64_t>(vocab_size)},
                                     ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT));
    return values;
}

SharedValues step_values(const Ort& ort, const std::vector<std::int64_t>& ids,
                         const std::vector<std::int64_t>& positions, std::size_t n_rows) {
    auto values = std::make_shared<Values>();
    values->push_back(int64_value(ort, ids, n_rows));
    values->push_back(int64_value(ort, positions, n_rows));
    return values;
}

SharedValues packed_values(const Ort& ort, const Packed& packed, std::size_t first, std::size_t count) {
    auto values = std::make_shared<Values>();
    values->reserve(packed.inputs.size());
    for (const PackedInput& input : packed.inputs) {
        std::vector<std::int64_t> shape = input.shape;
        std::size_t before = 0;
        std::size_t n_bytes = input.n_bytes();
        if (input.has_rows) {
            const std::size_t of_row = n_bytes / packed.rows;
            before = first * of_row;
            n_bytes = count * of_row;
            shape.front() = static_cast<std::int64_t>(count);
        }
        values->push_back(
            ort.value_over(const_cast<char*>(input.as<char>()) + before, n_bytes, shape, input.type));
    }
    return values;
}

SharedValues length_values(const Ort& ort, std::int32_t* seqlens, std::size_t n_rows, std::int32_t* total) {
    auto values = std::make_shared<Values>();
    values->push_back(ort.value_over(seqlens, n_rows * sizeof(std::int32_t), {static_cast<std::int64_t>(n_rows)},
                                     ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32));
    values->push_back(ort.value_over(total, sizeof(std::int32_t), {}, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32));
    return values;
}

}  // namespace edgelora
