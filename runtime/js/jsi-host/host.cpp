// A JavaScript engine with the real onnxruntime-react-native binding in it and just enough of a phone's app around it:
// a thread that JavaScript runs on, files, and a console. Knows nothing about EdgeLoRA.

#include <ReactCommon/CallInvoker.h>
#include <jsi/jsi.h>

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <mutex>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "JSCRuntime.h"
#include "JsiMain.h"

namespace jsi = facebook::jsi;
namespace react = facebook::react;

namespace {

constexpr auto kPatience = std::chrono::seconds(120);  // nothing that runs here takes as long

/// The thread of JavaScript: other threads hand it work through the interface that React Native gives its modules.
class JsThread : public react::CallInvoker {
 public:
  explicit JsThread(jsi::Runtime& runtime) : runtime_(runtime) {}

  void invokeAsync(react::CallFunc&& call) noexcept override {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      calls_.push_back(std::move(call));
    }
    arrived_.notify_one();
  }

  void invokeSync(react::CallFunc&& call) override { call(runtime_); }

  /// Run calls as they arrive until JavaScript ended the program; what it ended with, or nothing when no call came.
  std::optional<int> run() {
    while (!exitCode_) {
      std::unique_lock<std::mutex> lock(mutex_);
      if (!arrived_.wait_for(lock, kPatience, [this] { return !calls_.empty(); })) return std::nullopt;
      react::CallFunc call = std::move(calls_.front());
      calls_.pop_front();
      lock.unlock();
      call(runtime_);
      runtime_.drainMicrotasks();
    }
    return exitCode_;
  }

  void end(int code) {
    exitCode_ = code;
    invokeAsync([](jsi::Runtime&) {});
  }

 private:
  jsi::Runtime& runtime_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<react::CallFunc> calls_;
  std::optional<int> exitCode_;
};

/// JavaScript source in memory.
class Source : public jsi::Buffer {
 public:
  explicit Source(std::string text) : text_(std::move(text)) {}
  size_t size() const override { return text_.size(); }
  const uint8_t* data() const override { return reinterpret_cast<const uint8_t*>(text_.data()); }

 private:
  std::string text_;
};

/// `length` bytes of a file from `offset` on, fewer where it ends; throws where there is no such file.
std::string readFile(const std::string& path, size_t offset, size_t length) {
  std::ifstream file(path, std::ios::binary);
  if (!file || std::filesystem::is_directory(path)) throw std::runtime_error("no such file: " + path);
  file.seekg(static_cast<std::streamoff>(offset));
  std::string bytes(length, '\0');
  file.read(bytes.data(), static_cast<std::streamsize>(length));
  bytes.resize(static_cast<size_t>(file.gcount()));
  return bytes;
}

jsi::Value toArrayBuffer(jsi::Runtime& runtime, const std::string& bytes) {
  jsi::Function constructor = runtime.global().getPropertyAsFunction(runtime, "ArrayBuffer");
  jsi::Object made = constructor.callAsConstructor(runtime, static_cast<double>(bytes.size())).asObject(runtime);
  jsi::ArrayBuffer buffer = made.getArrayBuffer(runtime);
  if (!bytes.empty()) std::memcpy(buffer.data(runtime), bytes.data(), bytes.size());
  return jsi::Value(runtime, buffer);
}

/// Threads of this process that nobody named: onnxruntime's are, and the binding's; the engine gives its own names.
double countUnnamedThreads() {
  std::string own;
  std::getline(std::ifstream("/proc/self/comm"), own);
  double count = 0;
  std::error_code gone;  // a thread may end while the list is read
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task", gone)) {
    std::string name;
    std::ifstream file(task.path() / "comm");
    if (std::getline(file, name) && name == own) ++count;
  }
  return count;
}

/// Put `host`, the object that the programs in harness/ talk to, into the engine.
void installHost(jsi::Runtime& runtime, JsThread& thread, const std::vector<std::string>& arguments) {
  jsi::Object host(runtime);
  auto add = [&](const char* name, unsigned count, auto body) {
    auto call = [body](jsi::Runtime& rt, const jsi::Value&, const jsi::Value* args, size_t) { return body(rt, args); };
    jsi::PropNameID id = jsi::PropNameID::forAscii(runtime, name);
    host.setProperty(runtime, name, jsi::Function::createFromHostFunction(runtime, id, count, call));
  };
  auto text = [](jsi::Runtime& rt, const jsi::Value& value) { return value.asString(rt).utf8(rt); };

  add("print", 1, [text](jsi::Runtime& rt, const jsi::Value* args) {
    std::cout << text(rt, args[0]) << std::endl;
    return jsi::Value::undefined();
  });
  add("exists", 1, [text](jsi::Runtime& rt, const jsi::Value* args) {
    return jsi::Value(std::filesystem::is_regular_file(text(rt, args[0])));
  });
  add("size", 1, [text](jsi::Runtime& rt, const jsi::Value* args) {
    return jsi::Value(static_cast<double>(std::filesystem::file_size(text(rt, args[0]))));
  });
  add("readBytes", 3, [text](jsi::Runtime& rt, const jsi::Value* args) {
    auto offset = static_cast<size_t>(args[1].asNumber());
    auto length = static_cast<size_t>(args[2].asNumber());
    return toArrayBuffer(rt, readFile(text(rt, args[0]), offset, length));
  });
  add("encode", 1, [text](jsi::Runtime& rt, const jsi::Value* args) { return toArrayBuffer(rt, text(rt, args[0])); });
  add("now", 0, [](jsi::Runtime&, const jsi::Value*) {
    auto time = std::chrono::steady_clock::now().time_since_epoch();
    return jsi::Value(std::chrono::duration<double, std::milli>(time).count());
  });
  add("threads", 0, [](jsi::Runtime&, const jsi::Value*) { return jsi::Value(countUnnamedThreads()); });
  add("end", 1, [&thread](jsi::Runtime&, const jsi::Value* args) {
    thread.end(static_cast<int>(args[0].asNumber()));
    return jsi::Value::undefined();
  });

  jsi::Array list(runtime, arguments.size());
  for (size_t index = 0; index < arguments.size(); ++index) {
    list.setValueAtIndex(runtime, index, jsi::String::createFromUtf8(runtime, arguments[index]));
  }
  host.setProperty(runtime, "arguments", list);
  runtime.global().setProperty(runtime, "host", host);
}

int runProgram(const std::string& program, const std::vector<std::string>& arguments) {
  std::unique_ptr<jsi::Runtime> runtime = facebook::jsc::makeJSCRuntime();
  auto thread = std::make_shared<JsThread>(*runtime);
  installHost(*runtime, *thread, arguments);
  auto environment = onnxruntimejsi::install(*runtime, thread);  // sets globalThis.OrtApi, as the phone's module does
  std::string text = readFile(program, 0, std::filesystem::file_size(program));
  runtime->evaluateJavaScript(std::make_shared<Source>(std::move(text)), program);
  runtime->drainMicrotasks();
  std::optional<int> code = thread->run();
  if (!code) std::cerr << program << ": JavaScript waits for something that never comes" << std::endl;
  std::cout.flush();
  std::_Exit(code.value_or(3));  // onnxruntime's threads may still hold values of the engine; a phone never ends either
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 2) {
    std::cerr << "usage: jsi-host PROGRAM.js [ARGUMENT...]" << std::endl;
    return 2;
  }
  try {
    return runProgram(arguments[1], {arguments + 2, arguments + count});
  } catch (const std::exception& error) {  // also what JavaScript or the binding threw outside every promise
    std::cerr << "uncaught: " << error.what() << std::endl;
    return 1;
  }
}
