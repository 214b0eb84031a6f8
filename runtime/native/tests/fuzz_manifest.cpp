// libFuzzer: any bytes as a manifest. What is read holds to what runtimes rely on.
#include "check_manifest.hpp"
#include "fuzz_refusal.hpp"
#include "manifest.hpp"
#include "names.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace edgelora;
    return read_or_refuse(data, size, [](std::string_view content) {
        bool is_opened = true;
        try {
            const Manifest opened = open_manifest(content);
            for (std::size_t index = 0; index < opened.adapters.size(); index++) (void)opened.adapters.at(index);
            (void)opened.files.all();
        } catch (const Error& error) {
            check_refusal(error);
            is_opened = false;
        }
        const Manifest manifest = [&] {
            try {
                return parse_manifest(content);
            } catch (const Error&) {
                if (is_opened) std::abort();
                throw;
            }
        }();
        const bool has_cache = manifest.task == kTextGeneration;
        if ((cache_bytes(manifest) > 0) != has_cache || !find_wrong(manifest).empty()) std::abort();
        if (manifest.encoder.has_value() == has_cache) std::abort();
        if (!has_cache && manifest.encoder->base_head && manifest.encoder->base_head->labels.empty()) std::abort();
        for (const auto& item : manifest.files.all()) {
            if (!find_unsafe(item.first).empty() || item.second.bytes < 0) std::abort();
        }
        for (const Slot& slot : manifest.slots) {
            for (const SlotPart& part : slot.parts) {
                if (part.offset < 0 || part.offset + part.out_features > slot.out_features) std::abort();
            }
        }
    });
}
