// What the programs that check operators have in common: memory that ends where it ends, threads, numbers.
#pragma once

#include <onnxruntime_c_api.h>

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <thread>
#include <vector>

namespace {

// Memory whose last byte is the last before a page that nobody may touch.
class Fenced {
 public:
  explicit Fenced(size_t bytes) : bytes_(bytes) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    size_ = (bytes + page - 1) / page * page + page;
    start_ = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    auto* last = static_cast<unsigned char*>(start_) + size_ - page;
    if (start_ == MAP_FAILED || mprotect(last, page, PROT_NONE) != 0) std::abort();
    data_ = last - bytes;
  }
  explicit Fenced(const std::vector<unsigned char>& bytes) : Fenced(bytes.size()) {
    std::copy(bytes.begin(), bytes.end(), data_);
  }
  Fenced(const Fenced&) = delete;
  Fenced& operator=(const Fenced&) = delete;
  ~Fenced() { munmap(start_, size_); }
  unsigned char* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  size_t bytes_, size_;
  void* start_;
  unsigned char* data_;
};

// Runs every share on a thread of its own, as a session with many threads would.
inline OrtStatus* ORT_API_CALL run_on_threads(const OrtKernelContext*, void (*body)(void*, size_t), size_t total, size_t,
                                       void* data) noexcept {
  std::vector<std::thread> threads;
  for (size_t i = 0; i < total; ++i) threads.emplace_back(body, data, i);
  for (std::thread& thread : threads) thread.join();
  return nullptr;
}

inline std::vector<float> draw(size_t count, std::mt19937& random) {
  std::vector<float> found(count);
  std::normal_distribution<float> normal;
  for (float& value : found) value = normal(random);
  return found;
}

}  // namespace
