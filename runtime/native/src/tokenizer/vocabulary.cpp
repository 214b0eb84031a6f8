#include "vocabulary.hpp"

#include <algorithm>
#include <functional>
#include <limits>

#include "fields.hpp"

namespace edgelora::tokenizer {
namespace {

constexpr std::size_t kMostProbes = 2000;  // honest texts need a handful
constexpr std::int32_t kLargestListedId = 1 << 22;

}  // namespace

std::size_t Vocabulary::place_of(std::string_view token, std::size_t hash) const {
    const std::size_t mask = places_.size() - 1;
    std::size_t place = hash & mask;
    for (std::size_t probes = 0;; probes++, place = (place + 1) & mask) {
        if (places_[place] == 0) return place;
        const Entry& entry = entries_[places_[place] - 1];
        if (entry.length == token.size() && text_of(entry) == token) return place;
        if (probes == kMostProbes) refuse_broken("a vocabulary whose tokens collide");
    }
}

void Vocabulary::grow() {
    places_.assign(std::max<std::size_t>(64, places_.size() * 2), 0);
    for (std::size_t index = 0; index < entries_.size(); index++) {
        const std::string_view text = text_of(entries_[index]);
        places_[place_of(text, std::hash<std::string_view>()(text))] = static_cast<std::uint32_t>(index + 1);
    }
}

void Vocabulary::add(std::string_view token, std::int32_t id) {
    if (2 * (entries_.size() + 1) > places_.size()) grow();
    std::uint32_t& place = places_[place_of(token, std::hash<std::string_view>()(token))];
    if (place == 0) {
        entries_.push_back({texts_.size(), static_cast<std::uint32_t>(token.size()), id});
        texts_ += token;
        longest_ = std::max(longest_, token.size());
        place = static_cast<std::uint32_t>(entries_.size());
    } else {
        entries_[place - 1].id = id;
    }
    if (id > kLargestListedId) {
        others_[id] = place;
        return;
    }
    const auto index = static_cast<std::size_t>(id);
    if (index >= by_id_.size()) by_id_.resize(std::max(index + 1, std::min<std::size_t>(2 * by_id_.size(), 1U << 22)));
    by_id_[index] = place;
}

std::optional<std::int32_t> Vocabulary::find(std::string_view token) const {
    if (places_.empty()) return std::nullopt;
    const std::uint32_t found = places_[place_of(token, std::hash<std::string_view>()(token))];
    if (found == 0) return std::nullopt;
    return entries_[found - 1].id;
}

std::optional<std::string_view> Vocabulary::token(std::int32_t id) const {
    std::uint32_t found = 0;
    if (id > kLargestListedId) {
        const auto other = others_.find(id);
        found = other == others_.end() ? 0 : other->second;
    } else if (id >= 0 && static_cast<std::size_t>(id) < by_id_.size()) {
        found = by_id_[static_cast<std::size_t>(id)];
    }
    if (found == 0) return std::nullopt;
    return text_of(entries_[found - 1]);
}

}  // namespace edgelora::tokenizer
