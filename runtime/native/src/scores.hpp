// Logits of a head as scores of its labels; `docs/format.md` ("Heads") is the definition.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "manifest.hpp"

namespace edgelora {

// `label` is the likeliest and `score` its score; `labels` are those that hold, one unless several may. `scores` are in
// the order of `known`, all labels of the head. `truncated` is whether the text was longer than the model reads, so
// that its end had no say.
struct Classification {
    std::string label;
    double score = 0;
    std::vector<std::string> known;
    std::vector<double> scores;
    std::vector<std::string> labels;
    bool truncated = false;
};

// Scores of as many logits as the head has labels: calibrated probabilities, or the numbers of a regression.
std::vector<double> score_labels(const float* logits, const HeadInfo& head);

// The place of the largest logit, the first of equal ones.
std::size_t best_of(const float* logits, std::size_t count);

// The answer for one text.
Classification classify_logits(const float* logits, const HeadInfo& head, bool truncated);

}  // namespace edgelora
