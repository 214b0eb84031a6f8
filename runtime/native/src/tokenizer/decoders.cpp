#include "decoders.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "../characters.hpp"
#include "byte_level.hpp"
#include "code_points.hpp"
#include "fields.hpp"
#include "patterns.hpp"
#include "pre_tokenizers.hpp"

namespace edgelora::tokenizer {
namespace {

using Tokens = std::vector<std::string>;

template <typename Function>
class Simple final : public Decoder {
  public:
    explicit Simple(Function function) : function_(std::move(function)) {}
    void apply(Tokens& tokens, Scratch& scratch) const override { function_(tokens, scratch); }

  private:
    Function function_;
};

template <typename Function>
std::unique_ptr<const Decoder> make(Function function) {
    return std::make_unique<Simple<Function>>(std::move(function));
}

class Several final : public Decoder {
  public:
    explicit Several(std::vector<std::unique_ptr<const Decoder>> parts) : parts_(std::move(parts)) {}
    void apply(Tokens& tokens, Scratch& scratch) const override {
        for (const auto& part : parts_) part->apply(tokens, scratch);
    }

  private:
    std::vector<std::unique_ptr<const Decoder>> parts_;
};

std::string replace_text(std::string_view text, std::string_view from, std::string_view to) {
    if (from.empty()) return std::string(text);
    std::string out;
    std::size_t last = 0;
    for (std::size_t at = 0; (at = text.find(from, last)) != text.npos; last = at + from.size()) {
        out.append(text.substr(last, at - last)).append(to);
    }
    return out.append(text.substr(last));
}

void fuse(Tokens& tokens) {
    std::string all;
    for (const std::string& token : tokens) all += token;
    tokens.assign(1, std::move(all));
}

void join_bytes(Tokens& tokens) {
    std::string bytes;
    for (const std::string& token : tokens) {
        if (!append_bytes(token, bytes)) bytes += token;
    }
    tokens.assign(1, replace_bad_utf8(std::move(bytes)));
}

// The byte that a token such as <0x0A> stands for.
std::optional<char> byte_of(const std::string& token) {
    if (token.size() != 6 || token.compare(0, 3, "<0x") != 0 || token[5] != '>') return std::nullopt;
    unsigned value = 0;
    for (const char c : token.substr(3, 2)) {
        const bool is_digit = c >= '0' && c <= '9';
        const char small = static_cast<char>(c | 0x20);
        if (!is_digit && (small < 'a' || small > 'f')) return std::nullopt;
        value = value * 16 + static_cast<unsigned>(is_digit ? c - '0' : small - 'a' + 10);
    }
    return static_cast<char>(value);
}

void join_byte_tokens(Tokens& tokens) {
    Tokens out;
    std::string bytes;
    const auto flush = [&] {
        if (bytes.empty()) return;
        if (find_bad_utf8(bytes)) {
            for (std::size_t index = 0; index < bytes.size(); index++) out.emplace_back("\xef\xbf\xbd");
        } else {
            out.push_back(bytes);
        }
        bytes.clear();
    };
    for (std::string& token : tokens) {
        if (const auto byte = byte_of(token)) {
            bytes += *byte;
            continue;
        }
        flush();
        out.push_back(std::move(token));
    }
    flush();
    tokens = std::move(out);
}

void clean_up(std::string& token) {
    constexpr std::pair<const char*, const char*> replacements[] = {
        {" .", "."},     {" ?", "?"},   {" !", "!"},           {" ,", ","},   {" ' ", "'"},   {" n't", "n't"},
        {" 'm", "'m"},   {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
    };
    for (const auto& [from, to] : replacements) token = replace_text(token, from, to);
}

std::unique_ptr<const Decoder> make_word_piece(const Fields& fields) {
    return make([prefix = fields.text("prefix", "##"), is_cleaned = fields.flag("cleanup", true)](
                    Tokens& tokens, Scratch& /*scratch*/) {
        bool is_first = true;
        for (std::string& token : tokens) {
            if (!is_first) {
                if (token.compare(0, prefix.size(), prefix) == 0) {
                    token.erase(0, prefix.size());
                } else {
                    token.insert(0, " ");
                }
            }
            is_first = false;
            if (is_cleaned) clean_up(token);
        }
    });
}

std::unique_ptr<const Decoder> make_metaspace(const Fields& fields) {
    return make([options = read_metaspace(fields)](Tokens& tokens, Scratch& /*scratch*/) {
        bool is_first = true;
        for (std::string& token : tokens) {
            const bool is_dropped = is_first && options.scheme != PrependScheme::never;
            token = replace_text(token, options.replacement, is_dropped ? "" : " ");
            is_first = false;
        }
    });
}

std::unique_ptr<const Decoder> make_strip(const Fields& fields) {
    std::string content;
    append_utf8(fields.character("content"), content);
    return make([content, start = fields.whole("start", 0), stop = fields.whole("stop", 0)](Tokens& tokens,
                                                                                            Scratch& /*scratch*/) {
        for (std::string& token : tokens) {
            std::size_t begin = 0, end = token.size();
            for (std::uint64_t n = 0; n < start && token.compare(begin, content.size(), content) == 0; n++) {
                begin += content.size();
            }
            for (std::uint64_t n = 0; n < stop && end >= begin + content.size() &&
                                      token.compare(end - content.size(), content.size(), content) == 0;
                 n++) {
                end -= content.size();
            }
            token = token.substr(begin, end - begin);
        }
    });
}

std::unique_ptr<const Decoder> make_bpe(const Fields& fields) {
    return make([suffix = fields.text("suffix", "</w>")](Tokens& tokens, Scratch& /*scratch*/) {
        for (std::string& token : tokens) token = replace_text(token, suffix, &token == &tokens.back() ? "" : " ");
    });
}

}  // namespace

std::unique_ptr<const Decoder> read_decoder(const Json& value, int depth) {
    const Fields fields(value, "decoder");
    const std::string type = fields.type();
    if (type == "Sequence") {
        if (depth >= kDeepestSequence) refuse_unsupported("decoders nested too deep");
        std::vector<std::unique_ptr<const Decoder>> parts;
        for (const Json& part : fields.list("decoders")) parts.push_back(read_decoder(part, depth + 1));
        return std::make_unique<Several>(std::move(parts));
    }
    if (type == "ByteLevel") return make([](Tokens& tokens, Scratch& /*scratch*/) { join_bytes(tokens); });
    if (type == "ByteFallback") return make([](Tokens& tokens, Scratch& /*scratch*/) { join_byte_tokens(tokens); });
    if (type == "Fuse") return make([](Tokens& tokens, Scratch& /*scratch*/) { fuse(tokens); });
    if (type == "WordPiece") return make_word_piece(fields);
    if (type == "Metaspace") return make_metaspace(fields);
    if (type == "Strip") return make_strip(fields);
    if (type == "BPEDecoder") return make_bpe(fields);
    if (type == "Replace") {
        return make([pattern = read_pattern(fields), content = fields.text("content")](Tokens& tokens,
                                                                                        Scratch& scratch) {
            std::size_t length = 0;
            for (std::string& token : tokens) {
                token = replace_matches(pattern, content, token, scratch);
                check_length(length += token.size());
            }
        });
    }
    refuse_unsupported("the decoder " + show(type));
}

}  // namespace edgelora::tokenizer
