#include "charsmap.hpp"

#include <utf8proc.h>

#include "../characters.hpp"
#include "code_points.hpp"
#include "fields.hpp"

namespace edgelora::tokenizer {
namespace {

constexpr std::size_t kLongestCluster = 6;  // bytes; a longer one is looked up character by character alone

std::string decode_base64(std::string_view text) {
    std::string out;
    std::uint32_t bits = 0;
    int count = 0;
    while (!text.empty() && text.back() == '=') text.remove_suffix(1);
    for (const char c : text) {
        std::uint32_t value = 0;
        if (c >= 'A' && c <= 'Z') value = static_cast<std::uint32_t>(c - 'A');
        else if (c >= 'a' && c <= 'z') value = static_cast<std::uint32_t>(c - 'a' + 26);
        else if (c >= '0' && c <= '9') value = static_cast<std::uint32_t>(c - '0' + 52);
        else if (c == '+') value = 62;
        else if (c == '/') value = 63;
        else refuse_broken("precompiled_charsmap is not base64");
        bits = (bits << 6 | value) & 0xffffffU;
        count += 6;
        if (count >= 8) {
            count -= 8;
            out += static_cast<char>(bits >> count & 0xffU);
        }
    }
    return out;
}

std::uint32_t read_word(std::string_view bytes, std::size_t at) {
    std::uint32_t word = 0;
    for (std::size_t index = 0; index < 4; index++) {
        word |= std::uint32_t{static_cast<unsigned char>(bytes[at + index])} << 8 * index;
    }
    return word;
}

// How far the children of a unit lie from it.
std::size_t offset_of(std::uint32_t unit) { return std::size_t{unit >> 10} << ((unit & 0x200U) >> 6); }

// The end of the cluster of characters that one sees as one, from `start` on.
std::size_t end_of_cluster(std::string_view text, std::size_t start) {
    std::size_t at = start;
    auto before = static_cast<utf8proc_int32_t>(next_point(text, at));
    utf8proc_int32_t state = 0;
    while (at < text.size()) {
        std::size_t next = at;
        const auto point = static_cast<utf8proc_int32_t>(next_point(text, next));
        if (utf8proc_grapheme_break_stateful(before, point, &state)) break;
        before = point;
        at = next;
    }
    return at;
}

}  // namespace

CharsMap CharsMap::read(std::string_view base64) {
    const std::string bytes = decode_base64(base64);
    const std::size_t size = bytes.size() < 4 ? 0 : read_word(bytes, 0);
    if (size == 0 || size % 4 != 0 || size > bytes.size() - 4) {
        refuse_broken("precompiled_charsmap ends too early");
    }
    CharsMap map;
    map.units_.reserve(size / 4);
    for (std::size_t at = 4; at < 4 + size; at += 4) map.units_.push_back(read_word(bytes, at));
    map.replacements_ = bytes.substr(4 + size);
    if (find_bad_utf8(map.replacements_)) refuse_broken("precompiled_charsmap replaces by what is not UTF-8");
    return map;
}

std::optional<std::string_view> CharsMap::find(std::string_view part) const {
    std::size_t place = offset_of(units_[0]);
    for (const char c : part) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte == 0) return std::nullopt;
        place ^= byte;
        if (place >= units_.size() || (units_[place] & 0x800000ffU) != byte) return std::nullopt;
        const std::uint32_t unit = units_[place];
        place ^= offset_of(unit);
        if ((unit & 0x100U) == 0) continue;
        if (place >= units_.size()) return std::nullopt;
        const std::size_t start = units_[place] & 0x7fffffffU;
        if (start > replacements_.size()) return std::nullopt;
        const std::string_view rest = std::string_view(replacements_).substr(start);
        if (!rest.empty() && (static_cast<unsigned char>(rest[0]) & 0xc0U) == 0x80) return std::nullopt;
        return rest.substr(0, rest.find('\0'));
    }
    return std::nullopt;
}

std::string CharsMap::replace(std::string_view text) const {
    std::string out;
    out.reserve(text.size());
    for (std::size_t start = 0; start < text.size();) {
        const std::size_t end = end_of_cluster(text, start);
        const auto whole = end - start < kLongestCluster ? find(text.substr(start, end - start)) : std::nullopt;
        if (whole) {
            out += *whole;
            start = end;
        }
        while (start < end) {
            const std::size_t length = length_of(static_cast<unsigned char>(text[start]));
            const std::string_view character = text.substr(start, length);
            out += find(character).value_or(character);
            start += length;
        }
    }
    return out;
}

}  // namespace edgelora::tokenizer
