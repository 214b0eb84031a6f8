// One call from Java: what it gives is copied and kept until the call has returned, and what C refuses becomes an
// exception. Knows nothing about which function is called.
#ifndef EDGELORA_JAVA_CALL_HPP
#define EDGELORA_JAVA_CALL_HPP

#include <jni.h>

#include <deque>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "edgelora.h"

namespace edgelora {

// An exception of Java's is pending: leave without another call into Java.
struct Pending {};

// One call from Java; `kept` holds its texts until the call has returned.
class Call {
 public:
  Call(JNIEnv* env, jclass native) : env(env), native_(native) {}

  JNIEnv* const env;

  std::string bytes(jbyteArray given) {
    if (given == nullptr) {
      refuse(EDGELORA_INVALID_INPUT, "a text is null, expected a text");
    }
    std::string found(static_cast<size_t>(env->GetArrayLength(given)), '\0');
    env->GetByteArrayRegion(given, 0, static_cast<jsize>(found.size()), reinterpret_cast<jbyte*>(found.data()));
    look();
    return found;
  }

  const char* text(jbyteArray given) { return kept_.emplace_back(bytes(given)).c_str(); }

  // Text number `index` of a list; null stays null.
  const char* text(jobjectArray given, jsize index) {
    const auto found = static_cast<jbyteArray>(env->GetObjectArrayElement(given, index));
    look();
    if (found == nullptr) {
      return nullptr;
    }
    const char* const text = this->text(found);
    env->DeleteLocalRef(found);
    return text;
  }

  std::vector<int32_t> ints(jintArray given) {
    std::vector<int32_t> found(length(given));
    env->GetIntArrayRegion(given, 0, static_cast<jsize>(found.size()), reinterpret_cast<jint*>(found.data()));
    look();
    return found;
  }

  std::vector<jlong> longs(jlongArray given) {
    std::vector<jlong> found(length(given));
    env->GetLongArrayRegion(given, 0, static_cast<jsize>(found.size()), found.data());
    look();
    return found;
  }

  std::vector<size_t> sizes(jlongArray given) {
    const std::vector<jlong> found = longs(given);
    return {found.begin(), found.end()};
  }

  std::vector<double> reals(jdoubleArray given) {
    std::vector<double> found(length(given));
    env->GetDoubleArrayRegion(given, 0, static_cast<jsize>(found.size()), found.data());
    look();
    return found;
  }

  std::vector<float> floats(jfloatArray given) {
    std::vector<float> found(length(given));
    env->GetFloatArrayRegion(given, 0, static_cast<jsize>(found.size()), found.data());
    look();
    return found;
  }

  jbyteArray give(const char* text, size_t n_bytes) {
    const jbyteArray made = there(env->NewByteArray(static_cast<jsize>(n_bytes)));
    env->SetByteArrayRegion(made, 0, static_cast<jsize>(n_bytes), reinterpret_cast<const jbyte*>(text));
    return made;
  }

  jbyteArray give(const std::string& text) { return give(text.data(), text.size()); }

  jintArray give(const int32_t* values, size_t count) {
    const jintArray made = there(env->NewIntArray(static_cast<jsize>(count)));
    env->SetIntArrayRegion(made, 0, static_cast<jsize>(count), reinterpret_cast<const jint*>(values));
    return made;
  }

  jfloatArray give(const float* values, size_t count) {
    const jfloatArray made = there(env->NewFloatArray(static_cast<jsize>(count)));
    env->SetFloatArrayRegion(made, 0, static_cast<jsize>(count), values);
    return made;
  }

  jclass native() const { return native_; }

  // A new object, or Pending where there was no memory for it.
  template <typename T>
  T there(T made) {
    if (made == nullptr) {
      throw Pending();
    }
    return made;
  }

  void look() {
    if (env->ExceptionCheck()) {
      throw Pending();
    }
  }

  // Ask C, which is told where to write an error, and turn it into an exception; one that a listener threw wins.
  template <typename Ask>
  void checked(Ask ask) {
    edgelora_error* error = nullptr;
    const edgelora_status status = ask(&error);
    if (env->ExceptionCheck()) {
      edgelora_error_free(error);
      throw Pending();
    }
    if (status != EDGELORA_OK) {
      const std::string message = edgelora_error_message(error);
      edgelora_error_free(error);
      refuse(status, message);
    }
  }

  [[noreturn]] void refuse(edgelora_status status, const std::string& message) {
    const jmethodID make =
        there(env->GetStaticMethodID(native_, "refused", "(I[B)Ldev/edgelora/EdgeLoraException;"));
    const jobject made = env->CallStaticObjectMethod(native_, make, static_cast<jint>(status), give(message));
    look();
    env->Throw(static_cast<jthrowable>(made));
    throw Pending();
  }

 private:
  template <typename T>
  size_t length(T given) {
    if (given == nullptr) {
      refuse(EDGELORA_INVALID_INPUT, "a list of numbers is null, expected a list");
    }
    return static_cast<size_t>(env->GetArrayLength(given));
  }

  jclass native_;
  std::deque<std::string> kept_;
};

// Run the body of a native. No exception of C++ leaves it.
template <typename Body>
auto run(JNIEnv* env, jclass native, Body body) -> decltype(body(std::declval<Call&>())) {
  try {
    Call call(env, native);
    return body(call);
  } catch (const Pending&) {
  } catch (const std::bad_alloc&) {
    const jclass memory = env->FindClass("java/lang/OutOfMemoryError");
    if (memory != nullptr) {
      env->ThrowNew(memory, "no memory for what native code keeps during the call");
    }
  }
  return decltype(body(std::declval<Call&>()))();
}

}  // namespace edgelora
#endif
