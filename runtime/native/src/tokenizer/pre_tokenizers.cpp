#include "pre_tokenizers.hpp"

#include <utility>

#include "../characters.hpp"
#include "byte_level.hpp"
#include "code_points.hpp"
#include "fields.hpp"
#include "patterns.hpp"
#include "regex_classes.hpp"
#include "translate_regex.hpp"
#include "word_pattern.hpp"

namespace edgelora::tokenizer {
namespace {

template <typename Function>
class Simple final : public PreTokenizer {
  public:
    explicit Simple(Function function) : function_(std::move(function)) {}
    void apply(Pieces& pieces, Scratch& scratch) const override { function_(pieces, scratch); }

  private:
    Function function_;
};

template <typename Function>
std::unique_ptr<const PreTokenizer> make(Function function) {
    return std::make_unique<Simple<Function>>(std::move(function));
}

class Several final : public PreTokenizer {
  public:
    explicit Several(std::vector<std::unique_ptr<const PreTokenizer>> parts) : parts_(std::move(parts)) {}
    void apply(Pieces& pieces, Scratch& scratch) const override {
        for (const auto& part : parts_) part->apply(pieces, scratch);
    }

  private:
    std::vector<std::unique_ptr<const PreTokenizer>> parts_;
};

void cut_with(const Regex& pattern, Pieces& pieces, Behavior behavior, bool is_inverted, Scratch& scratch) {
    cut(pieces, behavior, is_inverted, [&](std::string_view piece, std::vector<Span>& found) {
        pattern.find_all(piece, found, scratch);
    });
}

Behavior read_behavior(const Fields& fields, std::string_view otherwise) {
    constexpr std::pair<std::string_view, Behavior> known[] = {
        {"Removed", Behavior::removed},
        {"Isolated", Behavior::isolated},
        {"Contiguous", Behavior::contiguous},
        {"MergedWithPrevious", Behavior::merged_with_previous},
        {"MergedWithNext", Behavior::merged_with_next},
    };
    const std::string name = fields.text("behavior", otherwise);
    for (const auto& [key, behavior] : known) {
        if (name == key) return behavior;
    }
    refuse_unsupported("the behavior " + show(name) + " of a pre-tokenizer");
}

std::unique_ptr<const PreTokenizer> make_byte_level(const Fields& fields) {
    const bool has_prefix = fields.flag("add_prefix_space", true);
    const bool uses_regex = fields.flag("use_regex", true);
    return make([has_prefix, uses_regex, pattern = Regex::from_pattern(kGpt2)](Pieces& pieces, Scratch& scratch) {
        if (has_prefix) {
            rewrite(pieces, [](std::string_view piece, bool /*is_first*/, std::string& out) {
                if (piece.front() != ' ') out += ' ';
                out += piece;
            });
        }
        if (uses_regex) cut_with(pattern, pieces, Behavior::isolated, false, scratch);
        rewrite(pieces, [](std::string_view piece, bool /*is_first*/, std::string& out) {
            append_byte_characters(piece, out);
        });
    });
}

std::unique_ptr<const PreTokenizer> make_split(const Fields& fields) {
    const Behavior behavior = read_behavior(fields, "");
    const bool is_inverted = fields.flag("invert", false);
    return make([pattern = read_pattern(fields), behavior, is_inverted](Pieces& pieces, Scratch& scratch) {
        cut_with(pattern, pieces, behavior, is_inverted, scratch);
    });
}

std::unique_ptr<const PreTokenizer> make_whitespace() {
    const std::string word = kRustWordItems;
    const std::string pattern_text = "[" + word + "]+|[^" + find_escape_set('s', true)->items + word + "]+";
    return make([pattern = Regex::from_pcre(pattern_text)](Pieces& pieces, Scratch& scratch) {
        cut_with(pattern, pieces, Behavior::removed, true, scratch);
    });
}

void put_blank_in_front(const MetaspaceOptions& options, std::string_view piece, bool is_first, std::string& out) {
    const std::string& blank = options.replacement;
    const bool is_blank_first = piece.front() == ' ' || piece.substr(0, blank.size()) == blank;
    const bool is_wanted =
        options.scheme == PrependScheme::always || (options.scheme == PrependScheme::first && is_first);
    if (is_wanted && !is_blank_first) out += blank;
    out += piece;
}

void replace_blanks(const std::string& blank, std::string_view piece, std::string& out) {
    for (const char c : piece) {
        if (c == ' ') {
            out += blank;
        } else {
            out += c;
        }
    }
}

std::unique_ptr<const PreTokenizer> make_metaspace(const MetaspaceOptions& options) {
    return make([options, pattern = Regex::from_text(options.replacement)](Pieces& pieces, Scratch& scratch) {
        if (options.scheme != PrependScheme::never) {
            rewrite(pieces, [&](std::string_view piece, bool is_first, std::string& out) {
                put_blank_in_front(options, piece, is_first, out);
            });
        }
        rewrite(pieces, [&](std::string_view piece, bool /*is_first*/, std::string& out) {
            replace_blanks(options.replacement, piece, out);
        });
        if (options.is_split) cut_with(pattern, pieces, Behavior::merged_with_next, false, scratch);
    });
}

}  // namespace

MetaspaceOptions read_metaspace(const Fields& fields) {
    MetaspaceOptions options;
    append_utf8(fields.character("replacement"), options.replacement);
    const std::string scheme = fields.text("prepend_scheme", "always");
    if (scheme != "always" && scheme != "first" && scheme != "never") {
        refuse_unsupported("the prepend_scheme " + show(scheme) + " of Metaspace");
    }
    options.scheme = scheme == "always"  ? PrependScheme::always
                     : scheme == "first" ? PrependScheme::first
                                         : PrependScheme::never;
    if (!fields.flag("add_prefix_space", true)) {  // files older than prepend_scheme have this alone
        if (fields.find("prepend_scheme") != nullptr && options.scheme != PrependScheme::never) {
            refuse_broken("Metaspace has a prepend_scheme other than its add_prefix_space");
        }
        options.scheme = PrependScheme::never;
    }
    options.is_split = fields.flag("split", true);
    return options;
}

std::unique_ptr<const PreTokenizer> read_pre_tokenizer(const Json& value, int depth) {
    const Fields fields(value, "pre_tokenizer");
    const std::string type = fields.type();
    if (type == "Sequence") {
        if (depth >= kDeepestSequence) refuse_unsupported("pre-tokenizers nested too deep");
        std::vector<std::unique_ptr<const PreTokenizer>> parts;
        for (const Json& part : fields.list("pretokenizers")) parts.push_back(read_pre_tokenizer(part, depth + 1));
        return std::make_unique<Several>(std::move(parts));
    }
    if (type == "ByteLevel") return make_byte_level(fields);
    if (type == "Split") return make_split(fields);
    if (type == "Metaspace") return make_metaspace(read_metaspace(fields));
    if (type == "Whitespace") return make_whitespace();
    if (type == "WhitespaceSplit") {
        return make([](Pieces& pieces, Scratch& /*scratch*/) { cut_at(pieces, Behavior::removed, is_white_space); });
    }
    if (type == "BertPreTokenizer") {
        return make([](Pieces& pieces, Scratch& /*scratch*/) {
            cut_at(pieces, Behavior::removed, is_white_space);
            cut_at(pieces, Behavior::isolated, is_punctuation);
        });
    }
    if (type == "Digits") {
        const auto behavior = fields.flag("individual_digits", false) ? Behavior::isolated : Behavior::contiguous;
        return make([behavior](Pieces& pieces, Scratch& /*scratch*/) { cut_at(pieces, behavior, is_numeric); });
    }
    if (type == "Punctuation") {
        const Behavior behavior = read_behavior(fields, "Isolated");
        return make([behavior](Pieces& pieces, Scratch& /*scratch*/) { cut_at(pieces, behavior, is_punctuation); });
    }
    if (type == "CharDelimiterSplit") {
        std::string delimiter;
        append_utf8(fields.character("delimiter"), delimiter);
        return make([pattern = Regex::from_text(delimiter)](Pieces& pieces, Scratch& scratch) {
            cut_with(pattern, pieces, Behavior::removed, false, scratch);
        });
    }
    refuse_unsupported("the pre-tokenizer " + show(type));
}

}  // namespace edgelora::tokenizer
