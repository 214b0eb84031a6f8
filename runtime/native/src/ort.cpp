#include "ort.hpp"

#include <algorithm>
#include <cstdlib>

#include "errors.hpp"
#include "parse_json.hpp"

#ifdef _WIN32
#define NOMINMAX
#include <windows.h>
#else
#include <dlfcn.h>
#endif

namespace edgelora {

namespace {

using GetApiBase = const OrtApiBase*(ORT_API_CALL*)();

#ifdef _WIN32
const char* const kLibraryNames[] = {"onnxruntime.dll"};
#elif defined(__APPLE__)
const char* const kLibraryNames[] = {"libonnxruntime.1.dylib", "libonnxruntime.dylib"};
#else
// The first is what a process has that loaded one.
const char* const kLibraryNames[] = {"libonnxruntime.so.1", "libonnxruntime.so"};
#endif

// The library's entry; nullptr with `reason` where it cannot be opened. An opened one stays open: threads of it may
// outlive every session, and a second opening is the same one.
GetApiBase find_entry_point(const std::filesystem::path& library, std::string& reason) {
#ifdef _WIN32
    HMODULE opened = LoadLibraryExW(library.wstring().c_str(), nullptr,
                                    library.is_absolute() ? LOAD_WITH_ALTERED_SEARCH_PATH : 0);
    if (opened == nullptr) {
        reason = "error " + std::to_string(GetLastError());
        return nullptr;
    }
    void* found = reinterpret_cast<void*>(GetProcAddress(opened, "OrtGetApiBase"));
#else
    // A bare name is looked for where the system has its libraries, which the current folder is none of.
    const bool is_here = !library.has_parent_path() && std::filesystem::exists(library);
    void* opened = dlopen((is_here ? "." / library : library).c_str(), RTLD_NOW | RTLD_LOCAL);
    if (opened == nullptr) {
        const char* told = dlerror();
        reason = told == nullptr ? "unknown reason" : one_line(told);
        return nullptr;
    }
    void* found = dlsym(opened, "OrtGetApiBase");
#endif
    if (found == nullptr) {
        reason = "it has no OrtGetApiBase";
    }
    return reinterpret_cast<GetApiBase>(found);
}

}  // namespace

bool OrtFailure::is_memory() const {
    return message.find("Failed to allocate memory") != std::string::npos ||
           message.find("bad_alloc") != std::string::npos || message.find("bad allocation") != std::string::npos;
}

std::shared_ptr<const Ort> Ort::open(const std::filesystem::path& library) {
    std::vector<std::filesystem::path> tried;
    if (!library.empty()) {
        tried.push_back(library);
    } else if (const char* named = std::getenv("EDGELORA_ONNXRUNTIME"); named != nullptr && *named != '\0') {
        tried.emplace_back(named);
    }
#ifdef EDGELORA_LINK_ONNXRUNTIME
    if (tried.empty()) {
        return std::shared_ptr<const Ort>(new Ort(OrtGetApiBase(), "the linked onnxruntime"));
    }
#endif
    if (tried.empty()) {
        tried.assign(std::begin(kLibraryNames), std::end(kLibraryNames));
    }
    std::string first_reason;
    for (const auto& path : tried) {
        std::string reason;
        if (const GetApiBase entry = find_entry_point(path, reason)) {
            return std::shared_ptr<const Ort>(new Ort(entry(), path.u8string()));
        }
        if (first_reason.empty()) {
            first_reason = reason;
        }
    }
    throw Error(Code::unsupported, "onnxruntime cannot be opened (" + first_reason +
                                       "); install it, or name its library with EDGELORA_ONNXRUNTIME");
}

Ort::Ort(const OrtApiBase* base, const std::string& where) : base_(base) {
    // A library prints to standard error when it is asked for a newer API than it has: its version says which it has.
    const std::string version = base->GetVersionString();
    const size_t dot = version.find('.');
    const long minor = dot == std::string::npos ? 0 : std::strtol(version.c_str() + dot + 1, nullptr, 10);
    const bool is_newer = std::strtol(version.c_str(), nullptr, 10) > 1;
    api_version_ = is_newer ? ORT_API_VERSION
                            : static_cast<uint32_t>(std::clamp<long>(minor, 0, static_cast<long>(ORT_API_VERSION)));
    if (api_version_ >= kOldestOrtApi) {
        api_ = base->GetApi(api_version_);
    }
    if (api_ == nullptr) {
        throw Error(Code::unsupported, where + " is onnxruntime " + one_line(version) + ", expected 1." +
                                           std::to_string(kOldestOrtApi) + " or newer; update it");
    }
    env_ = own<OrtEnv>(nullptr);
    memory_ = own<OrtMemoryInfo>(nullptr);
    OrtEnv* env = nullptr;
    // What fails is in the status as well, and becomes our own line.
    check(api_->CreateEnv(ORT_LOGGING_LEVEL_FATAL, "edgelora", &env), "starting onnxruntime");
    env_.reset(env);
    OrtMemoryInfo* memory = nullptr;
    check(api_->CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &memory), "starting onnxruntime");
    memory_.reset(memory);
}

bool Ort::succeeded(OrtStatus* status, OrtFailure& failure) const {
    if (status == nullptr) {
        return true;
    }
    const Handle<OrtStatus> owned = own(status);
    failure.code = api_->GetErrorCode(status);
    failure.message = one_line(api_->GetErrorMessage(status));
    return false;
}

void Ort::check(OrtStatus* status, const char* doing) const {
    OrtFailure failure{};
    if (!succeeded(status, failure)) {
        throw Error(failure.is_memory() ? Code::memory : Code::internal,
                    std::string(doing) + " failed: onnxruntime says " + failure.message);
    }
}

Handle<OrtValue> Ort::value_over(void* data, size_t n_bytes, const std::vector<int64_t>& shape,
                                 ONNXTensorElementDataType type) const {
    static char nothing = 0;  // a tensor without numbers still needs an address
    OrtValue* value = nullptr;
    check(api_->CreateTensorWithDataAsOrtValue(memory_.get(), data == nullptr ? &nothing : data, n_bytes, shape.data(),
                                               shape.size(), type, &value),
          "binding memory");
    return own(value);
}

}  // namespace edgelora
