// WordPiece: a word is written as the longest token that begins it, then the longest that goes on, and so forth; and
// the plain list of words, WordLevel.
#include <string>
#include <utility>

#include "../characters.hpp"
#include "model.hpp"
#include "prefix_tree.hpp"

namespace edgelora::tokenizer {
namespace {

constexpr std::uint64_t kLongestWord = 100;  // characters, where a file names no other number

class WordPiece final : public Model {
  public:
    explicit WordPiece(const Fields& fields);
    void encode(std::string_view word, std::vector<std::int32_t>& ids, WorkSpace* space) const override;

    void place(std::string_view word, const std::vector<std::int32_t>& ids, std::vector<Span>& spans) const override;

  private:
    void write_unknown(std::vector<std::int32_t>& ids) const;

    std::string prefix_;  // of what is not the beginning of a word
    PrefixTree first_;  // tokens as they begin a word
    PrefixTree later_;  // tokens without their prefix
    std::string unknown_;
    std::uint64_t longest_word_;
};

WordPiece::WordPiece(const Fields& fields)
    : prefix_(fields.text("continuing_subword_prefix", "##")),
      unknown_(fields.text("unk_token", "[UNK]")),
      longest_word_(fields.whole("max_input_chars_per_word", kLongestWord)) {
    read_vocabulary(fields, vocabulary_);
    vocabulary_.for_each([&](std::string_view token, std::int32_t id) {
        if (!token.empty()) first_.add(token, id);
        if (token.size() > prefix_.size() && token.substr(0, prefix_.size()) == prefix_) {
            later_.add(token.substr(prefix_.size()), id);
        }
    });
}

void WordPiece::write_unknown(std::vector<std::int32_t>& ids) const {
    const auto id = vocabulary_.find(unknown_);
    if (!id) refuse_text("its token for what is unknown, " + show(unknown_) + ", is not in its vocabulary");
    ids.push_back(*id);
}

void WordPiece::encode(std::string_view word, std::vector<std::int32_t>& ids, WorkSpace* /*space*/) const {
    if (word.size() > longest_word_ && count_characters(word) > longest_word_) return write_unknown(ids);
    const std::size_t before = ids.size();
    for (std::size_t start = 0; start < word.size();) {
        const PrefixTree& tree = start == 0 ? first_ : later_;
        std::uint32_t node = PrefixTree::kRoot;
        std::size_t end = start;
        std::int32_t best = -1;
        for (std::size_t at = start; at < word.size();) {
            node = tree.step(node, static_cast<unsigned char>(word[at++]));
            if (node == PrefixTree::kNone) break;
            if (tree.id(node) < 0) continue;
            best = tree.id(node);
            end = at;
        }
        if (best < 0) {
            ids.resize(before);
            return write_unknown(ids);
        }
        ids.push_back(best);
        start = end;
    }
}

void WordPiece::place(std::string_view word, const std::vector<std::int32_t>& ids, std::vector<Span>& spans) const {
    std::size_t start = 0;
    for (const std::int32_t id : ids) {
        const std::size_t length = vocabulary_.token(id)->size() - (start > 0 ? prefix_.size() : 0);
        const std::size_t end = ids.size() == 1 ? word.size() : start + length;  // one may be that of an unknown word
        spans.push_back({start, end});
        start = end;
    }
}

class WordLevel final : public Model {
  public:
    explicit WordLevel(const Fields& fields) : unknown_(fields.text("unk_token", "<unk>")) {
        read_vocabulary(fields, vocabulary_);
    }

    void encode(std::string_view word, std::vector<std::int32_t>& ids, WorkSpace* /*space*/) const override {
        auto id = vocabulary_.find(word);
        if (!id) id = vocabulary_.find(unknown_);
        if (!id) refuse_text("it lacks the word " + show(word) + " and a token for what is unknown");
        ids.push_back(*id);
    }
    void place(std::string_view word, const std::vector<std::int32_t>& ids, std::vector<Span>& spans) const override {
        spans.resize(spans.size() + ids.size(), {0, word.size()});
    }

  private:
    std::string unknown_;
};

}  // namespace

std::unique_ptr<const Model> read_word_piece(const Fields& fields) { return std::make_unique<WordPiece>(fields); }
std::unique_ptr<const Model> read_word_level(const Fields& fields) { return std::make_unique<WordLevel>(fields); }

}  // namespace edgelora::tokenizer
