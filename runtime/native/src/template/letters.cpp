#include "template/letters.hpp"

#include <utf8proc.h>

#include <clocale>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "errors.hpp"

namespace edgelora::jinja {

namespace {

// Characters whose upper and title case are several; those of Greek with two marks are refused instead.
struct Special {
    char32_t character;
    const char* upper;
    const char* title;
};
const Special specials[] = {
    {0xdf, "SS", "Ss"}, {0x149, "\u02bcN", "\u02bcN"}, {0x1f0, "J\u030c", "J\u030c"},
    {0x390, "\u0399\u0308\u0301", "\u0399\u0308\u0301"}, {0x3b0, "\u03a5\u0308\u0301", "\u03a5\u0308\u0301"},
    {0x587, "\u0535\u0552", "\u0535\u0582"}, {0xfb00, "FF", "Ff"}, {0xfb01, "FI", "Fi"}, {0xfb02, "FL", "Fl"},
    {0xfb03, "FFI", "Ffi"}, {0xfb04, "FFL", "Ffl"}, {0xfb05, "ST", "St"}, {0xfb06, "ST", "St"},
    {0xfb13, "\u0544\u0546", "\u0544\u0576"}, {0xfb14, "\u0544\u0535", "\u0544\u0565"},
    {0xfb15, "\u0544\u053b", "\u0544\u056b"}, {0xfb16, "\u054e\u0546", "\u054e\u0576"},
    {0xfb17, "\u0544\u053d", "\u0544\u056d"},
};

bool may_be_special(char32_t c) {
    return c == 0xdf || c == 0x149 || c == 0x1f0 || c == 0x390 || c == 0x3b0 || c == 0x587 ||
           (c >= 0x1e96 && c <= 0x1e9a) || (c >= 0x1f50 && c <= 0x1f56 && c % 2 == 0) || (c >= 0x1f80 && c <= 0x1faf) ||
           (c >= 0x1fb2 && c <= 0x1ffc && (c % 16 == 12 || (c % 16 >= 2 && c % 16 <= 7 && c % 16 != 5))) ||
           (c >= 0xfb00 && c <= 0xfb17);
}

[[noreturn]] void refuse_case(char32_t character) {
    std::string shown;
    append(shown, character);
    throw Error(Code::unsupported, "the case of " + repr_text(shown) + " is not known here");
}

void append_upper(std::string& text, char32_t c, bool title) {
    if (may_be_special(c)) {
        for (const Special& special : specials) {
            if (special.character == c) {
                text += title ? special.title : special.upper;
                return;
            }
        }
        refuse_case(c);
    }
    append(text, static_cast<char32_t>(title ? utf8proc_totitle(static_cast<utf8proc_int32_t>(c))
                                             : utf8proc_toupper(static_cast<utf8proc_int32_t>(c))));
}

// Whether it is plain on which side of the end of a word a sigma stands.
bool is_plain_border(char32_t c) {
    return is_space(c) || c == ',' || c == ';' || c == '!' || c == '?' || c == '-' || c == '(' || c == ')' ||
           c == '"' || c == '/' || c == '<' || c == '>' || c == '|' || (c >= '0' && c <= '9');
}

void append_lower(std::string& text, const std::u32string& all, size_t at) {
    const char32_t c = all[at];
    if (c == 0x130) {
        text += "i̇";
    } else if (c == 0x3a3) {  // the sigma at the end of a word is another one
        const char32_t before = at == 0 ? U' ' : all[at - 1];
        const char32_t after = at + 1 == all.size() ? U' ' : all[at + 1];
        for (const char32_t other : {before, after}) {
            const Case kind = case_of(other);
            if (kind != Case::upper && kind != Case::lower && !is_plain_border(other)) refuse_case(c);
        }
        append(text, is_plain_border(after) && !is_plain_border(before) ? 0x3c2 : 0x3c3);
    } else {
        append(text, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
    }
}

utf8proc_category_t category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }

}  // namespace

char32_t decode(std::string_view text, size_t& at) {
    const auto first = static_cast<unsigned char>(text[at]);
    if (first < 0x80) {
        ++at;
        return first;
    }
    utf8proc_int32_t character = -1;
    const utf8proc_ssize_t length = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data() + at),
                                                     static_cast<utf8proc_ssize_t>(text.size() - at), &character);
    if (length <= 0) {
        ++at;
        return 0xfffd;
    }
    at += static_cast<size_t>(length);
    return static_cast<char32_t>(character);
}

bool is_space(char32_t c) {
    return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool is_letter(char32_t c) {
    const utf8proc_category_t kind = category(c);
    return kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
}

bool is_word(char32_t c) {
    const utf8proc_category_t kind = category(c);
    return is_letter(c) || (kind >= UTF8PROC_CATEGORY_ND && kind <= UTF8PROC_CATEGORY_NO);
}

bool is_decimal(char32_t c) { return category(c) == UTF8PROC_CATEGORY_ND; }

bool is_digit(char32_t c) {  // Unicode's Numeric_Type=Digit beside the decimal ones: raised, lowered, in circles
    static const char32_t ranges[][2] = {
        {0xb2, 0xb3},       {0xb9, 0xb9},       {0x1369, 0x1371},   {0x19da, 0x19da},   {0x2070, 0x2070},
        {0x2074, 0x2079},   {0x2080, 0x2089},   {0x2460, 0x2468},   {0x2474, 0x247c},   {0x2488, 0x2490},
        {0x24ea, 0x24ea},   {0x24f5, 0x24fd},   {0x24ff, 0x24ff},   {0x2776, 0x277e},   {0x2780, 0x2788},
        {0x278a, 0x2792},   {0x10a40, 0x10a43}, {0x10e60, 0x10e68}, {0x11052, 0x1105a}, {0x1f100, 0x1f10a},
    };
    for (const auto& range : ranges) {
        if (c >= range[0] && c <= range[1]) return true;
    }
    return is_decimal(c);
}

Case case_of(char32_t c) {
    switch (category(c)) {
        case UTF8PROC_CATEGORY_LU: return Case::upper;
        case UTF8PROC_CATEGORY_LL: return Case::lower;
        case UTF8PROC_CATEGORY_LT: return Case::title;
        case UTF8PROC_CATEGORY_LM: return Case::unknown;
        default: {  // Roman numerals, letters in circles and squares, ordinals: some have a case
            const bool may = (c >= 0x2160 && c <= 0x217f) || (c >= 0x24b6 && c <= 0x24e9) ||
                             (c >= 0x1f130 && c <= 0x1f189) || c == 0xaa || c == 0xba || c == 0x345;
            return may ? Case::unknown : Case::none;
        }
    }
}

std::string to_upper(std::string_view text) {
    std::string upper;
    for (size_t at = 0; at < text.size();) append_upper(upper, decode(text, at), false);
    return upper;
}

std::string to_lower(std::string_view text) {
    const std::u32string all = decode_utf8(text);
    std::string lower;
    for (size_t at = 0; at < all.size(); ++at) append_lower(lower, all, at);
    return lower;
}

std::string to_title(std::string_view text) {
    const std::u32string all = decode_utf8(text);
    std::string title;
    bool inside = false;
    for (size_t at = 0; at < all.size(); ++at) {
        if (inside) {
            append_lower(title, all, at);
        } else {
            append_upper(title, all[at], true);
        }
        const Case kind = case_of(all[at]);
        if (kind == Case::unknown) refuse_case(all[at]);
        inside = kind != Case::none;
    }
    return title;
}

std::string to_capitalized(std::string_view text) {
    const std::u32string all = decode_utf8(text);
    std::string capitalized;
    for (size_t at = 0; at < all.size(); ++at) {
        if (at == 0) {
            append_upper(capitalized, all[at], true);
        } else {
            append_lower(capitalized, all, at);
        }
    }
    return capitalized;
}

std::string swap_case(std::string_view text) {
    const std::u32string all = decode_utf8(text);
    std::string swapped;
    for (size_t at = 0; at < all.size(); ++at) {
        const Case kind = case_of(all[at]);
        if (kind == Case::unknown) refuse_case(all[at]);
        if (kind == Case::upper) {
            append_lower(swapped, all, at);
        } else if (kind == Case::lower) {
            append_upper(swapped, all[at], false);
        } else {
            append(swapped, all[at]);
        }
    }
    return swapped;
}

std::string repr_text(std::string_view text) {
    const char quote = text.find('\'') != text.npos && text.find('"') == text.npos ? '"' : '\'';
    std::string shown(1, quote);
    for (size_t at = 0; at < text.size();) {
        const char32_t c = decode(text, at);
        char code[16] = "";
        if (c == static_cast<char32_t>(quote) || c == '\\') {
            shown += '\\';
            shown += static_cast<char>(c);
        } else if (c == '\n' || c == '\r' || c == '\t') {
            shown += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
        } else if (is_printable(c)) {
            append(shown, c);
        } else {
            const char* form = c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x";
            std::snprintf(code, sizeof code, form, static_cast<unsigned>(c));
            shown += code;
        }
    }
    return shown + quote;
}

std::string repr(double number) {
    if (std::isnan(number)) return "nan";
    if (std::isinf(number)) return number < 0 ? "-inf" : "inf";
    char text[40];
    int precision = 0;
    do {  // the shortest one that is read as the same number
        std::snprintf(text, sizeof text, "%.*e", precision, number);
    } while (++precision < 17 && std::strtod(text, nullptr) != number);
    std::string digits;
    const char* at = text;
    const bool negative = *at == '-';
    for (; *at != 'e'; ++at) {
        if (*at >= '0' && *at <= '9') digits += *at;  // whatever a locale puts between them
    }
    const int exponent = std::atoi(at + 1);
    while (digits.size() > 1 && digits.back() == '0') digits.pop_back();
    const auto count = static_cast<int>(digits.size());
    std::string shown;
    if (exponent < -4 || exponent >= 16) {
        shown = digits.substr(0, 1) + (count > 1 ? "." + digits.substr(1) : "");
        std::snprintf(text, sizeof text, "e%c%02d", exponent < 0 ? '-' : '+', std::abs(exponent));
        shown += text;
    } else if (exponent < 0) {
        shown = "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
    } else if (count <= exponent + 1) {
        shown = digits + std::string(static_cast<size_t>(exponent + 1 - count), '0') + ".0";
    } else {
        shown = digits.substr(0, static_cast<size_t>(exponent + 1)) + "." +
                digits.substr(static_cast<size_t>(exponent + 1));
    }
    return (negative ? "-" : "") + shown;
}

bool read_float(std::string_view text, double& number) {
    std::u32string all = decode_utf8(text);
    for (const char32_t c : all) {
        if (c > 0x7f && is_decimal(c)) throw Error(Code::unsupported, "digits of other scripts are not known here");
    }
    while (!all.empty() && is_space(all.back())) all.pop_back();
    size_t at = 0;
    while (at < all.size() && is_space(all[at])) ++at;
    std::string plain;
    bool negative = false;
    if (at < all.size() && (all[at] == '+' || all[at] == '-')) negative = all[at++] == '-';
    const auto digits = [&] {
        const size_t start = at;
        while (at < all.size() && ((all[at] >= '0' && all[at] <= '9') ||
                                   (all[at] == '_' && at > start && all[at - 1] != '_' && at + 1 < all.size() &&
                                    all[at + 1] >= '0' && all[at + 1] <= '9'))) {
            if (all[at] != '_') plain += static_cast<char>(all[at]);
            ++at;
        }
        return at > start;
    };
    const bool whole = digits();
    bool part = false;
    if (at < all.size() && all[at] == '.') {
        plain += '.';
        ++at;
        part = digits();
    }
    if (!whole && !part) {
        const std::string word = to_lower(encode_utf8(std::u32string_view(all).substr(at)));
        if (word == "inf" || word == "infinity") {
            number = negative ? -HUGE_VAL : HUGE_VAL;
            return plain.empty();
        }
        if (word == "nan" && plain.empty()) throw Error(Code::unsupported, "a number that is none is not known here");
        return false;
    }
    if (at < all.size() && (all[at] == 'e' || all[at] == 'E')) {
        plain += 'e';
        ++at;
        if (at < all.size() && (all[at] == '+' || all[at] == '-')) plain += static_cast<char>(all[at++]);
        if (!digits()) return false;
    }
    if (at != all.size()) return false;
    // The point is that of the program's locale; streams, which need none, would bring all of libstdc++'s locales along.
    if (const size_t point = plain.find('.'); point != plain.npos) plain.replace(point, 1, localeconv()->decimal_point);
    number = std::strtod(plain.c_str(), nullptr);  // HUGE_VAL beyond the range
    if (negative) number = -number;
    return true;
}

}  // namespace edgelora::jinja
