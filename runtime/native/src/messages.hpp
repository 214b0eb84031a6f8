// What a conversation may be: messages with text or text parts, tool calls, and the tools offered beside them.
//
// Knows nothing about templates; the rules are those of the other runtimes and of training rows, in the same words.
#pragma once

#include <string>

#include "parse_json.hpp"

namespace edgelora {

// The messages without keys that say nothing; throws Error{invalid_input} naming what is wrong.
// Content is text or a list of text parts; a message with `tool_calls` may have none.
Json check_messages(const Json& messages);

// The tools as objects; data sets may hold them as the text of a JSON list.
Json check_tools(const Json& tools);

// Content as one text: parts are joined with line breaks, as the servers do that feed templates which want text.
std::string as_text(const Json& parts);

// Content as a list of one text part.
Json as_parts(const std::string& text);

}  // namespace edgelora
