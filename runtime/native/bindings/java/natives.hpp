// What the natives of dev.edgelora.Native share: handles as numbers, and results that C gives.
//
// Knows nothing about which function is called.
#ifndef EDGELORA_JAVA_NATIVES_HPP
#define EDGELORA_JAVA_NATIVES_HPP

#include "call.hpp"

#define NATIVE(type, name) extern "C" JNIEXPORT type JNICALL Java_dev_edgelora_Native_##name

namespace edgelora {

inline edgelora_model* model_at(jlong address) { return reinterpret_cast<edgelora_model*>(static_cast<intptr_t>(address)); }
inline edgelora_cancel* cancel_at(jlong address) { return reinterpret_cast<edgelora_cancel*>(static_cast<intptr_t>(address)); }
inline jlong address_of(void* handle) { return static_cast<jlong>(reinterpret_cast<intptr_t>(handle)); }

// A text, token ids or numbers that C gives: `ask` is told where to write them.
template <typename Item, typename Ask>
auto taken(Call& call, Ask ask) -> decltype(call.give(static_cast<Item*>(nullptr), size_t())) {
  struct Owner {
    Item* items = nullptr;
    ~Owner() { edgelora_free(items); }
  } owner;
  size_t count = 0;
  call.checked([&](auto error) { return ask(&owner.items, &count, error); });
  return call.give(owner.items, count);
}

}  // namespace edgelora
#endif
