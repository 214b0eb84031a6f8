// Renders what stands on each line of standard input, {"template", "variables", "date"}, and writes a line for it:
// {"text"}, or {"error", "code"}. tests/native/test_template.py holds the lines to jinja2.

#include <iostream>
#include <string>

#include "template/chat_template.hpp"

int main() {
    using edgelora::Json;
    for (std::string line; std::getline(std::cin, line);) {
        const Json request = Json::parse(line);
        Json answer;
        try {
            const auto compiled = edgelora::ChatTemplate::compile(request["template"].get<std::string>());
            answer["text"] = compiled.render(request["variables"], request.value("date", ""));
        } catch (const edgelora::Error& error) {
            answer["error"] = error.what();
            answer["code"] = static_cast<int>(error.code);
        }
        std::cout << answer.dump() << "\n";
    }
    return 0;
}
