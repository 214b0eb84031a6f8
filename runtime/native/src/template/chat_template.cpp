#include "template/chat_template.hpp"

#include "characters.hpp"
#include "template/machine.hpp"
#include "template/parser.hpp"

namespace edgelora {

namespace {

std::string not_usable(const char* reason) {
    return "the chat template cannot be used (" + one_line(reason) + "); export the artifact with another one";
}

}  // namespace

struct ChatTemplate::Compiled {
    jinja::Program program;
};

ChatTemplate ChatTemplate::compile(std::string_view source) {
    if (count_characters(source) > jinja::longest_template) {
        throw Error(Code::artifact, "the chat template has " + std::to_string(count_characters(source)) +
                                        " characters, at most " + std::to_string(jinja::longest_template) +
                                        " are read");
    }
    if (find_bad_utf8(source)) throw Error(Code::artifact, "the chat template is not UTF-8; export the artifact again");
    try {
        ChatTemplate compiled;
        compiled.compiled_ = std::make_shared<Compiled>(Compiled{jinja::resolve(jinja::parse(source))});
        return compiled;
    } catch (const Error& error) {
        if (error.code == Code::unsupported) {
            throw Error(Code::unsupported, not_usable(error.what()));
        }
        throw Error(Code::artifact,
                    "the chat template is malformed (" + one_line(error.what()) + "); export the artifact again");
    }
}

std::string ChatTemplate::render(const Json& variables, const std::string& date) const {
    try {
        return jinja::Machine(compiled_->program, variables, date).run();
    } catch (const Error& error) {
        if (error.code == Code::unsupported) throw Error(Code::unsupported, not_usable(error.what()));
        throw Error(Code::invalid_input, "the chat template refuses these messages: " + one_line(error.what()));
    } catch (const std::bad_alloc&) {
        throw Error(Code::memory, "the chat template needs more memory than there is");
    }
}

}  // namespace edgelora
