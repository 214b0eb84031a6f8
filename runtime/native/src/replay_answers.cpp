#include "replay_answers.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <tuple>
#include <utility>

#include "errors.hpp"

namespace edgelora {
namespace {

using Numbers = std::vector<double>;

constexpr double kNoEffect = 1e-6;  // of the numbers' own size; equal factors give equal numbers
constexpr double kLeastShare = 0.1;     // of the receipt's distance between with and without factors
constexpr double kLargestShare = 0.25;  // of the distance that the factors must close
constexpr double kNoise = 4.0;      // times the distance of both without factors: what arithmetic costs those as well
constexpr double kOtherHead = 0.5;  // of the numbers' size: a grid is nearer than this, another head is not
constexpr double kRounding = 1e-3;  // of the numbers' size
constexpr const char* kAdvice =
    "re-measure it with `edgelora adapter receipt` if that is meant, else train or copy it again";

std::string digits(double value) {
    char text[40];
    std::snprintf(text, sizeof(text), "%.3g", value);
    return text;
}

// The root mean square of numbers, or of how far two lists are apart.
double rms(const Numbers& numbers) {
    double sum = 0;
    for (const double number : numbers) sum += number * number;
    return std::sqrt(sum / static_cast<double>(numbers.size()));
}

double apart(const Numbers& one, const Numbers& other) {
    Numbers between;
    for (std::size_t index = 0; index < one.size(); index++) between.push_back(one[index] - other[index]);
    return rms(between);
}

std::pair<bool, std::string> judge(const Numbers& told, const Numbers& told_base, const Numbers& found,
                                   const Numbers& base) {
    const double size = rms(told_base) + rms(told);
    const double expected = apart(told, told_base), effect = apart(found, base), moved = apart(base, told_base);
    if (moved > kOtherHead * rms(told_base) + kRounding * size) {
        return {false, "without its factors it is " + digits(moved) + " away from what its receipt says (" +
                           digits(rms(told_base)) + "): is its head that of another adapter? " + kAdvice};
    }
    if (expected > kNoEffect * size && !(effect > kNoEffect * size)) {
        return {false, std::string("it does nothing here: the answers are those without its factors; ") + kAdvice};
    }
    if (effect < kLeastShare * expected) {
        return {false, "it does next to nothing here: its factors change the answers by " + digits(effect) +
                           ", its receipt says " + digits(expected) + "; " + kAdvice};
    }
    const double away = apart(found, told);
    const double allowed = kLargestShare * apart(told, base) + kNoise * moved + kRounding * size;
    if (!(away <= allowed)) {
        return {false, "it does not do what its receipt says: its answers are " + digits(away) +
                           " away from the recorded ones, at most " + digits(allowed) + " are expected; " + kAdvice};
    }
    return {true, digits(away) + " from its receipt, " + digits(allowed) + " allowed"};
}

AnswerResult replay(const RowOutputs& outputs, const ModelInfo& info, const std::string& name,
                    const Receipt& receipt) {
    const auto started = std::chrono::steady_clock::now();
    std::vector<std::vector<std::int32_t>> rows;
    Numbers told, told_base;
    for (const RecordedAnswer& answer : receipt.answers) {
        const std::int32_t largest = *std::max_element(answer.input_ids.begin(), answer.input_ids.end());
        if (largest >= info.vocab_size || static_cast<std::int64_t>(answer.input_ids.size()) > info.context_length) {
            throw Error(Code::adapter, "the receipt's answers cannot be read here (token ids up to " +
                                           std::to_string(largest) + " of " + std::to_string(info.vocab_size) + ", " +
                                           std::to_string(answer.input_ids.size()) + " tokens of " +
                                           std::to_string(info.context_length) + "); train the adapter again");
        }
        rows.push_back(answer.input_ids);
        told.insert(told.end(), answer.output.begin(), answer.output.end());
        told_base.insert(told_base.end(), answer.base.begin(), answer.base.end());
    }
    const Numbers found = outputs(rows, name), base = outputs(rows, name + ":0");
    AnswerResult result;
    if (found.size() == told.size()) {
        std::tie(result.passed, result.reason) = judge(told, told_base, found, base);
    } else {
        result.reason = "it gives " + std::to_string(found.size()) + " numbers for the texts of its receipt, which has " +
                        std::to_string(told.size()) + "; is the receipt of another head?";
    }
    result.effect_found = apart(found, base);
    result.effect_expected = apart(told, told_base);
    result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
    return result;
}

}  // namespace

std::optional<AnswerResult> check_answers(const RowOutputs& outputs, const Manifest& manifest, const std::string& name,
                                          const std::filesystem::path& folder) {
    const std::string where = "adapter " + show(name) + " (" + folder.u8string() + "): ";
    const std::optional<Receipt> receipt = read_receipt(folder);
    if (!receipt) return std::nullopt;
    std::vector<std::string> modules;  // those of the receipt: which ones there are was held to it at the load
    for (const auto& layer : receipt->layers) modules.push_back(layer.first);
    std::string wrong = find_mismatch(*receipt, manifest);
    if (wrong.empty()) wrong = find_other_factors(*receipt, folder, modules);
    if (!wrong.empty()) throw Error(Code::adapter, where + wrong);
    if (receipt->answers.empty()) return std::nullopt;
    AnswerResult result = replay(outputs, manifest.model, name, *receipt);
    if (!result.passed) throw Error(Code::adapter, where + result.reason);
    return result;
}

}  // namespace edgelora
