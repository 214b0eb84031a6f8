#include "head.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "check_manifest.hpp"
#include "files.hpp"
#include "names.hpp"
#include "safetensors.hpp"

namespace edgelora {
namespace {

constexpr double kInitialSpread = 0.02;  // initializer_range of transformers, which every model here has

std::string told_sizes(const std::vector<std::int64_t>& sizes, const char* none) {
    std::string told;
    for (const std::int64_t size : sizes) {
        told += told.empty() ? "" : ", ";
        told += size == 0 ? none : std::to_string(size);
    }
    return "[" + told + "]";
}

// Why a tensor has not the sizes of its place; empty where it has.
std::string find_misshapen(const HeadTensor& item, const SavedTensor& tensor) {
    const bool fits = std::equal(item.sizes.begin(), item.sizes.end(), tensor.shape.begin(), tensor.shape.end(),
                                 [](std::int64_t size, std::int64_t found) { return size == 0 || size == found; });
    if (fits) return "";
    return item.tensor + " is " + told_sizes(tensor.shape, "0") + ", expected " + told_sizes(item.sizes, "labels");
}

// The sizes of a tensor that are numbers of labels.
std::vector<std::int64_t> label_counts(const HeadTensor& item, const SavedTensors& tensors) {
    std::vector<std::int64_t> counts;
    const auto found = tensors.find(item.tensor);
    if (found == tensors.end()) return counts;
    for (std::size_t axis = 0; axis < std::min(item.sizes.size(), found->second.shape.size()); axis++) {
        if (item.sizes[axis] == 0) counts.push_back(found->second.shape[axis]);
    }
    return counts;
}

bool is_equal(const SavedTensor& one, const SavedTensor& other) {
    return one.shape == other.shape && std::equal(one.values, one.values + one.count(), other.values);
}

struct Moments {
    double mean = 0;
    double spread = 0;
};

Moments moments_of(const SavedTensor& tensor) {
    const auto count = static_cast<double>(tensor.count());
    double sum = 0, squares = 0;
    for (std::size_t index = 0; index < tensor.count(); index++) sum += static_cast<double>(tensor.values[index]);
    const double mean = sum / count;
    for (std::size_t index = 0; index < tensor.count(); index++) {
        const double apart = static_cast<double>(tensor.values[index]) - mean;
        squares += apart * apart;
    }
    return {mean, std::sqrt(squares / count)};
}

bool is_drawn(const SavedTensor& tensor) {
    const auto count = static_cast<double>(tensor.count());
    const Moments moments = moments_of(tensor);
    return std::abs(moments.spread / kInitialSpread - 1) <= 0.05 + 3 / std::sqrt(2 * count) &&
           std::abs(moments.mean) <= 4 * kInitialSpread / std::sqrt(count);
}

std::string told_counts(const std::vector<std::pair<std::string, std::int64_t>>& counts) {
    std::vector<std::string> told;
    for (const auto& [name, count] : counts) told.push_back(name + " " + std::to_string(count));
    return join_some(told, ", ");
}

const char* type_name(const std::string& dtype) {
    static const std::pair<const char*, const char*> known[] = {
        {"I8", "int8"},    {"I16", "int16"},   {"I32", "int32"},   {"I64", "int64"}, {"U8", "uint8"},
        {"U16", "uint16"}, {"U32", "uint32"}, {"U64", "uint64"}, {"BOOL", "bool"},
    };
    for (const auto& [key, name] : known) {
        if (dtype == key) return name;
    }
    return dtype.c_str();
}

}  // namespace

BaseHead read_base_head(const std::filesystem::path& folder, const Manifest& manifest) {
    BaseHead base;
    if (!manifest.encoder || !manifest.encoder->head_file) return base;
    const EncoderInfo& encoder = *manifest.encoder;
    const std::filesystem::path path = resolve_inside(folder, *encoder.head_file);
    const auto file = MappedFile::open(path, Code::artifact);
    base.kept.push_back(file);
    std::set<std::string> known;
    for (const HeadTensor& item : encoder.head) known.insert(item.tensor);
    std::vector<std::string> wrong, types;
    for (const auto& [name, tensor] : parse_safetensors(file->bytes(), path.u8string())) {
        if (known.count(name) == 0) wrong.push_back(name + " is no tensor of the head");
        if (!tensor.is_float()) {
            types.push_back(name + " is " + type_name(tensor.dtype) + ", expected floats");
        } else if (known.count(name) > 0) {
            const auto values = std::make_shared<const std::vector<float>>(to_float32(tensor));
            base.kept.push_back(values);
            base.tensors[name] = {tensor.shape, values->data()};
        }
    }
    std::sort(wrong.begin(), wrong.end());
    wrong.insert(wrong.end(), types.begin(), types.end());
    for (const HeadTensor& item : encoder.head) {
        const auto found = base.tensors.find(item.tensor);
        if (found == base.tensors.end()) continue;
        if (std::string why = find_misshapen(item, found->second); !why.empty()) wrong.push_back(std::move(why));
    }
    if (encoder.base_head) {
        for (const HeadTensor& item : encoder.head) {
            if (base.tensors.count(item.tensor) == 0) wrong.push_back(item.tensor + " is missing");
        }
        const std::int64_t labels = count_labels(encoder.head, base.tensors);
        if (wrong.empty() && labels != static_cast<std::int64_t>(encoder.base_head->labels.size())) {
            wrong.push_back("it answers for " + std::to_string(labels) + " labels, base_head names " +
                            std::to_string(encoder.base_head->labels.size()));
        }
    }
    if (!wrong.empty()) {
        throw Error(Code::artifact, (folder / *encoder.head_file).u8string() + ": " + join_some(wrong) +
                                        "; export the artifact again");
    }
    return base;
}

std::vector<std::string> find_wrong_head(const Adapter& adapter, const std::vector<HeadTensor>& head,
                                         const SavedTensors& base) {
    std::set<std::string> known;
    std::string names;
    for (const HeadTensor& item : head) {
        known.insert(item.tensor);
        names += (names.empty() ? "" : ", ") + item.tensor;
    }
    std::vector<std::string> wrong, open;
    for (const auto& item : adapter.head) {
        if (known.count(item.first) > 0) continue;
        wrong.push_back(item.first + " is no tensor of this artifact's head (which has " + names + ")");
    }
    for (const HeadTensor& item : head) {
        const auto found = adapter.head.find(item.tensor);
        if (found == adapter.head.end()) continue;
        if (std::string why = find_misshapen(item, found->second); !why.empty()) wrong.push_back(std::move(why));
    }
    for (const HeadTensor& item : head) {
        if (adapter.head.count(item.tensor) > 0) continue;
        if (is_saved(item.tensor, adapter.saved)) {
            wrong.push_back(item.tensor + " is missing, though modules_to_save asks for it");
        } else if (base.count(item.tensor) == 0) {
            open.push_back(item.tensor + " is neither in the adapter nor in the base");
        }
    }
    wrong.insert(wrong.end(), open.begin(), open.end());
    if (!wrong.empty()) return wrong;
    const SavedTensors tensors = joined_head(adapter, base);
    std::vector<std::pair<std::string, std::int64_t>> counts;
    std::set<std::int64_t> different;
    for (const HeadTensor& item : head) {
        const auto found = label_counts(item, tensors);
        if (found.empty()) continue;
        counts.emplace_back(item.tensor, found.back());
        different.insert(found.back());
    }
    if (different.size() > 1) return {"its tensors are for different numbers of labels (" + told_counts(counts) + ")"};
    if (!different.empty() && *different.begin() > static_cast<std::int64_t>(kMostLabels)) {
        return {"it has " + std::to_string(*different.begin()) + " labels, at most " + std::to_string(kMostLabels) +
                " are read"};
    }
    const bool is_same_head = std::all_of(adapter.head.begin(), adapter.head.end(), [&](const auto& item) {
        const auto own = base.find(item.first);
        return own != base.end() && is_equal(item.second, own->second);
    });
    if (adapter.factors.empty() && is_same_head) {
        return {"it changes nothing: there are no factors, and its head is that of the base"};
    }
    return {};
}

std::string find_untrained(const Adapter& adapter, const std::vector<HeadTensor>& head) {
    std::string names;
    bool has_bias = false, has_weight = false;
    for (const HeadTensor& item : head) {
        const auto found = adapter.head.find(item.tensor);
        if (found == adapter.head.end() || std::find(item.sizes.begin(), item.sizes.end(), 0) == item.sizes.end()) {
            continue;
        }
        const SavedTensor& tensor = found->second;
        const bool is_bias = item.sizes.size() == 1;
        const bool is_initial = is_bias ? std::all_of(tensor.values, tensor.values + tensor.count(),
                                                      [](float value) { return value == 0.0F; })
                                        : is_drawn(tensor);
        if (!is_initial) return "";
        (is_bias ? has_bias : has_weight) = true;
        names += (names.empty() ? "" : ", ") + item.tensor;
    }
    if (!has_bias || !has_weight) return "";
    return "its head is at its initial values (" + names +
           ": biases zero, weights spread 0.02); train it with modules_to_save, or trust the folder if that is meant";
}

SavedTensors joined_head(const Adapter& adapter, const SavedTensors& base) {
    SavedTensors tensors = adapter.head;
    tensors.insert(base.begin(), base.end());
    return tensors;
}

std::int64_t count_labels(const std::vector<HeadTensor>& head, const SavedTensors& tensors) {
    std::int64_t largest = 0;
    for (const HeadTensor& item : head) {
        for (const std::int64_t count : label_counts(item, tensors)) largest = std::max(largest, count);
    }
    return largest;
}

}  // namespace edgelora
