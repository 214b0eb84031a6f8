#include <fstream>
#include <iterator>
#include <optional>

#include "characters.hpp"
#include "kinds.hpp"

namespace edgelora::conformance {
namespace {

constexpr std::size_t kLongestLine = 500;
constexpr std::size_t kShown = 300;

std::string cut(const std::string& text) {
    return text.size() <= kShown ? text : std::string(first_characters(text, kShown)) + "…";
}

}  // namespace

void expect_same(const Json& found, const Json& expected, const std::string& what) {
    if (!is_same(found, expected)) {
        throw Failure(what + " is " + cut(found.dump()) + ", expected " + cut(expected.dump()));
    }
}

Error expect_refused(const std::function<void()>& call, const std::string& message_has) {
    std::optional<Error> caught;
    try {
        call();
    } catch (const Error& error) {
        caught = error;
    }
    if (!caught) throw Failure("it was read, expected an error with " + show(message_has));
    const std::string message = caught->what();
    if (message.find(message_has) == message.npos) {
        throw Failure("the error is " + cut(message) + ", expected " + show(message_has) + " in it");
    }
    if (find_bad_utf8(message)) throw Failure("the error is no UTF-8");
    const std::u32string points = decode_utf8(message);
    if (points.size() >= kLongestLine) throw Failure("the error is too long: " + cut(message));
    for (const char32_t point : points) {
        if (!is_printable(point)) throw Failure("the error is no printable line: " + cut(message));
    }
    return *caught;
}

std::string content_of(const std::filesystem::path& path) {
    std::ifstream stream(path, std::ios::binary);
    if (!stream) throw Failure(path.u8string() + " cannot be read");
    return {std::istreambuf_iterator<char>(stream), {}};
}

}  // namespace edgelora::conformance
