#include "byte_level.hpp"

#include <array>

#include "../characters.hpp"
#include "code_points.hpp"

namespace edgelora::tokenizer {
namespace {

constexpr char32_t kFirstMoved = 0x100;
constexpr std::size_t kCharacters = kFirstMoved + 68;  // 68 bytes are no printable character of Latin-1

constexpr bool is_kept(unsigned byte) {
    return (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
}

struct Tables {
    std::array<std::string, 256> characters;
    std::array<int, kCharacters> bytes;  // -1: this character writes none
};

Tables make_tables() {
    Tables tables;
    tables.bytes.fill(-1);
    char32_t moved = kFirstMoved;
    for (unsigned byte = 0; byte < 256; byte++) {
        const char32_t point = is_kept(byte) ? byte : moved++;
        append_utf8(point, tables.characters[byte]);
        tables.bytes[point] = static_cast<int>(byte);
    }
    return tables;
}

const Tables& tables() {
    static const Tables made = make_tables();
    return made;
}

}  // namespace

void append_byte_characters(std::string_view bytes, std::string& out) {
    const Tables& known = tables();
    for (const char byte : bytes) out += known.characters[static_cast<unsigned char>(byte)];
}

bool append_bytes(std::string_view text, std::string& out) {
    const Tables& known = tables();
    const std::size_t before = out.size();
    for (std::size_t at = 0; at < text.size();) {
        const char32_t point = next_point(text, at);
        if (point >= kCharacters || known.bytes[point] < 0) {
            out.resize(before);
            return false;
        }
        out += static_cast<char>(known.bytes[point]);
    }
    return true;
}

}  // namespace edgelora::tokenizer
