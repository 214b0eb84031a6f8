// Text as it is made: one token at a time into whole characters, and an end at stop strings.
//
// Knows nothing about how tokens are chosen; `text.hpp` decodes them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text.hpp"

namespace edgelora {

// Turns one token at a time into text; what is not yet a whole UTF-8 character waits for the next token.
class StreamDecoder {
   public:
    // `text` must outlive it.
    explicit StreamDecoder(const Text& text) : text_(&text) {}
    // The text that `token` completes, possibly empty.
    std::string push(int32_t token);
    // What waits at the end; an incomplete character becomes U+FFFD.
    std::string flush() { return take(true); }

   private:
    std::string take(bool is_last);

    const Text* text_;
    Ids ids_;
    std::size_t start_ = 0;  // decoding from here on keeps the cost of a step independent of the length so far
    std::size_t shown_ = 0;  // ids whose text was handed out
};

// Passes text through until a stop string appears; no character of one is ever let out.
class StopFilter {
   public:
    explicit StopFilter(std::vector<std::string> stops) : stops_(std::move(stops)) {}
    // What can be shown now. After a stop string `is_stopped` is true and nothing more comes.
    std::string push(std::string_view text);
    // What was held back and turned out to be no stop string.
    std::string flush();
    bool is_stopped() const { return is_stopped_; }

   private:
    std::vector<std::string> stops_;
    std::string held_;
    bool is_stopped_ = false;
};

}  // namespace edgelora
