// libFuzzer: any bytes as a safetensors file, and codes in it as floats. Every number that is read lies in the file.
#include "code_rows.hpp"
#include "fuzz_refusal.hpp"
#include "safetensors.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace edgelora;
    return read_or_refuse(data, size, [](std::string_view content) {
        std::size_t n_bytes = 0;
        for (const auto& [name, tensor] : parse_safetensors(content, "file")) {
            std::size_t count = 1;
            for (const std::int64_t length : tensor.shape) count *= static_cast<std::size_t>(length);
            if (name.empty() || count != tensor.count()) std::abort();
            n_bytes += tensor.bytes.size();
            if (tensor.is_float() && to_float32(tensor).size() != count) std::abort();
            if (are_code_rows(tensor) && find_wrong_codes(tensor).empty()) {
                const std::vector<float> rows = widen_codes(tensor, false);
                const auto rank = static_cast<std::size_t>(tensor.shape[0]);
                if (rows.size() + 4 * rank != count || widen_codes(tensor, true).size() != rows.size()) std::abort();
            }
            const float* values = float32_view(tensor);
            for (std::size_t index = 0; values != nullptr && index < count; index++) {
                volatile float value = values[index];  // a look that the sanitizer sees
                static_cast<void>(value);
            }
        }
        if (n_bytes > content.size()) std::abort();
    });
}
