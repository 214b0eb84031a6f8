// Unigram: of all ways to write a word as tokens, the one whose scores add up to the most.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "code_points.hpp"
#include "model.hpp"
#include "prefix_tree.hpp"

namespace edgelora::tokenizer {
namespace {

constexpr double kUnknownPenalty = 10.0;  // below the worst score of the vocabulary

// The best way to write a word as far as some place of it.
struct Step {
    double score = 0.0;
    std::size_t start = 0;  // where its last token begins
    std::int32_t id = 0;
    bool is_reached = false;
};

class Unigram final : public Model {
  public:
    explicit Unigram(const Fields& fields);
    void encode(std::string_view word, std::vector<std::int32_t>& ids, WorkSpace* space) const override;
    void place(std::string_view word, const std::vector<std::int32_t>& ids, std::vector<Span>& spans) const override;
    std::size_t size() const override { return scores_.size(); }

  private:
    std::vector<std::string_view> find_parts(std::string_view word) const;
    std::vector<Step> find_steps(std::string_view word) const;
    void write(std::string_view part, std::vector<std::int32_t>& ids) const;

    PrefixTree tree_;
    std::vector<double> scores_;
    std::vector<std::int32_t> byte_tokens_;  // empty without byte_fallback
    std::optional<std::int32_t> unknown_;
    double unknown_score_ = 0.0;
};

Unigram::Unigram(const Fields& fields) {
    const Json& vocabulary = fields.list("vocab");
    double lowest = 0.0;
    for (const Json& entry : vocabulary) {
        if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number()) {
            refuse_broken("vocab has the entry " + show(entry) + ", expected a token and its score");
        }
        const auto& token = entry[0].get_ref<const std::string&>();
        const auto id = static_cast<std::int32_t>(scores_.size());
        vocabulary_.add(token, id);
        if (!token.empty()) tree_.add(token, id);
        scores_.push_back(entry[1].get<double>());
        lowest = scores_.size() == 1 ? scores_.back() : std::min(lowest, scores_.back());
    }
    unknown_score_ = lowest - kUnknownPenalty;
    if (fields.find("unk_id") != nullptr) {
        const std::uint64_t id = fields.whole("unk_id", 0);
        if (id >= scores_.size()) refuse_broken("unk_id is " + std::to_string(id) + ", which vocab does not have");
        unknown_ = static_cast<std::int32_t>(id);
    }
    if (fields.flag("byte_fallback", false)) byte_tokens_ = find_byte_tokens(vocabulary_);
}

std::vector<Step> Unigram::find_steps(std::string_view word) const {
    std::vector<Step> steps(word.size() + 1);
    const auto offer = [&](std::size_t start, std::size_t end, double score, std::int32_t id) {
        if (!steps[end].is_reached || score > steps[end].score) steps[end] = {score, start, id, true};
    };
    for (std::size_t start = 0; start < word.size();) {
        const std::size_t character_end = start + length_of(static_cast<unsigned char>(word[start]));
        const double here = steps[start].score;
        bool has_character = false;
        std::uint32_t node = PrefixTree::kRoot;
        for (std::size_t at = start; at < word.size();) {
            node = tree_.step(node, static_cast<unsigned char>(word[at++]));
            if (node == PrefixTree::kNone) break;
            const std::int32_t id = tree_.id(node);
            if (id < 0) continue;
            offer(start, at, here + scores_[static_cast<std::size_t>(id)], id);
            has_character = has_character || at == character_end;
        }
        if (!has_character) {
            if (!unknown_) refuse_text("it has no token for what is unknown");
            offer(start, character_end, here + unknown_score_, *unknown_);
        }
        start = character_end;
    }
    return steps;
}

// The parts of a word that are written one by one, from the last one to the first.
std::vector<std::string_view> Unigram::find_parts(std::string_view word) const {
    const std::vector<Step> steps = find_steps(word);
    std::vector<std::string_view> parts;
    std::size_t unknown_end = 0;          // of unknown ones, which become one part; 0: there are none
    for (std::size_t end = word.size(); end > 0;) {
        const Step& step = steps[end];
        if (unknown_ && step.id == *unknown_) {
            if (unknown_end == 0) unknown_end = end;
        } else {
            if (unknown_end != 0) parts.push_back(word.substr(end, unknown_end - end));
            unknown_end = 0;
            parts.push_back(word.substr(step.start, end - step.start));
        }
        end = step.start;
    }
    if (unknown_end != 0) parts.push_back(word.substr(0, unknown_end));
    return parts;
}

void Unigram::place(std::string_view word, const std::vector<std::int32_t>& /*ids*/, std::vector<Span>& spans) const {
    const std::vector<std::string_view> parts = find_parts(word);
    for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
        std::vector<std::int32_t> written;
        write(*part, written);
        const auto start = static_cast<std::size_t>(part->data() - word.data());
        spans.resize(spans.size() + written.size(), {start, start + part->size()});
    }
}

void Unigram::encode(std::string_view word, std::vector<std::int32_t>& ids, WorkSpace* /*space*/) const {
    const std::vector<std::string_view> parts = find_parts(word);
    for (auto part = parts.rbegin(); part != parts.rend(); ++part) write(*part, ids);
}

void Unigram::write(std::string_view part, std::vector<std::int32_t>& ids) const {
    if (const auto id = vocabulary_.find(part)) {
        ids.push_back(*id);
        return;
    }
    const auto token_of = [&](char byte) { return byte_tokens_[static_cast<unsigned char>(byte)]; };
    if (!byte_tokens_.empty() && std::all_of(part.begin(), part.end(), [&](char c) { return token_of(c) >= 0; })) {
        for (const char byte : part) ids.push_back(token_of(byte));
        return;
    }
    if (!unknown_) refuse_text("it has no token for what is unknown");
    ids.push_back(*unknown_);
}

}  // namespace

std::unique_ptr<const Model> read_unigram(const Fields& fields) { return std::make_unique<Unigram>(fields); }

}  // namespace edgelora::tokenizer
