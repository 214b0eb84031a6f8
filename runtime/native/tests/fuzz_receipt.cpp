// libFuzzer: any bytes as a receipt.
#include "fuzz_refusal.hpp"
#include "names.hpp"
#include "receipt.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace edgelora;
    return read_or_refuse(data, size, [](std::string_view content) {
        const Receipt receipt = parse_receipt(content);
        if (!is_hash(receipt.fingerprint)) std::abort();
        for (const Probe& probe : receipt.probes) {
            if (probe.input_ids.empty() || probe.base.ids.size() != probe.base.logprobs.size()) std::abort();
        }
        for (const RecordedAnswer& answer : receipt.answers) {
            if (answer.input_ids.empty() || answer.output.size() != answer.base.size()) std::abort();
        }
        if (receipt.head && (receipt.head->labels.empty() || !(receipt.head->temperature > 0))) std::abort();
        const std::string why = find_mismatch(receipt, Manifest());
        if (why.empty()) std::abort();  // no receipt is one of an artifact without a fingerprint
    });
}
