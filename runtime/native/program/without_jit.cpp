// The parts of PCRE2 that belong to its JIT, as a PCRE2 built without it has them: a tenth of the program, for a time that
// few tokenizers notice (src/tokenizer/word_pattern.hpp). CMakeLists.txt tries whether the static PCRE2 at hand links so.
#ifndef PCRE2_CODE_UNIT_WIDTH
#define PCRE2_CODE_UNIT_WIDTH 8
#endif
#include <cstddef>
#include <cstdint>

#include <pcre2.h>

extern "C" {

int pcre2_jit_compile_8(pcre2_code_8*, std::uint32_t) { return PCRE2_ERROR_JIT_BADOPTION; }
int pcre2_jit_match_8(const pcre2_code_8*, PCRE2_SPTR8, PCRE2_SIZE, PCRE2_SIZE, std::uint32_t, pcre2_match_data_8*,
                      pcre2_match_context_8*) {
    return PCRE2_ERROR_JIT_BADOPTION;
}
void pcre2_jit_free_unused_memory_8(pcre2_general_context_8*) {}
pcre2_jit_stack_8* pcre2_jit_stack_create_8(PCRE2_SIZE, PCRE2_SIZE, pcre2_general_context_8*) { return nullptr; }
void pcre2_jit_stack_assign_8(pcre2_match_context_8*, pcre2_jit_callback_8, void*) {}
void pcre2_jit_stack_free_8(pcre2_jit_stack_8*) {}

// What its other files ask for, under the names that they know each other by.
void _pcre2_jit_free_rodata_8(void*, void*) {}
void _pcre2_jit_free_8(void*, void*) {}
std::size_t _pcre2_jit_get_size_8(void*) { return 0; }
const char* _pcre2_jit_get_target_8() { return nullptr; }
int _pcre2_jit_check_exec_8(void*, std::uint32_t) { return 0; }
}

#ifdef EDGELORA_TRY
int main() {
    int error = 0;
    PCRE2_SIZE place = 0;
    pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>("a"), 1, PCRE2_UTF, &error, &place, nullptr);
    pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
    std::uint32_t jit = 0;
    pcre2_config(PCRE2_CONFIG_JIT, &jit);
    return pcre2_jit_compile(code, 0) + pcre2_match(code, nullptr, 0, 0, 0, data, nullptr);
}
#endif
