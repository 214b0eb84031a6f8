#include "regex.hpp"

#ifndef PCRE2_CODE_UNIT_WIDTH
#define PCRE2_CODE_UNIT_WIDTH 8
#endif
#include <pcre2.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <new>
#include <optional>

#include "../errors.hpp"
#include "../parse_json.hpp"
#include "code_points.hpp"
#include "translate_regex.hpp"

namespace edgelora::tokenizer {
namespace {

constexpr std::size_t kLongestText = 4096;          // bytes of a plain text to find
constexpr std::size_t kJitStack = 32 * 1048576;     // bytes, mapped as they are used
constexpr std::uint32_t kHeapLimit = 256 * 1024;    // KiB
constexpr std::size_t kSteps = 10000;               // of a search, and for each byte of the text:
constexpr std::size_t kStepsPerByte = 20;

template <typename T>
T* have(T* pointer) {
    if (pointer == nullptr) throw std::bad_alloc();
    return pointer;
}

struct Free {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
    void operator()(pcre2_compile_context* context) const { pcre2_compile_context_free(context); }
    void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
    void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
    void operator()(pcre2_jit_stack* stack) const { pcre2_jit_stack_free(stack); }
};

std::string describe(int number) {
    PCRE2_UCHAR buffer[256];
    if (pcre2_get_error_message(number, buffer, sizeof buffer) < 0) return "error " + std::to_string(number);
    return one_line(reinterpret_cast<const char*>(buffer));
}

// Ideographs that PCRE2 knows from version 10.43 or 10.45 on are written as one that all versions know: to a pattern one
// is like the other. Returns whether `text` has any, and then puts it into `known`.
bool replace_new_ideographs(std::string_view text, std::string& known) {
    constexpr char lead = '\xf0';
    for (std::size_t at = text.find(lead); at != text.npos; at = text.find(lead, at)) {
        const std::size_t start = at;
        const char32_t point = next_point(text, at);
        const bool is_new = point == 0x2b739 || (point >= 0x2ebf0 && point <= 0x2ee5d) ||
                            (point >= 0x31350 && point <= 0x323af);
        if (!is_new) continue;
        if (known.empty()) known = text;
        known.replace(start, 4, "\xf0\xa0\x80\x80");
    }
    return !known.empty();
}

}  // namespace

struct Scratch::State {
    std::unique_ptr<pcre2_match_data, Free> data{have(pcre2_match_data_create(1, nullptr))};
    std::unique_ptr<pcre2_match_context, Free> context{have(pcre2_match_context_create(nullptr))};
    std::unique_ptr<pcre2_jit_stack, Free> stack;
};

Scratch::Scratch() : state_(std::make_unique<State>()) {
    pcre2_set_heap_limit(state_->context.get(), kHeapLimit);
}

Scratch::~Scratch() = default;

struct Regex::Code {
    std::unique_ptr<pcre2_code, Free> pcre;
    bool has_jit = false;
};

Regex Regex::from_pattern(std::string_view pattern) {
    const std::string translated = translate_regex(pattern);
    try {
        Regex regex = from_pcre(translated);
        regex.words_ = WordPattern::find(pattern);
        return regex;
    } catch (const Error& error) {
        throw Error(error.code, "the regular expression " + show(pattern) + " (" + error.what() + ")");
    }
}

Regex Regex::from_pcre(const std::string& pattern) {
    std::unique_ptr<pcre2_compile_context, Free> context(have(pcre2_compile_context_create(nullptr)));
    pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
    int error = 0;
    PCRE2_SIZE place = 0;
    auto code = std::make_shared<Code>();
    code->pcre.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                   PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &place,
                                   context.get()));
    if (!code->pcre) throw Error(edgelora::Code::unsupported, describe(error));
    code->has_jit = pcre2_jit_compile(code->pcre.get(), PCRE2_JIT_COMPLETE) == 0;
    Regex regex;
    regex.code_ = std::move(code);
    return regex;
}

Regex Regex::from_text(std::string_view text) {
    if (text.empty()) return from_pcre("");
    if (text.size() > kLongestText) {
        throw Error(edgelora::Code::unsupported, "a pattern of " + std::to_string(text.size()) + " bytes");
    }
    Regex regex;
    regex.text_ = text;
    return regex;
}

bool Regex::find(std::string_view text, std::size_t start, Span& found, Scratch& scratch) const {
    if (!code_) {
        const std::size_t at = text.find(text_, start);
        if (at == text.npos) return false;
        found = {at, at + text_.size()};
        return true;
    }
    if (words_ && start < text.size()) {
        const std::size_t end = words_->end_of(text, start);
        if (end != text.npos) {
            found = {start, end};
            return true;
        }
    }
    Scratch::State& state = *scratch.state_;
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    const auto search = [&] {
        return code_->has_jit ? pcre2_jit_match(code_->pcre.get(), subject, text.size(), start, 0, state.data.get(),
                                                state.context.get())
                              : pcre2_match(code_->pcre.get(), subject, text.size(), start, PCRE2_NO_UTF_CHECK,
                                            state.data.get(), state.context.get());
    };
    int result = search();
    if (result == PCRE2_ERROR_JIT_STACKLIMIT && !state.stack) {
        state.stack.reset(have(pcre2_jit_stack_create(64 * 1024, kJitStack, nullptr)));
        pcre2_jit_stack_assign(state.context.get(), nullptr, state.stack.get());
        result = search();
    }
    if (result == PCRE2_ERROR_NOMATCH) return false;
    if (result < 0) {
        throw Error(edgelora::Code::invalid_input,
                    "the tokenizer cannot encode this text (its regular expression gave up: " + describe(result) +
                        "); give shorter text");
    }
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(state.data.get());
    found = {ends[0], std::max(ends[0], ends[1])};
    return true;
}

void Regex::find_all(std::string_view text, std::vector<Span>& found, Scratch& scratch) const {
    if (code_) {
        const std::size_t steps = kSteps + kStepsPerByte * std::min<std::size_t>(text.size(), 1U << 26);
        pcre2_set_match_limit(scratch.state_->context.get(), static_cast<std::uint32_t>(steps));
    }
    std::string known;
    if (code_ && replace_new_ideographs(text, known)) text = known;
    std::size_t start = 0;
    std::optional<std::size_t> last_end;
    Span span{};
    while (start <= text.size() && find(text, start, span, scratch)) {
        if (span.begin == span.end && last_end == span.end) {  // an empty match right behind a match counts as none
            start = span.end;
            if (start == text.size()) return;
            start += length_of(static_cast<unsigned char>(text[start]));
            continue;
        }
        found.push_back(span);
        start = span.end;
        last_end = span.end;
    }
}

}  // namespace edgelora::tokenizer
