// libFuzzer: any bytes as the configuration of an adapter. Its patterns match in bearable time, and ranks stay in range.
#include <cmath>

#include "adapter_config.hpp"
#include "fuzz_refusal.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace edgelora;
    return read_or_refuse(data, size, [](std::string_view content) {
        const LoraConfig config = parse_config(content);
        for (const char* module : {"model.layers.0.self_attn.q_proj", "", "a.b", "aaaaaaaaaaaaaaaaaaaaaaaa"}) {
            const std::int64_t rank = config.rank_of(module);
            if (rank < 1 || rank > 65536 || !std::isfinite(config.scaling_of(module, rank))) std::abort();
            config.claims.has(module);
        }
    });
}
