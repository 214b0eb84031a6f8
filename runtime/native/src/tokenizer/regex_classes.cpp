#include "regex_classes.hpp"

#include <algorithm>
#include <utility>

#include "translate_regex.hpp"

namespace edgelora::tokenizer {
namespace {

constexpr const char* kSpaceItems =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr const char* kNoSpaceItems =
    R"(\x{0}-\x{8}\x{e}-\x{1f}\x{21}-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027})"
    R"(\x{202a}-\x{202e}\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{10ffff})";

constexpr std::pair<std::string_view, std::string_view> kCategories[] = {
    {"letter", "L"},
    {"uppercaseletter", "Lu"},
    {"lowercaseletter", "Ll"},
    {"titlecaseletter", "Lt"},
    {"modifierletter", "Lm"},
    {"otherletter", "Lo"},
    {"mark", "M"},
    {"nonspacingmark", "Mn"},
    {"spacingmark", "Mc"},
    {"enclosingmark", "Me"},
    {"number", "N"},
    {"decimalnumber", "Nd"},
    {"letternumber", "Nl"},
    {"othernumber", "No"},
    {"punctuation", "P"},
    {"connectorpunctuation", "Pc"},
    {"dashpunctuation", "Pd"},
    {"openpunctuation", "Ps"},
    {"closepunctuation", "Pe"},
    {"initialpunctuation", "Pi"},
    {"finalpunctuation", "Pf"},
    {"otherpunctuation", "Po"},
    {"symbol", "S"},
    {"mathsymbol", "Sm"},
    {"currencysymbol", "Sc"},
    {"modifiersymbol", "Sk"},
    {"othersymbol", "So"},
    {"separator", "Z"},
    {"spaceseparator", "Zs"},
    {"lineseparator", "Zl"},
    {"paragraphseparator", "Zp"},
    {"other", "C"},
    {"control", "Cc"},
    {"format", "Cf"},
    {"unassigned", "Cn"},
    {"privateuse", "Co"},
};

std::string fold_name(std::string_view name) {
    std::string folded;
    for (const char letter : name) {
        if (letter == ' ' || letter == '_' || letter == '-') continue;
        folded += letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
    }
    return folded;
}

CharacterSet make_property(const std::string& name, bool depends_on_case = false) {
    return {"\\p{" + name + "}", "\\P{" + name + "}", depends_on_case};
}

}  // namespace

std::optional<CharacterSet> find_escape_set(char letter, bool is_in_class) {
    switch (letter) {
        case 's': return CharacterSet{kSpaceItems, kNoSpaceItems};
        case 'd': return make_property("Nd");
        case 'w': return CharacterSet{is_in_class ? kClassWordItems : kWordItems, ""};
        case 'h': return CharacterSet{"0-9A-Fa-f", R"(\x{0}-\x{2f}\x{3a}-\x{40}\x{47}-\x{60}\x{67}-\x{10ffff})"};
        default: return std::nullopt;
    }
}

std::optional<CharacterSet> find_property(std::string_view name, bool is_bracket) {
    const std::string folded = fold_name(name);
    if (folded == "alpha") return make_property("Alphabetic");
    if (folded == "digit") return make_property("Nd");
    if (folded == "space") return find_escape_set('s', true);
    if (folded == "word") return find_escape_set('w', true);
    if (folded == "xdigit") return find_escape_set('h', true);
    if (folded == "alnum") return CharacterSet{R"(\p{Alphabetic}\p{Nd})", ""};
    if (folded == "upper") return make_property("Uppercase", true);
    if (folded == "lower") return make_property("Lowercase", true);
    if (folded == "punct") return is_bracket ? CharacterSet{R"(\p{P}\p{S})", ""} : make_property("P");
    if (folded == "cntrl") return make_property("Cc");
    if (is_bracket) return std::nullopt;
    for (const auto& [full, category] : kCategories) {
        if (folded == full || folded == fold_name(category)) {
            const bool is_cased = category == "Lu" || category == "Ll" || category == "Lt";
            return make_property(std::string(category), is_cased);
        }
    }
    // Scripts, which PCRE2 knows by the same names; it would take the bare name for "used with this script".
    const bool is_word = std::all_of(folded.begin(), folded.end(), [](char c) { return c >= 'a' && c <= 'z'; });
    if (!is_word || folded.size() < 3) return std::nullopt;
    return make_property("sc:" + folded);
}

}  // namespace edgelora::tokenizer
