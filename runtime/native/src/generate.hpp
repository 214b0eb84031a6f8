// Decode loops over token ids: one row or many, restricted choices, log-probabilities.
//
// Knows nothing about text: the caller turns tokens into characters and says when a row has seen enough.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "sampling.hpp"
#include "session.hpp"

namespace edgelora {

enum class FinishReason { stop, length, choice };

// A token of a row, by the row's place among the prompts.
struct RowToken {
    std::size_t row;
    std::int32_t token;
};

// What `Decoding` makes answers of.
struct DecodingTask {
    SharedAdapter adapter;
    std::size_t start = 0;  // index from which the adapter of a single row acts
    std::vector<Ids> prompts;
    std::vector<Sampler> samplers;  // one for each prompt
    std::size_t max_new_tokens = 0;
    std::vector<std::int64_t> end_ids;  // tokens that end a row and are not handed out
    const Cancel* cancel = nullptr;
};

// Generates rows together: ask for the `next` token until there is none, call `finish` to end a row early.
class Decoding {
  public:
    Decoding(Session& session, DecodingTask task);

    // The next token of any row; none when every row is over. Throws Error{cancelled} between two tokens, and
    // Error{invalid_input} when another call used the session meanwhile.
    std::optional<RowToken> next();
    // End `row` after the token that was handed out last.
    void finish(std::size_t row, FinishReason reason = FinishReason::stop);
    // Why each row ended.
    const std::vector<FinishReason>& reasons() const { return reasons_; }

  private:
    void start();
    bool step();

    Session& session_;
    DecodingTask task_;
    std::optional<Logits> prompt_logits_;
    const float* logits_ = nullptr;  // (rows, vocab_size); nullptr before the first token
    std::vector<std::int64_t> tokens_;
    std::vector<char> is_active_;
    std::vector<FinishReason> reasons_;
    std::size_t row_ = 0;    // to choose a token for next
    std::size_t count_ = 0;  // tokens that every active row has after this round
    std::uint64_t turn_ = 0;
};

// Put `ids` into the single row, keeping the longest common beginning of the cache. Logits after the tokens at
// `positions`, of which there must be one. The adapter acts from index `start` on.
Logits logits_at(Session& session, const SharedAdapter& adapter, std::size_t start, const Ids& ids,
                 const std::vector<std::size_t>& positions, const Cancel* cancel = nullptr);

// Log-probability of each token of `completion` after `prompt`.
std::vector<double> score_tokens(Session& session, const SharedAdapter& adapter, std::size_t start, const Ids& prompt,
                                 const Ids& completion, const Cancel* cancel = nullptr);

// Summed log-probability of the tokens of each choice and of ending there, with any of `end_ids`; with none of them the
// tokens alone count. The prompt is computed once, and choices that begin alike share that beginning.
std::vector<double> score_choices(Session& session, const SharedAdapter& adapter, std::size_t start,
                                  const Ids& prompt, const std::vector<Ids>& choices,
                                  const std::vector<std::int64_t>& end_ids, const Cancel* cancel = nullptr);

}  // namespace edgelora
