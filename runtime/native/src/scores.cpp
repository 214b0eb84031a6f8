#include "scores.hpp"

#include <algorithm>
#include <cmath>

namespace edgelora {
namespace {

constexpr double kChosen = 0.5;  // the score from which on a label of several is one of the text's

}  // namespace

std::vector<double> score_labels(const float* logits, const HeadInfo& head) {
    std::vector<double> scores;
    for (std::size_t index = 0; index < head.labels.size(); index++) {
        scores.push_back(static_cast<double>(logits[index]) / head.temperature);
    }
    if (head.problem_type == kRegression) return scores;
    if (head.problem_type == kMultiLabel) {
        for (double& score : scores) score = 1 / (1 + std::exp(-score));
        return scores;
    }
    const double largest = *std::max_element(scores.begin(), scores.end());
    double sum = 0;
    for (double& score : scores) sum += score = std::exp(score - largest);
    for (double& score : scores) score /= sum;
    return scores;
}

std::size_t best_of(const float* logits, std::size_t count) {
    return static_cast<std::size_t>(std::max_element(logits, logits + count) - logits);
}

Classification classify_logits(const float* logits, const HeadInfo& head, bool truncated) {
    Classification answer;
    answer.known = head.labels;
    answer.scores = score_labels(logits, head);
    answer.truncated = truncated;
    const std::size_t best = best_of(logits, head.labels.size());
    answer.label = head.labels[best];
    answer.score = answer.scores[best];
    if (head.problem_type != kMultiLabel) {
        answer.labels = {answer.label};
        return answer;
    }
    for (std::size_t index = 0; index < head.labels.size(); index++) {
        if (answer.scores[index] >= kChosen) answer.labels.push_back(head.labels[index]);
    }
    return answer;
}

}  // namespace edgelora
