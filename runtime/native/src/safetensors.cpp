#include "safetensors.hpp"

#include <algorithm>
#include <cstring>

#include "characters.hpp"
#include "names.hpp"
#include "parse_json.hpp"

namespace edgelora {
namespace {

struct Dtype {
    std::string_view name;
    std::uint64_t size;
};

constexpr Dtype kDtypes[] = {{"BF16", 2}, {"BOOL", 1}, {"F16", 2}, {"F32", 4}, {"F64", 8}, {"I16", 2}, {"I32", 4},
                             {"I64", 8},  {"I8", 1},   {"U16", 2}, {"U32", 4}, {"U64", 8}, {"U8", 1}};
constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kLongestHeader = 8 << 20;  // bytes; 80,000 tensors
constexpr std::size_t kLongestName = 1024;
constexpr std::size_t kMostDimensions = 8;
constexpr std::uint64_t kMostNumbers = std::uint64_t{1} << 53;

// One tensor of a header; bytes `start` to `end` of what follows the header.
struct Entry {
    std::string name;
    std::string dtype;
    std::vector<std::int64_t> shape;
    std::uint64_t start = 0;
    std::uint64_t end = 0;
};

[[noreturn]] void refuse(const std::string& where, const std::string& why) {
    throw Error(Code::artifact, where + why);
}

std::uint64_t size_of(const std::string& dtype) {
    const auto* found = std::find_if(std::begin(kDtypes), std::end(kDtypes),
                                     [&](const Dtype& known) { return known.name == dtype; });
    return found == std::end(kDtypes) ? 0 : found->size;
}

std::string known_dtypes() {
    std::string told;
    for (const Dtype& dtype : kDtypes) told += (told.empty() ? "" : ", ") + std::string(dtype.name);
    return told;
}

bool are_sizes(const Json& values) {
    return values.is_array() &&
           std::all_of(values.begin(), values.end(), [](const Json& item) { return item.is_number_unsigned(); });
}

// How many numbers a tensor of this shape has; kMostNumbers + 1 where even its sizes above 0 have more than those.
std::uint64_t count_of(const Json& shape) {
    std::uint64_t count = 1;
    bool is_empty = false;
    for (const Json& item : shape) {
        const auto size = item.get<std::uint64_t>();
        is_empty = is_empty || size == 0;
        if (size > 0 && count > kMostNumbers / size) return kMostNumbers + 1;
        count *= std::max<std::uint64_t>(size, 1);
    }
    return is_empty ? 0 : count;
}

// What keeps these from being a tensor; fills in `entry` and gives nothing where they are one.
std::string problem_of(const Json& dtype, const Json& shape, const Json& offsets, Entry& entry) {
    const std::uint64_t size = dtype.is_string() ? size_of(dtype.get<std::string>()) : 0;
    if (size == 0) return "dtype is " + show(dtype) + ", expected one of " + known_dtypes();
    if (!are_sizes(shape) || !are_sizes(offsets) || offsets.size() != 2) {
        return "shape " + show(shape) + " or data_offsets " + show(offsets) + " is not a list of whole numbers";
    }
    const std::uint64_t count = count_of(shape);
    if (shape.size() > kMostDimensions || count > kMostNumbers) {
        return "shape " + show(shape) + " is beyond what an array can have";
    }
    entry.dtype = dtype.get<std::string>();
    for (const Json& item : shape) entry.shape.push_back(item.get<std::int64_t>());
    entry.start = offsets[0].get<std::uint64_t>();
    entry.end = offsets[1].get<std::uint64_t>();
    const std::uint64_t expected = count * size;
    if (entry.end < entry.start || entry.end - entry.start != expected) {
        return "bytes " + show(offsets[0]) + " to " + show(offsets[1]) + " for " + entry.dtype + " " + show(shape) +
               ", expected " + std::to_string(expected) + " bytes; the file is damaged, copy it again";
    }
    return "";
}

Entry read_entry(const std::string& name, const Json& value, const std::string& where) {
    Entry entry;
    entry.name = name;
    const Json* dtype = find_key(value, "dtype");
    const Json* shape = find_key(value, "shape");
    const Json* offsets = find_key(value, "data_offsets");
    std::string wrong;
    if (name.empty() || count_characters(name) > kLongestName || has_control(name)) {
        wrong = "is no name of a tensor: it is empty, long or holds a control character";
    } else if (dtype == nullptr || shape == nullptr || offsets == nullptr) {
        wrong = "expected dtype, shape and data_offsets in the header";
    } else {
        wrong = problem_of(*dtype, *shape, *offsets, entry);
    }
    if (!wrong.empty()) refuse(where, ": " + show(name) + ": " + wrong);
    return entry;
}

std::vector<Entry> read_header(std::string_view content, const std::string& where) {
    if (content.substr(0, 1) != "{") {
        const std::string start = find_bad_utf8(content.substr(0, 1)) ? "something else" : show(content.substr(0, 1));
        refuse(where, ": the header begins with " + start + ", expected '{'; copy the file again");
    }
    const Json header =
        parse_json(content, where + ": the header", Code::artifact, "copy the file again", kLongestHeader);
    std::vector<Entry> entries;
    for (const auto& [name, value] : header.get_ref<const Json::object_t&>()) {
        if (name != "__metadata__") {
            entries.push_back(read_entry(name, value, where));
            continue;
        }
        const bool is_right = value.is_object() && std::all_of(value.begin(), value.end(), [](const Json& item) {
                                  return item.is_string();
                              });
        if (!is_right) refuse(where, ": __metadata__ is " + show(value) + ", expected an object of texts");
    }
    return entries;
}

// The tensors lie side by side over all of the data: no byte is read twice, and none hides between them.
void check_tiling(const std::vector<Entry>& entries, std::uint64_t n_bytes, const std::string& where) {
    std::vector<const Entry*> order;
    for (const Entry& entry : entries) order.push_back(&entry);
    std::sort(order.begin(), order.end(), [](const Entry* one, const Entry* other) {
        return one->start != other->start ? one->start < other->start : one->end < other->end;
    });
    const std::string advice = "; the file is damaged, copy it again";
    std::uint64_t place = 0;
    for (const Entry* entry : order) {
        if (entry->start != place || entry->end > n_bytes) {
            refuse(where, ": " + show(entry->name) + ": bytes " + std::to_string(entry->start) + " to " +
                              std::to_string(entry->end) + " of " + std::to_string(n_bytes) +
                              ", expected to begin at " + std::to_string(place) + advice);
        }
        place = entry->end;
    }
    if (place != n_bytes) {
        refuse(where, ": the tensors end at byte " + std::to_string(place) + " of " + std::to_string(n_bytes) + advice);
    }
}

float float_of(std::uint32_t bits) {
    float value = 0;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// The bits of a float32 with the value of a float16.
std::uint32_t widen_half(std::uint16_t half) {
    const std::uint32_t sign = (half & 0x8000u) << 16;
    const std::uint32_t exponent = half >> 10 & 0x1fu;
    std::uint32_t fraction = half & 0x3ffu;
    if (exponent == 0x1f) return sign | 0x7f800000u | fraction << 13;
    if (exponent != 0) return sign | (exponent + 112) << 23 | fraction << 13;
    if (fraction == 0) return sign;
    std::uint32_t shift = 0;  // a subnormal number has a leading one after all in float32
    for (; (fraction & 0x400u) == 0; shift++) fraction <<= 1;
    return sign | (113 - shift) << 23 | (fraction & 0x3ffu) << 13;
}

template <typename Stored, typename Widen>
std::vector<float> widened(const StoredTensor& tensor, Widen widen) {
    std::vector<float> values(tensor.count());
    for (std::size_t index = 0; index < values.size(); index++) {
        Stored stored = {};
        std::memcpy(&stored, tensor.bytes.data() + index * sizeof stored, sizeof stored);
        values[index] = widen(stored);
    }
    return values;
}

}  // namespace

std::size_t StoredTensor::count() const { return bytes.size() / std::max<std::uint64_t>(size_of(dtype), 1); }

bool StoredTensor::is_float() const { return dtype[0] == 'F' || dtype == "BF16"; }

std::vector<std::pair<std::string, StoredTensor>> parse_safetensors(std::string_view bytes, const std::string& where) {
    if (bytes.size() < kLengthBytes) {
        refuse(where, " is truncated: " + std::to_string(bytes.size()) + " bytes, expected at least 8; copy it again");
    }
    std::uint64_t header_bytes = 0;
    for (int index = kLengthBytes - 1; index >= 0; index--) {
        header_bytes = header_bytes << 8 | static_cast<unsigned char>(bytes[static_cast<std::size_t>(index)]);
    }
    if (header_bytes > std::min<std::uint64_t>(kLongestHeader, bytes.size() - kLengthBytes)) {
        refuse(where, " is truncated or no safetensors file: header of " + std::to_string(header_bytes) +
                          " bytes in a file of " + std::to_string(bytes.size()));
    }
    const std::string_view data = bytes.substr(kLengthBytes + header_bytes);
    const std::vector<Entry> entries = read_header(bytes.substr(kLengthBytes, header_bytes), where);
    check_tiling(entries, data.size(), where);
    std::vector<std::pair<std::string, StoredTensor>> tensors;
    tensors.reserve(entries.size());
    for (const Entry& entry : entries) {
        tensors.emplace_back(entry.name, StoredTensor{entry.dtype, entry.shape,
                                                      data.substr(entry.start, entry.end - entry.start)});
    }
    return tensors;
}

const float* float32_view(const StoredTensor& tensor) {
    const auto address = reinterpret_cast<std::uintptr_t>(tensor.bytes.data());
    if (tensor.dtype != "F32" || address % alignof(float) != 0) return nullptr;
    return reinterpret_cast<const float*>(tensor.bytes.data());
}

std::vector<float> to_float32(const StoredTensor& tensor) {
    if (tensor.dtype == "F16") {
        return widened<std::uint16_t>(tensor, [](std::uint16_t half) { return float_of(widen_half(half)); });
    }
    if (tensor.dtype == "BF16") {
        return widened<std::uint16_t>(tensor, [](std::uint32_t bits) { return float_of(bits << 16); });
    }
    if (tensor.dtype == "F64") {
        return widened<double>(tensor, [](double value) { return static_cast<float>(value); });
    }
    return widened<float>(tensor, [](float value) { return value; });
}

}  // namespace edgelora
