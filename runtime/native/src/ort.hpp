// onnxruntime through its C API: found and opened at run time, every handle owned, every status an Error.
//
// Knows nothing about graphs of ours; versions 1.24 to 1.32 are served by whatever API both header and library have.
#pragma once

#include <onnxruntime_c_api.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace edgelora {

// The oldest API that has everything that is called here: onnxruntime 1.24.
constexpr uint32_t kOldestOrtApi = 24;

// Gives any handle of onnxruntime back.
struct Releaser {
    const OrtApi* api = nullptr;
    void operator()(OrtEnv* item) const { api->ReleaseEnv(item); }
    void operator()(OrtSession* item) const { api->ReleaseSession(item); }
    void operator()(OrtSessionOptions* item) const { api->ReleaseSessionOptions(item); }
    void operator()(OrtRunOptions* item) const { api->ReleaseRunOptions(item); }
    void operator()(OrtMemoryInfo* item) const { api->ReleaseMemoryInfo(item); }
    void operator()(OrtTypeInfo* item) const { api->ReleaseTypeInfo(item); }
    void operator()(OrtIoBinding* item) const { api->ReleaseIoBinding(item); }
    void operator()(OrtValue* item) const { api->ReleaseValue(item); }
    void operator()(OrtStatus* item) const { api->ReleaseStatus(item); }
};

template <typename T>
using Handle = std::unique_ptr<T, Releaser>;

// What onnxruntime said of a failure: its message in one line of bearable length.
struct OrtFailure {
    OrtErrorCode code;
    std::string message;
    bool is_memory() const;
};

// One opened library with its environment, shared by the graphs that run on it.
class Ort {
  public:
    // Opens `library`; empty means the variable EDGELORA_ONNXRUNTIME of the environment, else the system's library by
    // its name. A build that is linked against onnxruntime uses that unless one of the two is given.
    // Throws Error{unsupported} when there is none or it is older than 1.24.
    static std::shared_ptr<const Ort> open(const std::filesystem::path& library = {});

    Ort(const Ort&) = delete;
    Ort& operator=(const Ort&) = delete;

    const OrtApi& api() const { return *api_; }
    const OrtApiBase& base() const { return *base_; }
    OrtEnv* env() const { return env_.get(); }
    const OrtMemoryInfo* memory() const { return memory_.get(); }
    // Of the library, as "1.32.0".
    std::string version() const { return base_->GetVersionString(); }
    // That is spoken with it.
    uint32_t api_version() const { return api_version_; }

    // Takes `status`; true for success, else `failure` says what it was.
    bool succeeded(OrtStatus* status, OrtFailure& failure) const;
    // Takes `status`; throws Error{memory} or Error{internal}, `doing` first, when it is none of success.
    void check(OrtStatus* status, const char* doing) const;

    template <typename T>
    Handle<T> own(T* item) const {
        return Handle<T>(item, Releaser{api_});
    }
    // A tensor over the caller's memory, which must outlive it.
    Handle<OrtValue> value_over(void* data, size_t n_bytes, const std::vector<int64_t>& shape,
                                ONNXTensorElementDataType type) const;

  private:
    Ort(const OrtApiBase* base, const std::string& where);

    const OrtApiBase* base_;
    const OrtApi* api_ = nullptr;
    uint32_t api_version_ = 0;
    Handle<OrtEnv> env_;
    Handle<OrtMemoryInfo> memory_;
};

}  // namespace edgelora
