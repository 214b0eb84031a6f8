#include "files.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <system_error>
#include <vector>

#if !defined(_WIN32)
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

#include "sha256.hpp"

namespace edgelora {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPiece = 1 << 20;

[[noreturn]] void refuse(const fs::path& path, Code code, int number, const std::string& advice) {
    throw Error(code, path.u8string() + " cannot be read (" + std::generic_category().message(number) + "); " + advice);
}

struct Stream {
    Stream(const fs::path& path, Code code, const std::string& advice) : path_(path), code_(code), advice_(advice) {
#if defined(_WIN32)
        file_ = _wfopen(path.c_str(), L"rb");
#else
        file_ = std::fopen(path.c_str(), "rb");
#endif
        if (file_ == nullptr) refuse(path, code, errno, advice);
    }
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    ~Stream() { std::fclose(file_); }

    std::size_t read(char* place, std::size_t count) {
        errno = 0;
        const std::size_t found = std::fread(place, 1, count, file_);
        if (found < count && std::ferror(file_) != 0) refuse(path_, code_, errno, advice_);
        return found;
    }

  private:
    const fs::path& path_;
    Code code_;
    const std::string& advice_;
    std::FILE* file_ = nullptr;
};

}  // namespace

std::string read_file(const fs::path& path, Code code, const std::string& advice, std::size_t limit) {
    Stream stream(path, code, advice);
    std::string content;
    // Piece by piece: a file that says it is huge takes no memory before its bytes are there.
    for (;;) {
        const std::size_t start = content.size();
        const std::size_t wanted = std::min(kPiece, limit + 1 - start);
        content.resize(start + wanted);
        const std::size_t found = stream.read(&content[start], wanted);
        content.resize(start + found);
        if (found < wanted || content.size() > limit) return content;
    }
}

std::string hash_file(const fs::path& path, Code code) {
    const std::string advice = "copy it again";
    Stream stream(path, code, advice);
    std::vector<char> piece(kPiece);
    Sha256 digest;
    for (;;) {
        const std::size_t found = stream.read(piece.data(), piece.size());
        digest.update({piece.data(), found});
        if (found < piece.size()) return digest.finish();
    }
}

#if defined(_WIN32)

std::shared_ptr<const MappedFile> MappedFile::open(const fs::path& path, Code code) {
    std::shared_ptr<MappedFile> file(new MappedFile());
    file->read_ = read_file(path, code, "copy it again", std::numeric_limits<std::size_t>::max() / 2);
    file->bytes_ = file->read_;
    return file;
}

MappedFile::~MappedFile() = default;

#else

std::shared_ptr<const MappedFile> MappedFile::open(const fs::path& path, Code code) {
    const std::string advice = "copy it again";
    const int handle = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (handle < 0) refuse(path, code, errno, advice);
    struct stat found = {};
    const int failed = ::fstat(handle, &found) != 0 ? errno : S_ISREG(found.st_mode) ? 0 : EINVAL;
    const auto size = static_cast<std::uintmax_t>(found.st_size);
    void* place = nullptr;  // nothing is mapped of an empty file
    int problem = failed;
    if (failed == 0 && size > std::numeric_limits<std::size_t>::max() / 2) problem = EFBIG;
    if (problem == 0 && size > 0) {
        place = ::mmap(nullptr, static_cast<std::size_t>(size), PROT_READ, MAP_PRIVATE, handle, 0);
        if (place == MAP_FAILED) problem = errno;
    }
    ::close(handle);
    if (problem != 0) refuse(path, code, problem, advice);
    std::shared_ptr<MappedFile> file(new MappedFile());
    file->bytes_ = {static_cast<const char*>(place), static_cast<std::size_t>(size)};
    return file;
}

MappedFile::~MappedFile() {
    if (!bytes_.empty()) ::munmap(const_cast<char*>(bytes_.data()), bytes_.size());
}

#endif

}  // namespace edgelora
