// Files read whole, mapped, or hashed.
//
// Knows nothing about what they hold. Whoever asks says which error a file that cannot be read is.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "errors.hpp"

namespace edgelora {

// The content of a file, at most `limit` bytes and one more, by which a reader sees that it is longer.
std::string read_file(const std::filesystem::path& path, Code code, const std::string& advice, std::size_t limit);

// SHA-256 (hex) of a file.
std::string hash_file(const std::filesystem::path& path, Code code);

// A file in memory, read-only, as long as the object lives; the system reads of it what is looked at. The file may be
// replaced by another one meanwhile, but not cut short.
class MappedFile {
  public:
    static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path, Code code);

    MappedFile(const MappedFile&) = delete;
    MappedFile& operator=(const MappedFile&) = delete;
    ~MappedFile();

    std::string_view bytes() const { return bytes_; }

  private:
    MappedFile() = default;

    std::string_view bytes_;
    std::string read_;  // the content where the system maps no files
};

}  // namespace edgelora
