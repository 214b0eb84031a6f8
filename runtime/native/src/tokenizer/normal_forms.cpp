#include "normal_forms.hpp"

#include <utf8proc.h>

#include <algorithm>
#include <iterator>
#include <new>
#include <vector>

#include "../characters.hpp"
#include "code_points.hpp"

namespace edgelora::tokenizer {
namespace {

constexpr int kLongest = 32;  // characters that one becomes; U+FDFA has the most, 18

// Characters with a decomposition that Unicode has from version 12.1 on.
bool is_too_new(utf8proc_int32_t point) {
    constexpr utf8proc_int32_t ranges[][2] = {
        {0x32ff, 0x32ff},   {0xa7f1, 0xa7f4},   {0xab69, 0xab69},   {0x105c9, 0x105e4}, {0x10780, 0x107ba},
        {0x11383, 0x113d0}, {0x11938, 0x11938}, {0x16121, 0x16128}, {0x16d68, 0x16d6a}, {0x1ccd6, 0x1ccf9},
        {0x1e030, 0x1e06d}, {0x1f16c, 0x1f16c}, {0x1fbf0, 0x1fbf9},
    };
    return std::any_of(std::begin(ranges), std::end(ranges),
                       [&](const auto& range) { return point >= range[0] && point <= range[1]; });
}

// A mark that the library's Unicode does not have is no mark: nothing moves over it, and nothing is composed with it.
int class_of(utf8proc_int32_t point) {
    if (point < 0x300) return 0;
    const int found = utf8proc_get_property(point)->combining_class;
    return found != 0 && is_mark(static_cast<char32_t>(point)) ? found : 0;
}

bool is_new_mark(utf8proc_int32_t point) {
    return point >= 0x300 && class_of(point) == 0 && utf8proc_get_property(point)->combining_class != 0;
}

void sort_marks(std::vector<utf8proc_int32_t>& points) {
    for (std::size_t start = 0; start < points.size();) {
        std::size_t end = start;
        while (end < points.size() && class_of(points[end]) != 0) end++;
        if (end - start > 1) {
            std::stable_sort(points.begin() + static_cast<std::ptrdiff_t>(start),
                             points.begin() + static_cast<std::ptrdiff_t>(end),
                             [](auto a, auto b) { return class_of(a) < class_of(b); });
        }
        start = end + 1;
    }
}

void compose(std::vector<utf8proc_int32_t>& points) {
    constexpr auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    auto out = points.begin();
    for (auto start = points.begin(); start != points.end();) {
        const auto end = std::find_if(start, points.end(), is_new_mark);
        const utf8proc_ssize_t size = utf8proc_normalize_utf32(&*start, end - start, options);
        if (size < 0) throw std::bad_alloc();
        out = std::copy(start, start + size, out);
        start = end;
        if (start != points.end()) *out++ = *start++;
    }
    points.erase(out, points.end());
}

}  // namespace

std::string to_form(std::string_view text, Form form) {
    if (is_ascii(text)) return std::string(text);
    const bool is_compatible = form == Form::nfkc || form == Form::nfkd;
    const bool is_composed = form == Form::nfc || form == Form::nfkc;
    int options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
    if (is_compatible) options |= UTF8PROC_COMPAT;
    std::vector<utf8proc_int32_t> points;
    points.reserve(text.size() + kLongest);
    for (std::size_t at = 0; at < text.size();) {
        const auto point = static_cast<utf8proc_int32_t>(next_point(text, at));
        if (point < 0x80 || is_too_new(point)) {
            points.push_back(point);
            continue;
        }
        utf8proc_int32_t parts[kLongest];
        int boundary = 0;
        const auto count = utf8proc_decompose_char(point, parts, kLongest, static_cast<utf8proc_option_t>(options),
                                                   &boundary);
        if (count < 0 || count > kLongest) {
            points.push_back(point);
        } else {
            points.insert(points.end(), parts, parts + count);
        }
    }
    sort_marks(points);
    if (is_composed) compose(points);
    std::string out;
    out.reserve(text.size());
    for (const utf8proc_int32_t point : points) append_utf8(static_cast<char32_t>(point), out);
    return out;
}

}  // namespace edgelora::tokenizer
