#include "adapter.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <system_error>
#include <unordered_map>
#include <utility>

#include "code_rows.hpp"
#include "files.hpp"
#include "parse_json.hpp"
#include "safetensors.hpp"
#include "shared_factors.hpp"

namespace edgelora {
namespace {

namespace fs = std::filesystem;

using Shape = std::vector<std::int64_t>;
using Tensors = std::vector<std::pair<std::string, StoredTensor>>;

constexpr double kNoChange = 1e-8;  // root mean square of a delta that float32 weights cannot even hold
constexpr const char* kPickleFile = "adapter_model.bin";
constexpr std::string_view kPrefix = "base_model.model.";
constexpr const char* kTrainedFor = "; use an adapter trained for this base";

// One side of a module: A, B or the gain of DoRA.
struct Side {
    std::int64_t rows = 0;
    std::int64_t columns = 0;
    const float* values = nullptr;
};

struct Sides {
    std::optional<Side> a;
    std::optional<Side> b;
    std::optional<Side> gain;  // one column
};

struct Key {
    std::string module;
    std::string side;  // A, B or gain
};

bool take_ending(std::string_view& text, std::string_view ending) {
    if (text.size() < ending.size() || text.substr(text.size() - ending.size()) != ending) return false;
    text.remove_suffix(ending.size());
    return true;
}

bool take_beginning(std::string_view& text, std::string_view beginning) {
    if (text.substr(0, beginning.size()) != beginning) return false;
    text.remove_prefix(beginning.size());
    return true;
}

// The name in the checkpoint of a tensor that PEFT saved whole.
std::string saved_name(std::string_view key) {
    take_beginning(key, kPrefix);
    constexpr std::string_view wrappings[] = {".modules_to_save.default.", ".modules_to_save."};
    for (std::size_t at = key.find('.'); at != key.npos; at = key.find('.', at + 1)) {
        for (const std::string_view wrapping : wrappings) {
            if (key.substr(at, wrapping.size()) != wrapping) continue;
            return std::string(key.substr(0, at)).append(key.substr(at + wrapping.size() - 1));
        }
    }
    return std::string(key);
}

// `base_model.model.MODULE.lora_A.weight`, with or without the prefix, and with `.default` where PEFT wrote it.
std::optional<Key> parse_key(std::string_view key) {
    if (!take_ending(key, ".weight")) return std::nullopt;
    take_ending(key, ".default");
    std::string side;
    for (const char* known : {"A", "B", "gain"}) {
        if (side.empty() && take_ending(key, std::string(".lora_") + known)) side = known;
    }
    if (side.empty()) return std::nullopt;
    if (key.size() > kPrefix.size()) take_beginning(key, kPrefix);
    if (key.empty()) return std::nullopt;
    return Key{std::string(key), side};
}

std::string_view bytes_of(const std::vector<float>& values) {
    return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

std::string shape_of(const StoredTensor& tensor) {
    std::string told;
    for (const std::int64_t size : tensor.shape) told += (told.empty() ? "" : ", ") + std::to_string(size);
    return "(" + told + ")";
}

class Reader {
  public:
    Reader(const fs::path& folder, bool with_head) : folder_(folder), with_head_(with_head) {}

    Adapter read() {
        require(kConfigFile, "expected a folder saved by PEFT");
        require(kWeightsFile, "save the adapter with safe_serialization=True");
        // First: the tensors of another method would only add noise.
        const LoraConfig config = read_config(folder_, with_head_);
        const fs::path path = folder_ / kWeightsFile;
        const auto file = MappedFile::open(path, Code::adapter);
        adapter_.kept.push_back(file);
        adapter_.saved = config.saved;
        adapter_.invocation = config.invocation;
        adapter_.base = config.base;
        adapter_.grid = config.grid;
        auto tensors = parse(file->bytes(), path.u8string());
        widen(tensors);
        for (const auto& [key, tensor] : tensors) collect(key, tensor);
        for (const auto& [module, sides] : sides_) put_together(module, sides, config);
        if (tensors.empty()) wrong_.push_back(std::string(kWeightsFile) + " holds no tensors");
        if (!wrong_.empty()) {
            throw Error(Code::adapter,
                        folder_.u8string() + " cannot be used: " + join_some(wrong_) + "; " + kExpected);
        }
        note_unknown(config.unknown);
        adapter_.claims = config.claims;
        return std::move(adapter_);
    }

  private:
    void require(std::string_view file, const char* advice) const {
        std::error_code error;
        if (fs::is_regular_file(folder_ / file, error)) return;
        const bool has_pickle = file == kWeightsFile && fs::is_regular_file(folder_ / kPickleFile, error);
        const std::string found =
            has_pickle ? std::string(" but ") + kPickleFile + ", which can run code when it is opened" : "";
        throw Error(Code::adapter, folder_.u8string() + " has no " + std::string(file) + found + "; " + advice);
    }

    void note_unknown(const std::vector<std::string>& fields) {
        if (fields.empty()) return;
        std::vector<std::string> shown;
        for (const std::string& field : fields) shown.push_back(show(field));
        adapter_.notes.push_back(std::string(kConfigFile) + " has " + join_some(shown, ", ") +
                                 ", which this release does not know and leaves unread");
    }

    // A tensor that is there under two names is wrong, unless both hold the same numbers.
    void tell_twice(const std::string& told, bool is_same) {
        (is_same ? adapter_.notes : wrong_).push_back(told + " twice, under two names");
    }

    Tensors parse(std::string_view bytes, const std::string& where) {
        try {
            auto tensors = parse_safetensors(bytes, where);
            look_up_shared(tensors, folder_, adapter_.kept);
            return tensors;
        } catch (const Error& error) {
            throw Error(Code::adapter, error.what());
        }
    }

    // Codes become floats, once for all names that stand for one tensor of a shared file. Where they are wrong that is
    // told, and zeros take their place: nothing else is then said of them.
    void widen(Tensors& tensors) {
        std::map<std::pair<const char*, bool>, std::pair<StoredTensor, std::string>> done;  // by place and side
        for (auto& [name, tensor] : tensors) {
            const std::optional<Key> key = parse_key(name);
            if (!key || key->side == "gain" || !are_code_rows(tensor)) continue;
            const bool is_b = key->side == "B";
            const auto [found, is_new] = done.try_emplace({tensor.bytes.data(), is_b});
            auto& [widened, wrong] = found->second;
            if (is_new) {
                wrong = find_wrong_codes(tensor);
                auto values = std::make_shared<std::vector<float>>(widen_codes(tensor, is_b));
                if (!wrong.empty()) std::fill(values->begin(), values->end(), 0.0F);
                const std::int64_t rank = tensor.shape[0], count = static_cast<std::int64_t>(values->size()) / rank;
                widened = {"F32", is_b ? Shape{count, rank} : Shape{rank, count}, bytes_of(*values)};
                adapter_.kept.push_back(std::move(values));
            }
            if (!wrong.empty()) wrong_.push_back(name + " " + wrong);
            tensor = widened;
        }
    }

    void collect(const std::string& name, const StoredTensor& tensor) {
        const std::optional<Key> key = parse_key(name);
        if (!key && collect_head(name, tensor)) return;
        const bool is_gain = key && key->side == "gain";
        if (!key || (is_gain && adapter_.grid.empty())) {
            wrong_.push_back(name + " is no LoRA factor");
            return;
        }
        if (tensor.shape.size() != (is_gain ? 1 : 2) || !tensor.is_float() || tensor.bytes.empty()) {
            wrong_.push_back(name + " is " + tensor.dtype + " " + shape_of(tensor) + ", expected " +
                             (is_gain ? "one dimension" : "two dimensions") + " of floats");
            return;
        }
        Sides& sides = sides_[key->module];
        std::optional<Side>& side = is_gain ? sides.gain : key->side == "A" ? sides.a : sides.b;
        const std::int64_t columns = is_gain ? 1 : tensor.shape[1];
        const float* values = values_of(tensor);
        if (side) {
            const bool is_same = side->rows == tensor.shape[0] && side->columns == columns &&
                                 std::equal(values, values + tensor.count(), side->values);
            tell_twice(key->module + " has lora_" + key->side, is_same);
            return;
        }
        if (!are_finite(values, tensor.count())) {
            wrong_.push_back(name + " holds numbers that are not finite");
            if (!sides.a && !sides.b && !sides.gain) sides_.erase(key->module);
            return;
        }
        side = Side{tensor.shape[0], columns, values};
    }

    // Whether the tensor is one of the head.
    bool collect_head(const std::string& key, const StoredTensor& tensor) {
        const std::string name = saved_name(key);
        if (!is_saved(name, adapter_.saved)) return false;
        if (const auto known = adapter_.head.find(name); known != adapter_.head.end()) {
            tell_twice(name + " is there", tensor.is_float() && known->second.shape == tensor.shape &&
                                               std::equal(values_of(tensor), values_of(tensor) + tensor.count(),
                                                          known->second.values));
        } else if (!tensor.is_float() || tensor.bytes.empty()) {
            wrong_.push_back(key + " is " + tensor.dtype + " " + shape_of(tensor) + ", expected floats");
        } else if (const float* values = values_of(tensor); !are_finite(values, tensor.count())) {
            wrong_.push_back(key + " holds numbers that are not finite");
        } else {
            adapter_.head[name] = {tensor.shape, values};
        }
        return true;
    }

    const float* values_of(const StoredTensor& tensor) {
        if (const float* values = float32_view(tensor)) return values;
        const auto widened = std::make_shared<const std::vector<float>>(to_float32(tensor));
        adapter_.kept.push_back(widened);
        return widened->data();
    }

    void put_together(const std::string& module, const Sides& sides, const LoraConfig& config) {
        const auto& [a, b, gain] = sides;
        if (!a || !b || (!gain && !adapter_.grid.empty())) {
            wrong_.push_back(module + ": lora_" + (!a ? "A" : !b ? "B" : "gain") + " is missing");
            return;
        }
        const std::int64_t rank = config.rank_of(module);
        if (a->rows != rank || b->columns != rank) {
            wrong_.push_back(module + ": ranks of A and B are " + std::to_string(a->rows) + " and " +
                             std::to_string(b->columns) + ", the config says " + std::to_string(rank));
            return;
        }
        if (gain && gain->rows != b->rows) {
            wrong_.push_back(module + ": lora_gain has " + std::to_string(gain->rows) + " numbers, B " +
                             std::to_string(b->rows) + " rows");
            return;
        }
        adapter_.factors[module] = {rank,      a->columns, b->rows, a->values,
                                    b->values, config.scaling_of(module, rank), gain ? gain->values : nullptr};
    }

    const fs::path& folder_;
    bool with_head_;
    Adapter adapter_;
    std::map<std::string, Sides> sides_;
    std::vector<std::string> wrong_;
};

double norm_of(const float* values, std::int64_t count) {
    double sum = 0;
    for (std::int64_t index = 0; index < count; index++) {
        sum += static_cast<double>(values[index]) * static_cast<double>(values[index]);
    }
    return std::sqrt(sum);
}

// An upper bound on the root mean square of the delta.
double largest_rms(const Factors& item) {
    const double norms = norm_of(item.a, item.rank * item.in_features) * norm_of(item.b, item.out_features * item.rank);
    const auto size = static_cast<double>(item.in_features) * static_cast<double>(item.out_features);
    return std::abs(item.scaling) * norms / std::sqrt(size);
}

bool changes(const Factors& item) {
    const bool has_gain = item.gain != nullptr && std::any_of(item.gain, item.gain + item.out_features, [](float value) {
                              return std::abs(value) > kNoChange;
                          });
    return has_gain || largest_rms(item) > kNoChange;
}

struct Place {
    std::string_view module;
    std::int64_t in_features;
    std::int64_t out_features;
    bool has_gain;
};

std::vector<Place> places_of(const std::vector<Slot>& slots) {
    std::vector<Place> places;
    for (const Slot& slot : slots) {
        for (const SlotPart& part : slot.parts) {
            places.push_back({part.module, slot.in_features, part.out_features, slot.gain.has_value()});
        }
    }
    return places;
}

std::string mapping(std::int64_t in_features, std::int64_t out_features) {
    return std::to_string(in_features) + " to " + std::to_string(out_features);
}

}  // namespace

std::int64_t Adapter::rank() const {
    std::int64_t largest = 0;
    for (const auto& item : factors) largest = std::max(largest, item.second.rank);
    return largest;
}

// No NaN and no infinity: every exponent is below the largest. One pass that a compiler does for many at once.
bool are_finite(const float* values, std::size_t count) {
    constexpr std::uint32_t mask = 0x7f800000;
    bool are_all = true;
    for (std::size_t index = 0; index < count; index++) {
        std::uint32_t bits = 0;
        std::memcpy(&bits, values + index, sizeof bits);
        are_all = are_all & ((bits & mask) != mask);
    }
    return are_all;
}

Adapter read_adapter(const fs::path& folder, bool with_head) { return Reader(folder, with_head).read(); }

void fit_adapter(const Adapter& adapter, const std::vector<Slot>& slots, const std::string& where) {
    const std::vector<Place> places = places_of(slots);
    std::unordered_map<std::string_view, const Place*> by_module;
    for (const Place& place : places) by_module[place.module] = &place;
    std::vector<std::string> missing, absent, unclaimed, wrong;
    for (const auto& [module, item] : adapter.factors) {
        const auto found = by_module.find(module);
        if (found == by_module.end()) {
            missing.push_back(module);
            continue;
        }
        const Place& place = *found->second;
        if (item.in_features != place.in_features || item.out_features != place.out_features) {
            wrong.push_back(module + " maps " + mapping(item.in_features, item.out_features) + " features, expected " +
                            mapping(place.in_features, place.out_features));
        }
    }
    const std::size_t count = adapter.factors.size();
    if (!missing.empty()) {
        const std::string share = missing.size() == count ? "none" : std::to_string(count - missing.size());
        const std::string known(places.empty() ? "no slots at all" : places[0].module);
        throw Error(Code::adapter, where + ": " + share + " of its " + std::to_string(count) +
                                       " modules are in this artifact (which has " + known + ", …); missing: " +
                                       join_some(missing, ", ") + kTrainedFor);
    }
    for (const Place& place : places) {
        std::string module(place.module);
        if (adapter.factors.count(module) == 0 && adapter.claims.has(module)) absent.push_back(std::move(module));
    }
    if (!absent.empty()) {
        throw Error(Code::adapter, where + " is incomplete: " + std::to_string(absent.size()) + " of the " +
                                       std::to_string(absent.size() + count) +
                                       " modules that its target_modules ask for have no factors: " +
                                       join_some(absent, ", ") + "; save or copy the adapter again");
    }
    for (const auto& [module, item] : adapter.factors) {
        if (adapter.claims.targets && !adapter.claims.has(module)) unclaimed.push_back(module);
    }
    if (!unclaimed.empty()) {
        throw Error(Code::adapter, where + " has factors for " + std::to_string(unclaimed.size()) +
                                       " modules that its " + std::string(kConfigFile) + " does not claim: " +
                                       join_some(unclaimed, ", ") + "; save or copy the adapter again");
    }
    if (!wrong.empty()) throw Error(Code::adapter, where + " does not fit: " + join_some(wrong) + kTrainedFor);
    for (const auto& [module, item] : adapter.factors) {
        if (item.gain == nullptr || by_module[module]->has_gain) continue;
        throw Error(Code::adapter, where + " is DoRA, and the slots of this artifact have no place for its gains; "
                                           "export it again with --dora, or with --merge ADAPTER_DIR");
    }
    const bool does_change = std::any_of(adapter.factors.begin(), adapter.factors.end(),
                                         [](const auto& item) { return changes(item.second); });
    if (!does_change && count > 0) {
        throw Error(Code::adapter,
                    where + " changes nothing: alpha, A or B is zero or next to it in every module; was it trained "
                            "and saved?");
    }
}

}  // namespace edgelora
