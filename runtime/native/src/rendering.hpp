// Prompts through the chat template: messages, tools and variables in, text out, as transformers renders it.
//
// Knows nothing about tokens, or about what a template may do; `template/` runs it.
#pragma once

#include <optional>
#include <string>

#include "parse_json.hpp"
#include "template/chat_template.hpp"

namespace edgelora {

// Renders conversations exactly as transformers does with the same template; many threads may share one.
class Renderer {
   public:
    // Compiles `source`, and throws as `ChatTemplate::compile`. `variables` are what the template may ask for beside
    // messages and tools, special tokens among them; `date` is today for `strftime_now` (YYYY-MM-DD), the day of each
    // call where there is none.
    Renderer(const std::string& source, Json variables, std::optional<std::string> date);

    // The same template with more variables, and another date where one is given; throws Error{invalid_input}.
    Renderer replace(const Json& variables, const std::optional<std::string>& date) const;

    // The text of a conversation; throws Error{invalid_input} when the template refuses it or would leave a part of it
    // out. Content gets the form that the template can use. `tools` and `tool_calls` that change nothing in the text
    // are refused: the model would never hear of them.
    std::string render(const Json& messages, bool add_generation_prompt = true, const Json* tools = nullptr) const;

   private:
    Renderer(ChatTemplate compiled, Json variables, std::optional<std::string> date);
    Json convert(const Json& message) const;
    std::string render_checked(const Json& messages, bool add_generation_prompt, const Json& tools) const;
    std::optional<std::string> attempt(const Json& messages, bool add_generation_prompt, const Json& tools) const;

    ChatTemplate compiled_;
    Json variables_;
    std::optional<std::string> date_;
    bool takes_text_ = false, takes_parts_ = false;
};

}  // namespace edgelora
