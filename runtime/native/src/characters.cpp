#include "characters.hpp"

#include <utf8proc.h>

namespace edgelora {
namespace {

struct Found {
    char32_t point;
    std::size_t size;  // bytes; 0 where there is no valid character
};

Found first_of(std::string_view bytes) {
    const auto at = [&](std::size_t index) { return static_cast<unsigned char>(bytes[index]); };
    const unsigned char lead = at(0);
    if (lead < 0x80) return {lead, 1};
    const std::size_t size = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || bytes.size() < size) return {0, 0};
    char32_t point = lead & (0xffu >> (size + 1));
    for (std::size_t index = 1; index < size; index++) {
        if ((at(index) & 0xc0) != 0x80) return {0, 0};
        point = point << 6 | (at(index) & 0x3f);
    }
    constexpr char32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const bool is_valid = point >= least[size] && point <= 0x10ffff && (point < 0xd800 || point > 0xdfff);
    return {point, is_valid ? size : 0};
}

bool is_continuation(char byte) { return (static_cast<unsigned char>(byte) & 0xc0) == 0x80; }

}  // namespace

std::optional<std::size_t> find_bad_utf8(std::string_view bytes) {
    std::size_t at = 0;
    while (at < bytes.size()) {
        if (static_cast<unsigned char>(bytes[at]) < 0x80) {
            at++;
            continue;
        }
        const Found found = first_of(bytes.substr(at));
        if (found.size == 0) return at;
        at += found.size;
    }
    return std::nullopt;
}

std::u32string decode_utf8(std::string_view text) {
    std::u32string points;
    points.reserve(text.size());
    while (!text.empty()) {
        const Found found = first_of(text);
        points.push_back(found.size == 0 ? U'\ufffd' : found.point);
        text.remove_prefix(found.size == 0 ? 1 : found.size);
    }
    return points;
}

void append_utf8(char32_t point, std::string& out) {
    const auto put = [&](char32_t byte) { out.push_back(static_cast<char>(static_cast<unsigned char>(byte))); };
    if (point < 0x80) {
        put(point);
    } else if (point < 0x800) {
        put(0xc0 | point >> 6);
        put(0x80 | (point & 0x3f));
    } else if (point < 0x10000) {
        put(0xe0 | point >> 12);
        put(0x80 | (point >> 6 & 0x3f));
        put(0x80 | (point & 0x3f));
    } else {
        put(0xf0 | (point >> 18 & 0x07));
        put(0x80 | (point >> 12 & 0x3f));
        put(0x80 | (point >> 6 & 0x3f));
        put(0x80 | (point & 0x3f));
    }
}

std::string encode_utf8(std::u32string_view points) {
    std::string text;
    text.reserve(points.size());
    for (const char32_t point : points) append_utf8(point, text);
    return text;
}

std::size_t count_characters(std::string_view text) {
    std::size_t count = 0;
    for (const char byte : text) count += !is_continuation(byte);
    return count;
}

std::string_view first_characters(std::string_view text, std::size_t count) {
    std::size_t at = 0;
    for (; at < text.size(); at++) {
        if (is_continuation(text[at])) continue;
        if (count == 0) break;
        count--;
    }
    return text.substr(0, at);
}

bool is_printable(char32_t point) {
    if (point < 0x80) return point >= 0x20 && point != 0x7f;
    switch (utf8proc_category(static_cast<utf8proc_int32_t>(point))) {
        case UTF8PROC_CATEGORY_CN:
        case UTF8PROC_CATEGORY_ZS:
        case UTF8PROC_CATEGORY_ZL:
        case UTF8PROC_CATEGORY_ZP:
        case UTF8PROC_CATEGORY_CC:
        case UTF8PROC_CATEGORY_CF:
        case UTF8PROC_CATEGORY_CS:
        case UTF8PROC_CATEGORY_CO:
            return false;
        default:
            return true;
    }
}

bool is_blank(char32_t point) {
    return (point >= 9 && point <= 13) || (point >= 28 && point <= 32) || point == 0x85 || point == 0xa0 ||
           point == 0x1680 || (point >= 0x2000 && point <= 0x200a) || point == 0x2028 || point == 0x2029 ||
           point == 0x202f || point == 0x205f || point == 0x3000;
}

std::string_view strip_blanks(std::string_view text) {
    const auto last_start = [&] {
        std::size_t at = text.size() - 1;
        while (at > 0 && is_continuation(text[at])) at--;
        return at;
    };
    while (!text.empty()) {
        const Found found = first_of(text);
        if (found.size == 0 || !is_blank(found.point)) break;
        text.remove_prefix(found.size);
    }
    while (!text.empty()) {
        const std::size_t at = last_start();
        const Found found = first_of(text.substr(at));
        if (found.size == 0 || !is_blank(found.point)) break;
        text = text.substr(0, at);
    }
    return text;
}

}  // namespace edgelora
