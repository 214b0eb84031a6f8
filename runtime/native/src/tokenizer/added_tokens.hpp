// Tokens beside the vocabulary of the model: found in a text before anything else is done to it.
//
// Knows nothing about models but their vocabulary.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "find_tokens.hpp"
#include "model.hpp"
#include "normalizers.hpp"

namespace edgelora::tokenizer {

class AddedTokens {
  public:
    // Reads `added_tokens`. A token that the model knows has the model's id; the others have those behind it.
    AddedTokens(const Json* list, const Model& model, const Normalizer* normalizer);

    struct Part {
        std::optional<std::int32_t> id;  // of an added token; else the part is text
        Span span;
    };
    // The parts of a text, with the tokens that are found before it is normalized, or after.
    std::vector<Part> split(std::string_view text, bool is_normalized, Scratch& scratch) const;

    std::optional<std::int32_t> find(std::string_view token) const;
    std::optional<std::string_view> token(std::int32_t id) const;
    bool is_special(std::int32_t id) const;             // whether the token of this id is one
    bool is_special(std::string_view token) const;      // whether a token with this text is one
    std::size_t count_beside(const Vocabulary& vocabulary) const;

  private:
    struct Token {
        std::string content;
        bool is_single_word, is_left_stripped, is_right_stripped, is_normalized, is_special;
    };
    static Token read(const Json& value);
    void add(const Token& token, const Model& model);
    void finish(const Normalizer* normalizer);

    std::vector<Token> special_, plain_;  // in the order of the file
    std::unordered_set<std::string> special_texts_;
    std::unordered_map<std::string, std::int32_t> ids_;
    std::unordered_map<std::int32_t, Token> tokens_;
    std::int32_t largest_ = -1;  // of the ids in ids_
    TextFinder raw_, normalized_;
    Regex word_;  // a character of a word
};

}  // namespace edgelora::tokenizer
