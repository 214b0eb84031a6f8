#include "patterns.hpp"

#include <vector>

#include "../errors.hpp"

namespace edgelora::tokenizer {

Regex read_pattern(const Fields& fields) {
    const Json* found = fields.find("pattern");
    if (found == nullptr) refuse_broken(fields.place() + " has no pattern");
    const Fields pattern(*found, fields.place() + ".pattern");
    if (pattern.find("Regex") != nullptr) return Regex::from_pattern(pattern.text("Regex"));
    return Regex::from_text(pattern.text("String"));
}

void check_length(std::size_t length) {
    if (length <= kLongestResult) return;
    throw Error(Code::invalid_input, "the tokenizer cannot encode this text (its rules make it longer than " +
                                         std::to_string(kLongestResult) + " bytes); give shorter text");
}

std::string replace_matches(const Regex& pattern, std::string_view content, std::string_view text, Scratch& scratch) {
    std::vector<Span> found;
    if (!text.empty()) pattern.find_all(text, found, scratch);
    check_length(text.size() + found.size() * content.size());
    std::string out;
    out.reserve(text.size() + found.size() * content.size());
    std::size_t last = 0;
    for (const Span& span : found) {
        out.append(text.substr(last, span.begin - last)).append(content);
        last = span.end;
    }
    return out.append(text.substr(last));
}

}  // namespace edgelora::tokenizer
