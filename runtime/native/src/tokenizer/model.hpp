// What turns a word into token ids: BPE, Unigram, WordPiece or a list of words.
//
// Knows nothing about how a text was cut into words.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "fields.hpp"
#include "regex.hpp"
#include "vocabulary.hpp"

namespace edgelora::tokenizer {

// What a model writes to while it encodes one text, such as words that it has had already.
class WorkSpace {
  public:
    virtual ~WorkSpace() = default;
};

class Model {
  public:
    virtual ~Model() = default;
    virtual std::unique_ptr<WorkSpace> make_work_space(std::size_t /*text_size*/) const { return nullptr; }
    // Puts the ids of `word`, which is valid UTF-8 and not empty, behind `ids`.
    virtual void encode(std::string_view word, std::vector<std::int32_t>& ids, WorkSpace* space) const = 0;

    // Which bytes of `word` each of the ids stands for that `encode` gives for it, put behind `spans`.
    virtual void place(std::string_view word, const std::vector<std::int32_t>& ids, std::vector<Span>& spans) const = 0;

    virtual std::size_t size() const { return vocabulary_.size(); }
    const Vocabulary& vocabulary() const { return vocabulary_; }

  protected:
    Vocabulary vocabulary_;
};

// The model of a tokenizer.json; throws Error(unsupported) for one that is not known.
std::unique_ptr<const Model> read_model(const Fields& fields);

std::unique_ptr<const Model> read_bpe(const Fields& fields);
std::unique_ptr<const Model> read_unigram(const Fields& fields);
std::unique_ptr<const Model> read_word_piece(const Fields& fields);
std::unique_ptr<const Model> read_word_level(const Fields& fields);

// Fills `vocabulary` from {"token": id}.
void read_vocabulary(const Fields& fields, Vocabulary& vocabulary);

// The ids of the tokens <0x00> to <0xFF>, -1 where there is none.
std::vector<std::int32_t> find_byte_tokens(const Vocabulary& vocabulary);

[[noreturn]] void refuse_text(const std::string& why);

}  // namespace edgelora::tokenizer
