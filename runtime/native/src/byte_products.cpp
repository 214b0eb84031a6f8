#include "byte_products.hpp"

#include <algorithm>
#include <array>
#include <cstdint>

namespace edgelora {

namespace {

// A MatMulInteger of a, uint8 (rows, k), and b, int8 (k, columns). The other runtimes hold the same bytes.
constexpr char kProduct[] =
    "\x08\x04:>\n\x18\n\x01"
    "a\n\x01"
    "b\x12\x01y\"\rMatMulInteger\x12\x01gZ\t\n\x01"
    "a\x12\x04\n\x02\x08\x02Z\t\n\x01"
    "b\x12\x04\n\x02\x08\x03"
    "b\t\n\x01y\x12\x04\n\x02\x08\x06"
    "B\x04\n\x00\x10\n";
constexpr std::int64_t kDepth = 4;
constexpr std::int64_t kColumns = 16;

}  // namespace

bool products_overflow(const Ort& ort) {
    const OrtApi& api = ort.api();
    const char* const doing = "trying products of bytes";
    OrtSessionOptions* made = nullptr;
    ort.check(api.CreateSessionOptions(&made), doing);
    const Handle<OrtSessionOptions> options = ort.own(made);
    ort.check(api.SetIntraOpNumThreads(made, 1), doing);
    OrtFailure failure{};
    OrtSession* opened = nullptr;
    if (!ort.succeeded(api.CreateSessionFromArray(ort.env(), kProduct, sizeof(kProduct) - 1, made, &opened), failure)) {
        return true;
    }
    const Handle<OrtSession> session = ort.own(opened);
    std::array<std::uint8_t, kDepth> row{};
    row.fill(255);
    std::array<std::int8_t, kDepth * kColumns> weights{};
    weights.fill(127);
    std::array<std::int32_t, kColumns> found{};
    const Handle<OrtValue> a = ort.value_over(row.data(), sizeof(row), {1, kDepth}, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8);
    const Handle<OrtValue> b =
        ort.value_over(weights.data(), sizeof(weights), {kDepth, kColumns}, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8);
    const Handle<OrtValue> y =
        ort.value_over(found.data(), sizeof(found), {1, kColumns}, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32);
    const char* const names[] = {"a", "b"};
    const OrtValue* const given[] = {a.get(), b.get()};
    const char* const output = "y";
    OrtValue* wanted = y.get();
    if (!ort.succeeded(api.Run(opened, nullptr, names, given, 2, &output, 1, &wanted), failure)) {
        return true;
    }
    return std::any_of(found.begin(), found.end(), [](std::int32_t value) { return value != 255 * 127 * kDepth; });
}

}  // namespace edgelora
