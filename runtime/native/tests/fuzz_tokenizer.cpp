// For libFuzzer: a tokenizer.json that anybody may have written, then a text. Whatever they hold, either both work or
// an Error says why not.
//
// The input is the file, a zero byte, and the text; without a zero byte the text is the file. Start it from small
// files, one for each kind of part; tests/CMakeLists.txt says how it is built.
#include <cstddef>
#include <cstdint>
#include <new>
#include <string_view>

#include "characters.hpp"
#include "errors.hpp"
#include "tokenizer/tokenizer.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view input(reinterpret_cast<const char*>(data), size);
    const std::string_view file = input.substr(0, input.find('\0'));
    const std::string_view text = file.size() < size ? input.substr(file.size() + 1) : file;
    try {
        const auto tokenizer = edgelora::Tokenizer::from_json(file);
        const auto ids = tokenizer.encode(text, true);
        for (const bool is_skipped : {false, true}) {
            if (edgelora::find_bad_utf8(tokenizer.decode(ids, is_skipped))) __builtin_trap();
        }
        for (std::int32_t id = 0; id < 300; id++) {
            const auto token = tokenizer.id_to_token(id);
            if (token && !tokenizer.token_to_id(*token)) __builtin_trap();
            tokenizer.decode({id, id}, tokenizer.is_special(id));
        }
    } catch (const edgelora::Error& error) {
        if (std::string_view(error.what()).find('\n') != std::string_view::npos) __builtin_trap();
    }
    return 0;
}
