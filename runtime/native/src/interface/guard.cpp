#include "interface/guard.hpp"

#include <filesystem>
#include <utility>

#include "characters.hpp"

// Defined here alone: the caller sees a handle.
struct edgelora_error {
    edgelora_status code;
    std::string message;
};

namespace edgelora::interface {
namespace {

// Given where there is no memory for an error; never freed.
edgelora_error& no_memory() {
    static edgelora_error error{EDGELORA_MEMORY, "no memory"};  // short enough to need no memory of its own
    return error;
}

// `line`, or its begin, which says what was found, and its end, which says what to do.
std::string cut_middle(std::string line) {
    constexpr std::size_t longest = 450, end = 200;  // characters
    const std::size_t count = count_characters(line);
    if (count <= longest) return line;
    const std::string begin(first_characters(line, longest - end));
    return begin + "…" + line.substr(first_characters(line, count - end).size());
}

// One line that a terminal shows as it is, whatever files, libraries and the caller's paths put into it.
std::string printable(std::string_view text) {
    std::string line;
    for (char32_t point : decode_utf8(text)) {
        if (is_printable(point)) {
            append_utf8(point, line);
        } else if (point < 0x80) {
            constexpr char digits[] = "0123456789abcdef";
            const bool is_space = point == ' ' || (point >= '\t' && point <= '\r');
            line += is_space ? std::string(" ") : std::string("\\x") + digits[point >> 4] + digits[point & 15];
        } else {
            line += "\xEF\xBF\xBD";
        }
    }
    return cut_middle(std::move(line));
}

}  // namespace

edgelora_status fail(edgelora_error** error, edgelora_status code, std::string_view message) noexcept {
    if (error == nullptr) return code;
    try {
        *error = new edgelora_error{code, printable(message)};
    } catch (...) {
        *error = &no_memory();
    }
    return code;
}

edgelora_status fail_with_current(edgelora_error** error) noexcept {
    try {
        throw;
    } catch (const Error& found) {
        return fail(error, static_cast<edgelora_status>(found.code), found.what());
    } catch (const std::bad_alloc&) {
        return fail(error, EDGELORA_MEMORY, "not enough memory; close other programs, or ask for less");
    } catch (const std::system_error& found) {
        return fail(error, EDGELORA_INVALID_INPUT, found.what());
    } catch (const std::exception& found) {
        try {
            return fail(error, EDGELORA_INTERNAL,
                        std::string("a fault of edgelora itself, not of what it was given: ") + found.what() +
                            "; please report it");
        } catch (...) {
            return fail(error, EDGELORA_INTERNAL, "a fault of edgelora itself");
        }
    } catch (...) {
        return fail(error, EDGELORA_INTERNAL, "a fault of edgelora itself, not of what it was given; please report it");
    }
}

std::string_view text_of(const char* text, std::size_t n_bytes, const char* name) {
    if (n_bytes == 0) return {};
    const std::string_view found(&need(text, name), n_bytes);
    if (const auto bad = find_bad_utf8(found)) {
        throw Error(Code::invalid_input,
                    std::string(name) + " is no UTF-8 at byte " + std::to_string(*bad) + "; give text in UTF-8");
    }
    return found;
}

std::string text_of(const char* text, const char* name) {
    need(text, name);
    return std::string(text_of(text, std::strlen(text), name));
}

std::optional<std::string> optional_text_of(const char* text, const char* name) {
    if (text == nullptr) return std::nullopt;
    return text_of(text, name);
}

std::vector<std::int32_t> ids_of(const std::int32_t* ids, std::size_t n_ids, const char* name) {
    if (n_ids == 0) return {};
    const std::int32_t* first = &need(ids, name);
    return std::vector<std::int32_t>(first, first + n_ids);
}

std::vector<std::vector<std::int32_t>> rows_of(const std::int32_t* ids, const std::size_t* lengths,
                                               std::size_t n_rows) {
    std::vector<std::vector<std::int32_t>> rows;
    for (std::size_t row = 0; row < n_rows; ++row) {
        const std::size_t length = (&need(lengths, "lengths"))[row];
        rows.push_back(ids_of(ids, length, "ids"));
        if (ids != nullptr) ids += length;
    }
    return rows;
}

Json json_of(const char* text, const char* name) {
    return parse_json(text_of(text, name), name, Code::invalid_input, "give JSON as its standard has it");
}

std::optional<Json> optional_json_of(const char* text, const char* name) {
    if (text == nullptr) return std::nullopt;
    return json_of(text, name);
}

std::vector<std::string> texts_of(const char* text, const char* name) {
    const Json list = json_of(text, name);
    bool is_right = list.is_array();
    if (is_right) {
        for (const Json& item : list) is_right = is_right && item.is_string();
    }
    if (!is_right) throw Error(Code::invalid_input, std::string(name) + " is " + show(list) + ", expected a list of strings");
    return list.get<std::vector<std::string>>();
}

void give_text(std::string_view text, char** out, std::size_t* n_bytes) {
    char* memory = static_cast<char*>(std::malloc(text.size() + 1));
    if (memory == nullptr) throw std::bad_alloc();
    std::memcpy(memory, text.data(), text.size());
    memory[text.size()] = '\0';
    *out = memory;
    if (n_bytes != nullptr) *n_bytes = text.size();
}

namespace {

// Memory of the caller's; a place where there is nothing to copy, too.
template <typename T>
T* copy_of(const std::vector<T>& numbers) {
    const std::size_t n_bytes = numbers.size() * sizeof(T);
    auto* memory = static_cast<T*>(std::malloc(n_bytes == 0 ? 1 : n_bytes));
    if (memory == nullptr) throw std::bad_alloc();
    if (n_bytes != 0) std::memcpy(memory, numbers.data(), n_bytes);
    return memory;
}

}  // namespace

void give_ids(const std::vector<std::int32_t>& ids, std::int32_t** out, std::size_t* n_ids) {
    *out = copy_of(ids);
    *n_ids = ids.size();
}

void give_floats(const std::vector<float>& numbers, float** out, std::size_t* n_numbers) {
    *out = copy_of(numbers);
    *n_numbers = numbers.size();
}

}  // namespace edgelora::interface

extern "C" {

edgelora_status edgelora_error_code(const edgelora_error* error) {
    return error == nullptr ? EDGELORA_OK : error->code;
}

const char* edgelora_error_message(const edgelora_error* error) {
    return error == nullptr ? "" : error->message.c_str();
}

void edgelora_error_free(edgelora_error* error) {
    if (error != &edgelora::interface::no_memory()) delete error;
}

void edgelora_free(void* memory) { std::free(memory); }

int32_t edgelora_api_version(void) { return EDGELORA_API_VERSION; }

const char* edgelora_version(void) { return EDGELORA_VERSION; }
}
