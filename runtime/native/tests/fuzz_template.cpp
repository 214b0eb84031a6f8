// libFuzzer: any bytes as a chat template. It gives a text or is refused, and ends soon.
#include "fuzz_refusal.hpp"
#include "template/chat_template.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const edgelora::Json variables = edgelora::Json::parse(
        R"({"messages": [{"role": "user", "content": "é <b> 👍"}, {"role": "assistant", "content": null}], "tools": null,
            "n": -7, "items": [3, 1.5, "b", true], "nested": {"a": {"b": ["c"]}, "items": 1}})");
    return edgelora::read_or_refuse(data, size, [](std::string_view content) {
        edgelora::ChatTemplate::compile(content).render(variables, "2026-02-01");
    });
}
