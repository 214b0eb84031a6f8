// Chat templates of strangers: whatever the bytes are, an Error or a text, and soon.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "template/chat_template.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const edgelora::Json variables = edgelora::Json::parse(
        R"({"messages": [{"role": "user", "content": "é <b> 👍"}, {"role": "assistant", "content": null}], "tools": null,
            "n": -7, "items": [3, 1.5, "b", true], "nested": {"a": {"b": ["c"]}, "items": 1}})");
    try {
        const std::string_view source(reinterpret_cast<const char*>(data), size);
        edgelora::ChatTemplate::compile(source).render(variables, "2026-02-01");
    } catch (const edgelora::Error&) {
        return 0;
    }
    return 0;
}
