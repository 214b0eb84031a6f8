#include "stream.hpp"

#include <algorithm>

#include "characters.hpp"

namespace edgelora {
namespace {

constexpr std::string_view REPLACEMENT = "\xEF\xBF\xBD";  // U+FFFD: what a decoder writes for no complete character

bool ends_with(std::string_view text, std::string_view end) {
    return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

// Length of the longest end of `text` that begins `stop`. Both are whole UTF-8, so that bytes are as good as characters.
std::size_t overlap(std::string_view text, std::string_view stop) {
    for (std::size_t n = std::min(text.size(), stop.size() - 1); n > 0; --n) {
        if (ends_with(text, stop.substr(0, n))) return n;
    }
    return 0;
}

}  // namespace

std::string StreamDecoder::push(int32_t token) {
    ids_.push_back(token);
    return take(false);
}

std::string StreamDecoder::take(bool is_last) {
    // Decoders may drop a leading blank, so the tokens shown last are decoded again in front of the new ones.
    const auto at = [&](std::size_t index) { return ids_.begin() + static_cast<std::ptrdiff_t>(index); };
    const std::string before = text_->decode(Ids(at(start_), at(shown_)));
    const std::string after = text_->decode(Ids(at(start_), ids_.end()));
    const std::size_t n_before = count_characters(before);
    if (count_characters(after) <= n_before || (ends_with(after, REPLACEMENT) && !is_last)) return "";
    start_ = shown_;
    shown_ = ids_.size();
    return after.substr(first_characters(after, n_before).size());
}

std::string StopFilter::push(std::string_view text) {
    if (is_stopped_) return "";
    held_ += text;
    std::size_t first = std::string::npos;
    for (const std::string& stop : stops_) first = std::min(first, held_.find(stop));
    std::string shown;
    if (first != std::string::npos) {
        is_stopped_ = true;
        shown = held_.substr(0, first);
        held_.clear();
        return shown;
    }
    std::size_t n_held = 0;
    for (const std::string& stop : stops_) n_held = std::max(n_held, overlap(held_, stop));
    shown = held_.substr(0, held_.size() - n_held);
    held_.erase(0, held_.size() - n_held);
    return shown;
}

std::string StopFilter::flush() {
    std::string shown;
    shown.swap(held_);
    return shown;
}

}  // namespace edgelora
