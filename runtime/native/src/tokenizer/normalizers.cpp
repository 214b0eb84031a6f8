#include "normalizers.hpp"

#include <utility>
#include <vector>

#include "../characters.hpp"
#include "byte_level.hpp"
#include "charsmap.hpp"
#include "code_points.hpp"
#include "fields.hpp"
#include "normal_forms.hpp"
#include "patterns.hpp"

namespace edgelora::tokenizer {
namespace {

// A normalizer from a function that gives the text anew.
template <typename Function>
class Simple final : public Normalizer {
  public:
    explicit Simple(Function function) : function_(std::move(function)) {}
    using Normalizer::apply;
    void apply(std::string& text, Scratch& scratch) const override { text = function_(text, scratch); }

  private:
    Function function_;
};

template <typename Function>
std::unique_ptr<const Normalizer> make(Function function) {
    return std::make_unique<Simple<Function>>(std::move(function));
}

// The same from one that says what to write for each character.
template <typename Function>
std::unique_ptr<const Normalizer> make_mapping(Function function) {
    return make([function](std::string_view text, Scratch& /*scratch*/) {
        std::string out;
        out.reserve(text.size());
        for (std::size_t at = 0; at < text.size();) function(next_point(text, at), out);
        return out;
    });
}

class Several final : public Normalizer {
  public:
    explicit Several(std::vector<std::unique_ptr<const Normalizer>> parts) : parts_(std::move(parts)) {}
    void apply(std::string& text, Scratch& scratch) const override {
        for (const auto& part : parts_) {
            part->apply(text, scratch);
            check_length(text.size());
        }
    }
    void apply(AlignedText& text, Scratch& scratch) const override {
        for (const auto& part : parts_) {
            part->apply(text, scratch);
            check_length(text.text.size());
        }
    }

  private:
    std::vector<std::unique_ptr<const Normalizer>> parts_;
};

class Strip final : public Normalizer {
  public:
    Strip(bool is_left, bool is_right) : is_left_(is_left), is_right_(is_right) {}
    void apply(std::string& text, Scratch& /*scratch*/) const override {
        const Span kept = kept_of(text);
        text = text.substr(kept.begin, kept.end - kept.begin);
    }
    void apply(AlignedText& text, Scratch& /*scratch*/) const override { text = text.part(kept_of(text.text)); }

  private:
    Span kept_of(std::string_view text) const {
        const std::size_t begin = is_left_ ? white_space_in_front(text) : 0;
        return {begin, text.size() - (is_right_ ? white_space_behind(text.substr(begin)) : 0)};
    }

    bool is_left_, is_right_;
};

// Puts `content` in the place of every match, of whose characters it stands for the last.
class Replace final : public Normalizer {
  public:
    Replace(Regex pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}
    void apply(std::string& text, Scratch& scratch) const override {
        text = replace_matches(pattern_, content_, text, scratch);
    }
    void apply(AlignedText& text, Scratch& scratch) const override {
        std::vector<Span> found;
        pattern_.find_all(text.text, found, scratch);
        AlignedText made;
        std::size_t last = 0;
        for (const Span& match : found) {
            made.append(text.part({last, match.begin}));
            if (match.end > 0) made.append(content_, text.origin_of({previous_start(text.text, match.end), match.end}));
            check_length(made.text.size());
            last = match.end;
        }
        made.append(text.part({last, text.text.size()}));
        text = std::move(made);
    }

  private:
    Regex pattern_;
    std::string content_;
};

std::string drop_nonspacing_marks(std::string_view text) {
    const std::string apart = to_form(text, Form::nfd);
    std::string out;
    for (std::size_t at = 0; at < apart.size();) {
        const char32_t point = next_point(apart, at);
        if (!is_nonspacing_mark(point)) append_utf8(point, out);
    }
    return out;
}

std::string lower(std::string_view text) {
    std::string out;
    for (std::size_t at = 0; at < text.size();) append_lower(next_point(text, at), out);
    return out;
}

struct BertOptions {
    bool clean_text;
    bool handle_chinese_chars;
    bool strip_accents;
    bool lowercase;
};

std::string normalize_bert(std::string_view text, const BertOptions& options) {
    std::string out;
    for (std::size_t at = 0; at < text.size();) {
        const char32_t point = next_point(text, at);
        if (options.clean_text) {
            if (is_white_space(point) && (point == '\t' || point == '\n' || point == '\r' || !is_control(point))) {
                out += ' ';
                continue;
            }
            if (point == 0 || point == 0xfffd || is_control(point)) continue;
        }
        if (options.handle_chinese_chars && is_chinese(point)) {
            out += ' ';
            append_utf8(point, out);
            out += ' ';
        } else {
            append_utf8(point, out);
        }
    }
    if (options.strip_accents) out = drop_nonspacing_marks(out);
    return options.lowercase ? lower(out) : out;
}

void map_nmt(char32_t point, std::string& out) {
    const bool is_dropped = (point >= 1 && point <= 8) || point == 0xb || (point >= 0xe && point <= 0x1f) ||
                            point == 0x7f || point == 0x8f || point == 0x9f;
    const bool is_blank = point == 9 || point == 0xa || point == 0xc || point == 0xd || point == 0x1680 ||
                          (point >= 0x200b && point <= 0x200f) || point == 0x2028 || point == 0x2029 ||
                          point == 0x2581 || point == 0xfeff || point == 0xfffd;
    if (is_blank) {
        out += ' ';
    } else if (!is_dropped) {
        append_utf8(point, out);
    }
}

std::unique_ptr<const Normalizer> make_form(Form form) {
    return make([form](std::string_view text, Scratch& /*scratch*/) { return to_form(text, form); });
}

std::unique_ptr<const Normalizer> make_bert(const Fields& fields) {
    BertOptions options{};
    options.clean_text = fields.flag("clean_text", true);
    options.handle_chinese_chars = fields.flag("handle_chinese_chars", true);
    options.lowercase = fields.flag("lowercase", true);
    options.strip_accents = fields.flag("strip_accents", options.lowercase);
    return make([options](std::string_view text, Scratch& /*scratch*/) { return normalize_bert(text, options); });
}

}  // namespace

void Normalizer::apply(AlignedText& text, Scratch& scratch) const {
    text = realign(text, [&](std::string_view part) {
        std::string changed(part);
        apply(changed, scratch);
        return changed;
    });
}

std::unique_ptr<const Normalizer> read_normalizer(const Json& value, int depth) {
    const Fields fields(value, "normalizer");
    const std::string type = fields.type();
    if (type == "Sequence") {
        if (depth >= kDeepestSequence) refuse_unsupported("normalizers nested too deep");
        std::vector<std::unique_ptr<const Normalizer>> parts;
        for (const Json& part : fields.list("normalizers")) parts.push_back(read_normalizer(part, depth + 1));
        return std::make_unique<Several>(std::move(parts));
    }
    if (type == "NFC") return make_form(Form::nfc);
    if (type == "NFD") return make_form(Form::nfd);
    if (type == "NFKC") return make_form(Form::nfkc);
    if (type == "NFKD") return make_form(Form::nfkd);
    if (type == "Lowercase") return make_mapping(append_lower);
    if (type == "StripAccents") {
        return make_mapping([](char32_t point, std::string& out) {
            if (!is_mark(point)) append_utf8(point, out);
        });
    }
    if (type == "Nmt") return make_mapping(map_nmt);
    if (type == "Strip") {
        return std::make_unique<Strip>(fields.flag("strip_left", true), fields.flag("strip_right", true));
    }
    if (type == "BertNormalizer") return make_bert(fields);
    if (type == "Prepend") {
        return make([front = fields.text("prepend")](std::string_view text, Scratch& /*scratch*/) {
            return text.empty() ? std::string() : front + std::string(text);
        });
    }
    if (type == "Replace") {
        return std::make_unique<Replace>(read_pattern(fields), fields.text("content"));
    }
    if (type == "ByteLevel") {
        return make([](std::string_view text, Scratch& /*scratch*/) {
            std::string out;
            append_byte_characters(text, out);
            return out;
        });
    }
    if (type == "Precompiled") {
        return make([map = CharsMap::read(fields.text("precompiled_charsmap"))](
                        std::string_view text, Scratch& /*scratch*/) { return map.replace(text); });
    }
    refuse_unsupported("the normalizer " + show(type));
}

}  // namespace edgelora::tokenizer
