// Byte pair encoding: neighbours are joined, the pair that was learned first before all others.
#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "code_points.hpp"
#include "merges.hpp"
#include "model.hpp"

namespace edgelora::tokenizer {
namespace {

constexpr std::size_t kLongestKept = 64;      // bytes of a word
constexpr std::size_t kMostKept = 16384;      // words
constexpr std::size_t kFewestKept = 16;
constexpr char32_t kListedPoints = 0x800;

// Words that this text had already; each has one place, which the last one takes.
class KeptWords final : public WorkSpace {
  public:
    struct Word {
        std::string text;
        std::vector<std::int32_t> ids;
    };

    explicit KeptWords(std::size_t text_size) {
        std::size_t count = kFewestKept;
        while (count < kMostKept && count < text_size / 4) count *= 2;
        words_.resize(count);
    }

    Word& place_of(std::string_view text) { return words_[std::hash<std::string_view>()(text) & (words_.size() - 1)]; }

    std::vector<std::int32_t> symbols;

  private:
    std::vector<Word> words_;
};

class Bpe final : public Model {
  public:
    explicit Bpe(const Fields& fields);

    std::unique_ptr<WorkSpace> make_work_space(std::size_t text_size) const override {
        return std::make_unique<KeptWords>(text_size);
    }
    void encode(std::string_view word, std::vector<std::int32_t>& ids, WorkSpace* space) const override;
    void place(std::string_view word, const std::vector<std::int32_t>& ids, std::vector<Span>& spans) const override;

  private:
    bool has_symbol(std::string_view word, std::size_t start, std::size_t end) const;
    std::size_t find_end(std::string_view word, std::size_t start, std::int32_t id) const;
    void read_merges(const Json& merges);
    std::optional<std::int32_t> find_symbol(std::string_view word, std::size_t start, std::size_t end) const;
    void write_symbols(std::string_view word, std::vector<std::int32_t>& symbols) const;

    Merges merges_;
    std::vector<std::int32_t> listed_;       // of the first characters: the id of each alone, -1 where there is none
    std::vector<std::int32_t> byte_tokens_;  // empty without byte_fallback
    std::string prefix_;                     // of what is not the beginning of a word
    std::string suffix_;                     // of the end of a word
    std::optional<std::string> unknown_;
    bool is_unknown_fused_;
    bool is_whole_word_first_;
};

Bpe::Bpe(const Fields& fields)
    : prefix_(fields.text("continuing_subword_prefix", "")),
      suffix_(fields.text("end_of_word_suffix", "")),
      is_unknown_fused_(fields.flag("fuse_unk", false)),
      is_whole_word_first_(fields.flag("ignore_merges", false)) {
    if (const Json* dropout = fields.find("dropout")) {
        if (!dropout->is_number() || dropout->get<double>() != 0.0) {
            refuse_unsupported("a BPE model with dropout, which gives other ids each time");
        }
    }
    read_vocabulary(fields, vocabulary_);
    read_merges(fields.list("merges"));
    if (fields.find("unk_token") != nullptr) unknown_ = fields.text("unk_token");
    if (fields.flag("byte_fallback", false)) byte_tokens_ = find_byte_tokens(vocabulary_);
    listed_.assign(kListedPoints, -1);
    vocabulary_.for_each([&](std::string_view token, std::int32_t id) {
        std::size_t at = 0;
        const char32_t point = token.empty() ? kListedPoints : next_point(token, at);
        if (point < kListedPoints && at == token.size()) listed_[point] = id;
    });
}

void Bpe::read_merges(const Json& merges) {
    std::uint32_t rank = 0;
    const auto id_of = [&](const std::string& token, const Json& merge) {
        const auto id = vocabulary_.find(token);
        if (!id) refuse_broken("the merge " + show(merge) + " needs the token " + show(token) + ", which vocab lacks");
        return *id;
    };
    for (const Json& merge : merges) {
        std::string left, right;
        if (merge.is_string()) {
            const auto& text = merge.get_ref<const std::string&>();
            const std::size_t blank = text.find(' ');
            if (blank == text.npos || text.find(' ', blank + 1) != text.npos) {
                if (text.rfind("#version", 0) == 0) continue;
                refuse_broken("the merge " + show(merge) + " is no two tokens with a blank between them");
            }
            left = text.substr(0, blank);
            right = text.substr(blank + 1);
        } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
            left = merge[0].get_ref<const std::string&>();
            right = merge[1].get_ref<const std::string&>();
        } else {
            refuse_broken("the merge " + show(merge) + " is no pair of tokens");
        }
        if (right.size() < prefix_.size()) refuse_broken("the merge " + show(merge) + " lacks " + show(prefix_));
        const std::int32_t joined = id_of(left + right.substr(prefix_.size()), merge);
        merges_.add(id_of(left, merge), id_of(right, merge), {rank++, joined});
    }
}

std::optional<std::int32_t> Bpe::find_symbol(std::string_view word, std::size_t start, std::size_t end) const {
    const std::string_view character = word.substr(start, end - start);
    const bool has_prefix = start > 0 && !prefix_.empty();
    const bool has_suffix = end == word.size() && !suffix_.empty();
    if (has_prefix || has_suffix) {
        return vocabulary_.find((has_prefix ? prefix_ : "") + std::string(character) + (has_suffix ? suffix_ : ""));
    }
    std::size_t at = 0;
    const char32_t point = next_point(character, at);
    if (point >= kListedPoints) return vocabulary_.find(character);
    return listed_[point] < 0 ? std::nullopt : std::optional(listed_[point]);
}

void Bpe::write_symbols(std::string_view word, std::vector<std::int32_t>& symbols) const {
    std::optional<std::int32_t> unknown;  // one that waits, as the next may be part of it
    const auto flush = [&] {
        if (unknown) symbols.push_back(*unknown);
        unknown.reset();
    };
    for (std::size_t start = 0, end = 0; start < word.size(); start = end) {
        end = start + length_of(static_cast<unsigned char>(word[start]));
        if (const auto id = find_symbol(word, start, end)) {
            flush();
            symbols.push_back(*id);
            continue;
        }
        if (!byte_tokens_.empty()) {
            std::string bytes(word.substr(start, end - start));
            if (start > 0) bytes.insert(0, prefix_);
            if (end == word.size()) bytes += suffix_;
            const std::size_t before = symbols.size();
            for (const char byte : bytes) symbols.push_back(byte_tokens_[static_cast<unsigned char>(byte)]);
            // An unknown one that waits stands behind these, as in the tokenizers library.
            if (std::find(symbols.begin() + static_cast<std::ptrdiff_t>(before), symbols.end(), -1) == symbols.end()) {
                continue;
            }
            symbols.resize(before);
        }
        if (!unknown_) continue;
        if (!is_unknown_fused_) flush();
        if (!unknown) unknown = vocabulary_.find(*unknown_);
        if (!unknown) refuse_text("its token for what is unknown, " + show(*unknown_) + ", is not in its vocabulary");
    }
    flush();
}

void Bpe::encode(std::string_view word, std::vector<std::int32_t>& ids, WorkSpace* space) const {
    auto& kept = static_cast<KeptWords&>(*space);
    KeptWords::Word* place = word.size() <= kLongestKept ? &kept.place_of(word) : nullptr;
    if (place != nullptr && place->text == word) {
        ids.insert(ids.end(), place->ids.begin(), place->ids.end());
        return;
    }
    kept.symbols.clear();
    if (const auto whole = is_whole_word_first_ ? vocabulary_.find(word) : std::nullopt) {
        kept.symbols.push_back(*whole);
    } else {
        write_symbols(word, kept.symbols);
        merges_.apply(kept.symbols);
    }
    if (place != nullptr) *place = {std::string(word), kept.symbols};
    ids.insert(ids.end(), kept.symbols.begin(), kept.symbols.end());
}

// Whether a character is written as itself or as its bytes, and so is not unknown.
bool Bpe::has_symbol(std::string_view word, std::size_t start, std::size_t end) const {
    const auto is_byte = [&](char byte) { return byte_tokens_[static_cast<unsigned char>(byte)] >= 0; };
    return find_symbol(word, start, end) ||
           (!byte_tokens_.empty() && std::all_of(word.begin() + static_cast<std::ptrdiff_t>(start),
                                                 word.begin() + static_cast<std::ptrdiff_t>(end), is_byte));
}

// Where the token `id` ends that begins at `start`; `start` itself where it is none of what stands there.
std::size_t Bpe::find_end(std::string_view word, std::size_t start, std::int32_t id) const {
    std::string_view token = vocabulary_.token(id).value_or("");
    if (start > 0 && token.substr(0, prefix_.size()) == prefix_) token.remove_prefix(prefix_.size());
    const std::string_view rest = word.substr(start);
    if (!token.empty() && rest.substr(0, token.size()) == token) return start + token.size();
    if (!suffix_.empty() && token == std::string(rest) + suffix_) return word.size();
    const bool is_byte = !byte_tokens_.empty() && byte_tokens_[static_cast<unsigned char>(rest.front())] == id;
    return is_byte ? start + 1 : start;
}

void Bpe::place(std::string_view word, const std::vector<std::int32_t>& ids, std::vector<Span>& spans) const {
    std::size_t start = 0;
    for (const std::int32_t id : ids) {
        if (start >= word.size()) {  // bytes of a suffix, which stand for nothing in the word
            spans.push_back({word.size(), word.size()});
            continue;
        }
        std::size_t end = find_end(word, start, id);
        for (std::size_t at = start; end == start && at < word.size();) {
            const std::size_t next = at + length_of(static_cast<unsigned char>(word[at]));
            if (unknown_ && id == vocabulary_.find(*unknown_)) {
                end = next;
                while (is_unknown_fused_ && end < word.size()) {
                    const std::size_t after = end + length_of(static_cast<unsigned char>(word[end]));
                    if (has_symbol(word, end, after)) break;
                    end = after;
                }
            } else {  // characters that the vocabulary cannot write, and that nothing stands for
                start = at = next;
                end = at < word.size() ? find_end(word, at, id) : at;
            }
        }
        spans.push_back({start, end});
        start = end;
    }
}

}  // namespace

std::unique_ptr<const Model> read_bpe(const Fields& fields) { return std::make_unique<Bpe>(fields); }

}  // namespace edgelora::tokenizer
