#include "interface/handles.hpp"

#include <new>

extern "C" {

edgelora_cancel* edgelora_cancel_create(void) { return new (std::nothrow) edgelora_cancel{}; }

void edgelora_cancel_free(edgelora_cancel* cancel) { delete cancel; }

void edgelora_cancel_set(edgelora_cancel* cancel) {
    if (cancel != nullptr) cancel->flag.request();
}

void edgelora_cancel_reset(edgelora_cancel* cancel) {
    if (cancel != nullptr) cancel->flag.reset();
}
}
