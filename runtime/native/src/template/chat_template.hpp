// Chat templates: compiled once, rendered with the variables of a call, as jinja2 does in the setting of transformers.
//
// Knows nothing about tokens or messages. A template gives the text of jinja2 or is refused, and ends in bounded time.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "parse_json.hpp"

namespace edgelora {

class ChatTemplate {
   public:
    // Throws Error{artifact} for what is no template, Error{unsupported} for what is not known here; the line is named.
    static ChatTemplate compile(std::string_view source);

    // The text for `variables`, an object; throws Error{invalid_input} in one line, whatever the template does.
    // `strftime_now` is `date` ("YYYY-MM-DD") at midnight, now where it is empty.
    std::string render(const Json& variables, const std::string& date = "") const;

   private:
    struct Compiled;
    std::shared_ptr<const Compiled> compiled_;
};

}  // namespace edgelora
