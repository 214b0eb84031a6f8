// Values of a tokenizer.json by their key, each checked as it is taken.
//
// Knows nothing about what they are for.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "../parse_json.hpp"

namespace edgelora::tokenizer {

constexpr int kDeepestSequence = 16;  // sequences inside one another

// The file is broken, or asks for what this reader does not have; `what` is said in the message that names the file.
[[noreturn]] void refuse_broken(const std::string& what);
[[noreturn]] void refuse_unsupported(const std::string& what);

// One object of the file; `place` says which in messages.
class Fields {
  public:
    Fields(const Json& value, std::string place);

    const std::string& place() const { return place_; }
    std::string type() const { return text("type"); }

    // The value under `key`, nullptr where it is null or missing.
    const Json* find(std::string_view key) const;
    const Json& list(std::string_view key) const;
    Fields object(std::string_view key) const;

    std::string text(std::string_view key) const;
    std::string text(std::string_view key, std::string_view otherwise) const;
    bool flag(std::string_view key, bool otherwise) const;
    std::uint64_t whole(std::string_view key, std::uint64_t otherwise) const;
    char32_t character(std::string_view key) const;  // a text of one character

  private:
    const Json& value_;
    std::string place_;
};

// A token id, which must be one that int32 holds.
std::int32_t read_id(const Json& value, const std::string& place);

}  // namespace edgelora::tokenizer
