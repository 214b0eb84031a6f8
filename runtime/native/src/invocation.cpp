#include "invocation.hpp"

#include <algorithm>

#include "parse_json.hpp"

namespace edgelora {

namespace {

constexpr std::size_t kMostShown = 8;  // token ids

}  // namespace

std::optional<std::size_t> find_last(const std::vector<std::int32_t>& ids, const std::vector<std::int32_t>& part) {
    const auto found = std::find_end(ids.begin(), ids.end(), part.begin(), part.end());
    if (found == ids.end()) {
        return std::nullopt;
    }
    return static_cast<std::size_t>(found - ids.begin());
}

Error no_invocation(const std::string& spec, const std::vector<std::int32_t>& invocation) {
    std::string shown;
    for (std::size_t index = 0; index < std::min(invocation.size(), kMostShown); ++index) {
        shown += (index > 0 ? ", " : "") + std::to_string(invocation[index]);
    }
    shown += invocation.size() > kMostShown ? ", …" : "";
    return Error(Code::invalid_input, "adapter " + show(spec) + " acts from its invocation on, token ids " + shown +
                                          ", which the prompt does not have: it would do nothing; put the invocation "
                                          "into the prompt, or use the adapter 'none'");
}

Error no_blend(const std::string& spec, const std::string& name) {
    return Error(Code::adapter, "adapter SPEC " + show(spec) + ": " + name +
                                    " acts from its invocation on and no blend can; use it alone");
}

}  // namespace edgelora
