#include "check_receipt.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "check_manifest.hpp"
#include "names.hpp"

namespace edgelora {
namespace {

constexpr std::size_t kMostTokens = 1 << 16;           // of a probe
constexpr std::int64_t kMostCounted = std::int64_t{1} << 31;
constexpr std::size_t kMostDigits = 9;                 // of a rank that energy is told up to
constexpr double kRoundedUp = 1e-3;                    // a probability that float32 rounds above 1 is one

bool is_unknown(const Json* value) { return value == nullptr || value->is_null(); }

bool is_number(const Json* value) { return value != nullptr && value->is_number(); }

bool is_count(const Json* value) {
    return value != nullptr && value->is_number_integer() && *value >= 0 && *value < kMostCounted;
}

bool are_ids(const Json* value) {
    return value != nullptr && value->is_array() && value->size() <= kMostTokens &&
           std::all_of(value->begin(), value->end(), [](const Json& item) { return is_count(&item); });
}

bool are_numbers(const Json* value) {
    return value != nullptr && value->is_array() &&
           std::all_of(value->begin(), value->end(), [](const Json& item) { return item.is_number(); });
}

bool are_labels(const Json& value) {
    return std::all_of(value.begin(), value.end(), [](const Json& item) {
        return item.is_string() && item != "" && !has_control(item.get_ref<const std::string&>());
    });
}

bool are_logprobs(const Json* value) {
    return value != nullptr && value->is_array() && std::all_of(value->begin(), value->end(), [](const Json& item) {
               return item.is_number() && item.get<double>() <= kRoundedUp;
           });
}

bool is_step(const std::string& text) {
    return !text.empty() && text.size() <= kMostDigits && text[0] != '0' &&
           std::all_of(text.begin(), text.end(), [](char byte) { return byte >= '0' && byte <= '9'; });
}

bool are_shares(const Json* value) {
    if (value == nullptr || !value->is_object()) return false;
    const auto& items = value->get_ref<const Json::object_t&>();
    return std::all_of(items.begin(), items.end(),
                       [](const auto& item) { return is_step(item.first) && item.second.is_number(); });
}

std::string shown(const Json* value) { return value == nullptr ? "missing" : show(*value); }

class Checker {
  public:
    explicit Checker(const Json& receipt) : receipt_(receipt) {}

    std::vector<std::string> check() {
        base(find_key(receipt_, "base"));
        for (const char* field : {"quantization", "training", "merge", "truncation", "parents", "conversion"}) {
            const Json* value = find_key(receipt_, field);
            if (is_unknown(value) || value->is_object()) continue;
            add(field, value, "an object or null");
        }
        hash("weights", find_key(receipt_, "weights"));
        modules(find_key(receipt_, "modules"));
        layers(find_key(receipt_, "layers"));
        list("probes", &Checker::probe);
        head(find_key(receipt_, "head"));
        list("answers", &Checker::answer);
        return std::move(wrong_);
    }

  private:
    void base(const Json* base) {
        if (base == nullptr || !base->is_object()) {
            add("there is no 'base', expected an object with the fingerprint of the base model");
            return;
        }
        const Json* name = find_key(*base, "name");
        if (name != nullptr && (!name->is_string() || has_control(name->get<std::string>()))) {
            add("base: name", name, "text without control characters");
        }
        if (is_unknown(find_key(*base, "fingerprint"))) add("base: fingerprint is missing");
        for (const char* field : {"fingerprint", "grid", "tokenizer", "chat_template"}) {
            hash(std::string("base: ") + field, find_key(*base, field));
        }
    }

    void modules(const Json* modules) {
        if (is_unknown(modules)) return;
        if (!modules->is_object()) {
            add("modules", modules, "an object or null");
            return;
        }
        for (const char* field : {"matched", "expected"}) {
            const Json* value = find_key(*modules, field);
            if (!is_count(value)) add(std::string("modules: ") + field, value, "a whole number from 0");
        }
        const Json* missing = find_key(*modules, "missing");
        if (missing == nullptr) return;
        const bool are_names =
            missing->is_array() && std::all_of(missing->begin(), missing->end(), [](const Json& item) {
                return item.is_string() && !has_control(item.get<std::string>());
            });
        if (!are_names) add("modules: missing", missing, "a list of names");
    }

    void layers(const Json* layers) {
        if (is_unknown(layers)) return;
        if (!layers->is_object()) {
            add("layers", layers, "an object or null");
            return;
        }
        for (const auto& [module, layer] : layers->get_ref<const Json::object_t&>()) {
            const std::string where = "layers: " + show(module);
            if (has_control(module) || !layer.is_object()) {
                add(where, &layer, "an object under the name of a module");
                continue;
            }
            const Json* rank = find_key(layer, "rank");
            if (!is_count(rank)) add(where + ": rank", rank, "a whole number from 0");
            const Json* energy = find_key(layer, "energy");
            if (!are_shares(energy)) add(where + ": energy", energy, "shares by rank");
            const Json* effective = find_key(layer, "effective_rank");
            if (!is_number(effective)) add(where + ": effective_rank", effective, "a number");
            for (const char* field : {"step_to_delta", "codes_changed", "correlation"}) {
                const Json* value = find_key(layer, field);
                if (!is_unknown(value) && !is_number(value)) add(where + ": " + field, value, "a number or null");
            }
        }
    }

    void list(const std::string& field, void (Checker::*check)(const std::string&, const Json&)) {
        const Json* found = find_key(receipt_, field);
        if (is_unknown(found)) return;
        if (!found->is_array()) {
            add(field, found, "a list or null");
            return;
        }
        for (std::size_t index = 0; index < found->size(); index++) {
            (this->*check)(field + "[" + std::to_string(index) + "]", (*found)[index]);
        }
    }

    void probe(const std::string& where, const Json& probe) {
        if (!probe.is_object()) {
            add(where, &probe, "an object");
            return;
        }
        const Json* text = find_key(probe, "text");
        if (!is_unknown(text) && !text->is_string()) add(where + ": text", text, "text or null");
        const Json* ids = find_key(probe, "input_ids");
        if (!are_ids(ids) || ids->empty()) add(where + ": input_ids", ids, "token ids");
        for (const char* field : {"greedy", "base_greedy"}) {
            const Json* greedy = find_key(probe, field);
            if (greedy != nullptr && !are_ids(greedy)) add(where + ": " + field, greedy, "token ids");
        }
        const Json* kl = find_key(probe, "kl");
        if (!is_number(kl) || kl->get<double>() < 0) add(where + ": kl", kl, "a number from 0");
        for (const char* field : {"base", "adapted"}) top(where + ": " + field, find_key(probe, field));
    }

    void head(const Json* head) {
        if (is_unknown(head)) return;
        const Json* labels = find_key(*head, "labels");
        if (labels == nullptr || !labels->is_array() || labels->empty()) {
            add("head", head, "an object with a list of labels, or null");
            return;
        }
        if (!are_labels(*labels)) {
            add("head: labels are " + show(*labels) + ", expected names without control characters");
        } else {
            auto names = labels->get<std::vector<std::string>>();
            std::sort(names.begin(), names.end());
            if (std::adjacent_find(names.begin(), names.end()) != names.end()) add("head: a label stands twice");
        }
        const Json* problem = find_key(*head, "problem_type");
        if (problem != nullptr &&
            (!problem->is_string() || !is_one_of(problem->get_ref<const std::string&>(), kProblemTypes))) {
            add("head: problem_type is " + show(*problem) + ", expected one of " + told(kProblemTypes));
        }
        const Json* temperature = find_key(*head, "temperature");
        if (temperature != nullptr && (!temperature->is_number() || !is_temperature(temperature->get<double>()))) {
            add("head: temperature", temperature, "0.000001 to 1000000");
        }
    }

    void answer(const std::string& where, const Json& answer) {
        if (!answer.is_object()) {
            add(where, &answer, "an object");
            return;
        }
        const Json* text = find_key(answer, "text");
        if (!is_unknown(text) && !text->is_string()) add(where + ": text", text, "text or null");
        const Json* ids = find_key(answer, "input_ids");
        if (!are_ids(ids) || ids->empty()) add(where + ": input_ids", ids, "token ids");
        const Json* output = find_key(answer, "output");
        const Json* base = find_key(answer, "base");
        if (!are_numbers(output) || !are_numbers(base)) {
            add(where + " needs output and base, lists of numbers");
        } else if (output->empty() || output->size() != base->size()) {
            add(where + ": output has " + std::to_string(output->size()) + " numbers, base " +
                std::to_string(base->size()) + "; expected as many, at least one");
        }
    }

    void top(const std::string& where, const Json* top) {
        const Json* ids = top == nullptr ? nullptr : find_key(*top, "ids");
        const Json* logprobs = top == nullptr ? nullptr : find_key(*top, "logprobs");
        if (are_ids(ids) && are_logprobs(logprobs) && !ids->empty() && ids->size() == logprobs->size()) return;
        add(where + " needs ids and logprobs, lists of one length of token ids and numbers up to 0");
    }

    void hash(const std::string& field, const Json* value) {
        if (is_unknown(value) || (value->is_string() && is_hash(value->get<std::string>()))) return;
        add(field, value, "64 lower-case hexadecimal digits or null");
    }

    void add(const std::string& field, const Json* found, const char* expected) {
        add(field + " is " + shown(found) + ", expected " + expected);
    }

    void add(std::string line) { wrong_.push_back(std::move(line)); }

    const Json& receipt_;
    std::vector<std::string> wrong_;
};

}  // namespace

std::vector<std::string> find_wrong_in_receipt(const Json& receipt) { return Checker(receipt).check(); }

}  // namespace edgelora
