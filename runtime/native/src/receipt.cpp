#include "receipt.hpp"

#include <algorithm>
#include <system_error>

#include "adapter.hpp"
#include "check_receipt.hpp"
#include "files.hpp"
#include "parse_json.hpp"

namespace edgelora {
namespace {

namespace fs = std::filesystem;

constexpr int kVersion = 1;
constexpr std::size_t kLongest = 32 << 20;  // bytes; one of a thousand modules and ten probes has 0.5 MB
constexpr std::size_t kShown = 4;           // names in a message
constexpr std::size_t kShownDigits = 12;    // of a hash
constexpr const char* kAdvice = "train the adapter again or delete the file";

std::string start_of(const std::string& hash) { return hash.substr(0, kShownDigits); }

std::optional<std::string> text_of(const Json& value, std::string_view key) {
    const Json* found = find_key(value, key);
    if (found == nullptr || !found->is_string()) return std::nullopt;
    return found->get<std::string>();
}

std::vector<std::int32_t> ids_of(const Json& value, std::string_view key) {
    const Json* found = find_key(value, key);
    return found == nullptr ? std::vector<std::int32_t>() : found->get<std::vector<std::int32_t>>();
}

TopTokens top_of(const Json& top) { return {ids_of(top, "ids"), top.at("logprobs").get<std::vector<double>>()}; }

Probe probe_of(const Json& probe) {
    return {text_of(probe, "text"),      ids_of(probe, "input_ids"),  probe.at("kl").get<double>(),
            top_of(probe.at("base")),    top_of(probe.at("adapted")), ids_of(probe, "greedy"),
            ids_of(probe, "base_greedy")};
}

RecordedAnswer answer_of(const Json& answer) {
    return {ids_of(answer, "input_ids"), answer.at("output").get<std::vector<double>>(),
            answer.at("base").get<std::vector<double>>()};
}

HeadInfo head_of(const Json& head) {
    HeadInfo info;
    info.labels = head.at("labels").get<std::vector<std::string>>();
    info.problem_type = text_of(head, "problem_type").value_or(info.problem_type);
    if (const Json* temperature = find_key(head, "temperature")) info.temperature = temperature->get<double>();
    return info;
}

// From JSON that was checked.
Receipt build(const Json& data) {
    const Json& base = data.at("base");
    Receipt receipt;
    receipt.name = text_of(base, "name").value_or("");
    receipt.fingerprint = base.at("fingerprint").get<std::string>();
    receipt.grid = text_of(base, "grid");
    receipt.tokenizer = text_of(base, "tokenizer");
    receipt.chat_template = text_of(base, "chat_template");
    receipt.weights = text_of(data, "weights");
    const auto known = [&](std::string_view key) {
        const Json* found = find_key(data, key);
        return found == nullptr || found->is_null() ? nullptr : found;
    };
    if (const Json* quantization = known("quantization")) receipt.quantization = *quantization;
    if (const Json* training = known("training")) receipt.training = *training;
    if (const Json* modules = known("modules")) {
        receipt.modules = ModuleCount{modules->at("matched").get<std::int64_t>(),
                                      modules->at("expected").get<std::int64_t>(), {}};
        const Json* missing = find_key(*modules, "missing");
        if (missing != nullptr) receipt.modules->missing = missing->get<std::vector<std::string>>();
    }
    if (const Json* layers = known("layers")) {
        for (const auto& [module, layer] : layers->get_ref<const Json::object_t&>()) {
            receipt.layers[module] = layer.at("rank").get<std::int64_t>();
        }
    }
    if (const Json* probes = known("probes")) {
        for (const Json& probe : *probes) receipt.probes.push_back(probe_of(probe));
    }
    if (const Json* head = known("head")) receipt.head = head_of(*head);
    if (const Json* answers = known("answers")) {
        for (const Json& answer : *answers) receipt.answers.push_back(answer_of(answer));
    }
    return receipt;
}

std::string some(const std::vector<std::string>& names) {
    std::string told;
    for (std::size_t index = 0; index < std::min(names.size(), kShown); index++) {
        told += (index > 0 ? ", " : "") + names[index];
    }
    return names.size() > kShown ? told + " and " + std::to_string(names.size() - kShown) + " more" : told;
}

std::string join_sorted(std::vector<std::string> told, const char* otherwise) {
    std::sort(told.begin(), told.end());
    return told.empty() ? otherwise : join_some(told, ", ");
}

std::string told_variables(const Json& values) {
    std::vector<std::string> told;
    for (const auto& item : values.items()) told.push_back(item.key() + "=" + item.value().dump());
    return join_sorted(std::move(told), "(none)");
}

std::string told_quantization(const Receipt& receipt) {
    std::vector<std::string> told;
    for (const auto& item : receipt.quantization.items()) {
        const Json& value = item.value();
        const bool is_plain = value.is_string() || value.is_number_integer() || value.is_boolean();
        if (is_plain && !is_nothing(value) && value != "rtn") told.push_back(item.key() + " " + show(value));
    }
    std::string line = join_sorted(std::move(told), "not quantized");
    line.erase(std::remove(line.begin(), line.end(), '\''), line.end());
    return line;
}

// A tokenizer or chat template that differs; raw training saw no template, so any will do.
std::string find_other_text(const Receipt& receipt, const Manifest& manifest) {
    if (!manifest.tokenizer) return "";
    const TokenizerInfo& shipped = *manifest.tokenizer;
    const Json* raw = find_key(receipt.training, "raw");
    const bool is_templated = shipped.chat_template && (raw == nullptr || is_nothing(*raw));
    const auto differs = [&](const char* what, const std::optional<std::string>& trained, const std::string& name) {
        if (!trained || !manifest.files.has(name)) return std::string();
        const std::string shipped = manifest.files.at(name).sha256;
        if (*trained == shipped) return std::string();
        return std::string("trained with another ") + what + " (" + start_of(*trained) + "), this artifact ships " +
               start_of(shipped) + "; train and export from the same checkpoint";
    };
    std::string other = differs("tokenizer", receipt.tokenizer, shipped.file);
    if (!other.empty() || !is_templated) return other;
    other = differs("chat template", receipt.chat_template, *shipped.chat_template);
    if (!other.empty()) return other;
    const Json* variables = find_key(receipt.training, "template_variables");
    if (variables == nullptr || variables->is_null() || is_same(*variables, shipped.template_variables)) return "";
    return "trained with the template variables " + told_variables(*variables) + ", this artifact has " +
           told_variables(shipped.template_variables) + "; give train and export the same --template-var";
}

}  // namespace

Receipt parse_receipt(std::string_view content, const std::string& where) {
    const Json data = parse_json(content, where, Code::adapter, kAdvice, kLongest);
    const Json* base = find_key(data, "base");
    if (base == nullptr || !base->is_object()) {
        throw Error(Code::adapter, where + " has no 'base'; expected a receipt written by `edgelora train`");
    }
    const Json* version = find_key(data, "format_version");
    if (version == nullptr || !version->is_number_integer() || *version != kVersion) {
        throw Error(Code::adapter, where + ": format_version is " + (version == nullptr ? "missing" : show(*version)) +
                                       ", the newest read here is " + std::to_string(kVersion));
    }
    const std::string wrong = join_some(find_wrong_in_receipt(data));
    if (!wrong.empty()) {
        throw Error(Code::adapter,
                    where + ": " + wrong + "; write it anew with `edgelora adapter receipt`, or delete the file");
    }
    return build(data);
}

std::optional<Receipt> read_receipt(const fs::path& folder) {
    const fs::path path = folder / kReceiptFile;
    std::error_code error;
    if (!fs::is_regular_file(path, error)) return std::nullopt;
    return parse_receipt(read_file(path, Code::adapter, kAdvice, kLongest), path.u8string());
}

std::string find_mismatch(const Receipt& receipt, const Manifest& manifest) {
    const std::string& model = manifest.model.name;
    const BaseInfo& ours = manifest.base;
    if (receipt.fingerprint != ours.fingerprint) {
        return "trained for another base: " + (receipt.name.empty() ? "unnamed" : receipt.name) + " (" +
               start_of(receipt.fingerprint) + "), this artifact holds " + model + " (" + start_of(ours.fingerprint) +
               ")";
    }
    if (receipt.grid && *receipt.grid != ours.grid) {
        return "trained on another grid of " + model + ": " + told_quantization(receipt) + " (" +
               start_of(*receipt.grid) + "), this artifact ships " + start_of(ours.grid) +
               "; train it with the same --quant and --block-size as the export";
    }
    return find_other_text(receipt, manifest);
}

std::string find_other_factors(const Receipt& receipt, const fs::path& folder,
                               const std::vector<std::string>& modules) {
    if (receipt.modules && !receipt.modules->missing.empty()) {
        const std::vector<std::string>& missing = receipt.modules->missing;
        return "its receipt lists " + std::to_string(missing.size()) + " modules without factors: " + some(missing) +
               "; train the adapter again";
    }
    std::vector<std::string> sorted = modules, lost, strange;
    std::sort(sorted.begin(), sorted.end());
    for (const auto& [module, rank] : receipt.layers) {
        if (!std::binary_search(sorted.begin(), sorted.end(), module)) lost.push_back(module);
    }
    for (const std::string& module : sorted) {
        if (!receipt.layers.empty() && receipt.layers.count(module) == 0) strange.push_back(module);
    }
    if (!lost.empty() || !strange.empty()) {
        std::string told(kWeightsFile);
        if (!lost.empty()) {
            told += " lacks " + std::to_string(lost.size()) + " of the " + std::to_string(receipt.layers.size()) +
                    " modules of its receipt: " + some(lost);
        }
        told += lost.empty() || strange.empty() ? "" : ";";
        if (!strange.empty()) told += " has " + std::to_string(strange.size()) + " unknown to it: " + some(strange);
        return told + "; copy the adapter again";
    }
    if (!receipt.weights) return "";
    const std::string found = hash_file(folder / kWeightsFile, Code::adapter);
    if (found == *receipt.weights) return "";
    return "the receipt belongs to other factors: " + std::string(kWeightsFile) + " has sha256 " + start_of(found) +
           ", the receipt says " + start_of(*receipt.weights) + "; copy the whole folder again";
}

}  // namespace edgelora
