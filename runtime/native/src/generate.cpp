#include "generate.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "errors.hpp"

namespace edgelora {

namespace {

// log(sum(exp(values[ends])))
double log_sum(const std::vector<double>& values, const std::vector<std::int64_t>& ends) {
    double largest = -std::numeric_limits<double>::infinity();
    for (const std::int64_t end : ends) {
        largest = std::max(largest, values[static_cast<std::size_t>(end)]);
    }
    if (std::isinf(largest)) {
        return largest;
    }
    double sum = 0;
    for (const std::int64_t end : ends) {
        sum += std::exp(values[static_cast<std::size_t>(end)] - largest);
    }
    return largest + std::log(sum);
}

std::vector<std::size_t> count_from(std::size_t first, std::size_t last) {
    std::vector<std::size_t> positions(last - first);
    std::iota(positions.begin(), positions.end(), first);
    return positions;
}

}  // namespace

Decoding::Decoding(Session& session, DecodingTask task)
    : session_(session),
      task_(std::move(task)),
      tokens_(task_.prompts.size(), 0),
      is_active_(task_.prompts.size(), 1),
      reasons_(task_.prompts.size(), FinishReason::length) {}

void Decoding::finish(std::size_t row, FinishReason reason) {
    is_active_[row] = 0;
    reasons_[row] = reason;
}

std::optional<RowToken> Decoding::next() {
    if (logits_ == nullptr) {
        start();
    } else if (turn_ != session_.turn()) {
        throw Error(Code::invalid_input,
                    "another call used this model while an answer was being streamed; finish it first");
    }
    do {
        for (; row_ < tokens_.size(); ++row_) {
            if (is_active_[row_] == 0) {
                continue;
            }
            check_cancel(task_.cancel);
            const std::size_t vocab_size = session_.vocab_size();
            const std::int32_t token = task_.samplers[row_].choose(logits_ + row_ * vocab_size, vocab_size);
            if (std::find(task_.end_ids.begin(), task_.end_ids.end(), token) != task_.end_ids.end()) {
                finish(row_);
                continue;
            }
            tokens_[row_] = token;
            return RowToken{row_++, token};
        }
    } while (step());
    return std::nullopt;
}

void Decoding::start() {
    check_cancel(task_.cancel);
    if (task_.prompts.size() == 1) {
        const Ids& prompt = task_.prompts.front();
        prompt_logits_.emplace(logits_at(session_, task_.adapter, task_.start, prompt, {prompt.size() - 1}, task_.cancel));
    } else {
        session_.begin(task_.prompts.size(), task_.adapter);
        prompt_logits_.emplace(session_.prefill_rows(task_.prompts, task_.cancel));
    }
    logits_ = prompt_logits_->row(0);
    turn_ = session_.turn();
    count_ = 1;
}

// Feed the tokens of the round that is over; false where no row goes on.
bool Decoding::step() {
    bool is_any = false;
    for (std::size_t row = 0; row < is_active_.size(); ++row) {
        if (static_cast<std::size_t>(session_.lengths()[row]) >= session_.context_length()) {
            is_active_[row] = 0;
        }
        is_any = is_any || is_active_[row] != 0;
    }
    if (count_ == task_.max_new_tokens || !is_any) {
        return false;
    }
    check_cancel(task_.cancel);
    logits_ = session_.decode(tokens_, is_active_);
    prompt_logits_.reset();
    ++count_;
    row_ = 0;
    return true;
}

Logits logits_at(Session& session, const SharedAdapter& adapter, std::size_t start, const Ids& ids,
                 const std::vector<std::size_t>& positions, const Cancel* cancel) {
    const std::size_t limit = *std::min_element(positions.begin(), positions.end());
    const std::size_t n_kept = session.resume(adapter, ids, limit, start);
    return session.prefill(ids, n_kept, positions, cancel);
}

std::vector<double> score_tokens(Session& session, const SharedAdapter& adapter, std::size_t start, const Ids& prompt,
                                 const Ids& completion, const Cancel* cancel) {
    std::vector<double> scores;
    if (completion.empty()) {
        return scores;
    }
    Ids ids = prompt;
    ids.insert(ids.end(), completion.begin(), completion.end() - 1);
    const Logits logits = logits_at(session, adapter, start, ids, count_from(prompt.size() - 1, ids.size()), cancel);
    for (std::size_t index = 0; index < completion.size(); ++index) {
        scores.push_back(
            log_softmax(logits.row(index), logits.vocab_size())[static_cast<std::size_t>(completion[index])]);
    }
    return scores;
}

std::vector<double> score_choices(Session& session, const SharedAdapter& adapter, std::size_t start,
                                  const Ids& prompt, const std::vector<Ids>& choices,
                                  const std::vector<std::int64_t>& end_ids, const Cancel* cancel) {
    const std::size_t vocab_size = session.vocab_size();
    std::vector<std::vector<double>> after;  // one more than the tokens of `path`
    const Logits first = logits_at(session, adapter, start, prompt, {prompt.size() - 1}, cancel);
    after.push_back(log_softmax(first.row(0), vocab_size));
    Ids path;
    std::vector<std::size_t> order = count_from(0, choices.size());
    std::sort(order.begin(), order.end(),
              [&choices](std::size_t one, std::size_t other) { return choices[one] < choices[other]; });
    std::vector<double> scores(choices.size(), 0.0);
    for (const std::size_t index : order) {
        const Ids& choice = choices[index];
        const std::size_t n_shared = shared_length(path, choice);
        session.rewind(prompt.size() + n_shared);
        path = choice;
        after.resize(n_shared + 1);
        if (n_shared < choice.size()) {
            const Logits logits = session.prefill(choice, n_shared, count_from(n_shared, choice.size()), cancel);
            for (std::size_t row = 0; row < choice.size() - n_shared; ++row) {
                after.push_back(log_softmax(logits.row(row), vocab_size));
            }
        }
        for (std::size_t position = 0; position < choice.size(); ++position) {
            scores[index] += after[position][static_cast<std::size_t>(choice[position])];
        }
        scores[index] += end_ids.empty() ? 0.0 : log_sum(after.back(), end_ids);
    }
    return scores;
}

}  // namespace edgelora
