#include "adapter_config.hpp"

#include <algorithm>
#include <cmath>
#include <optional>

#include "files.hpp"
#include "names.hpp"
#include "parse_json.hpp"

namespace edgelora {
namespace {

constexpr std::size_t kLongest = 4 << 20;  // bytes; one with a rank for each of thousands of modules has a tenth
constexpr double kLargestRank = 65536;
constexpr double kLargestAlpha = 1e6;
constexpr std::size_t kMostPatterns = 4096;
constexpr std::size_t kLongestInvocation = 1024;  // tokens
constexpr double kLargestToken = 2147483647;
constexpr const char* kPlainType = "LORA";
constexpr const char* kDoraType = "EDGELORA_DORA";  // DoRA that was converted for a grid, which its field kGrid names
constexpr const char* kGrid = "edgelora_grid";
constexpr const char* kAdvice = "save the adapter again";

constexpr std::pair<const char*, const char*> kRefused[] = {
    {"use_dora", "DoRA"},
    {"lora_bias", "LoRA biases"},
    {"use_qalora", "QALoRA"},
    {"use_bdlora", "block-diagonal LoRA"},
    {"trainable_token_indices", "trained token embeddings (trainable_token_indices)"},
    {"target_parameters", "adapted bare parameters (target_parameters)"},
    {"layer_replication", "replicated layers (layer_replication)"},
    {"arrow_config", "Arrow routing"},
    {"kasa_config", "KaSA"},
    {"velora_config", "VeLoRA"},
    {"monteclora_config", "MonteCLoRA"},
};
constexpr std::string_view kBaseChangingStarts[] = {"pissa", "olora", "corda", "loftq", "lora_ga"};
constexpr std::string_view kOtherStarts[] = {"gaussian", "eva", "orthogonal", "mica"};
// Fields that are read; and those that say how it was trained, or for whom: PEFT's other ones.
constexpr std::string_view kRead[] = {
    "peft_type",        "r",                 "lora_alpha",      "use_rslora",     "rank_pattern", "alpha_pattern",
    "target_modules",   "modules_to_save",   "bias",            "init_lora_weights", "alora_invocation_tokens",
    "auto_mapping",     "base_model_name_or_path", "corda_config", "ensure_weight_tying", "eva_config",
    "fan_in_fan_out",   "inference_mode",    "loftq_config",    "lora_dropout",   "lora_ga_config",
    "megatron_config",  "megatron_core",     "peft_version",    "qalora_group_size", "revision",
    "runtime_config",   "task_type",         "layers_to_transform", "layers_pattern", "exclude_modules",
    "edgelora_grid",
};

const Json& value_of(const Json& config, const char* field) {
    static const Json nothing;
    const Json* found = find_key(config, field);
    return found == nullptr ? nothing : *found;
}

template <typename Test>
bool is_list_of(const Json& value, Test test) {
    return value.is_array() && std::all_of(value.begin(), value.end(), test);
}

bool is_text(const Json& value) { return value.is_string(); }
bool is_token(const Json& value) {
    if (!value.is_number()) return false;
    const auto token = value.get<double>();
    return token >= 0 && token <= kLargestToken && std::trunc(token) == token;
}
bool is_whole(const Json& value) { return value.is_number_integer(); }

std::string rank_problem(const Json& value) {
    if (value.is_number()) {
        const auto rank = value.get<double>();
        if (rank >= 1 && rank <= kLargestRank && std::trunc(rank) == rank) return "";
    }
    return "is " + show(value) + ", expected a whole number from 1 to 65536";
}

std::string alpha_problem(const Json& value) {
    if (value.is_number()) {
        const auto alpha = value.get<double>();
        if (alpha > 0 && alpha <= kLargestAlpha) return "";
    }
    return "is " + show(value) + ", expected a number above 0, at most 1e+06";
}

std::string pattern_problem(const std::string& pattern) {
    try {
        Pattern::parse(pattern);
        return "";
    } catch (const PatternError& error) {
        return "the pattern " + show(pattern) + " cannot be used: " + error.what();
    }
}

// A text, or a list of texts: each that says something.
std::vector<std::string> texts_of(const Json& value) {
    if (value.is_string() && value != "") return {value.get<std::string>()};
    return value.is_array() ? value.get<std::vector<std::string>>() : std::vector<std::string>();
}

std::vector<double> layers_of(const Json& config) {
    const Json& value = value_of(config, "layers_to_transform");
    if (value.is_number()) return {value.get<double>()};
    return value.is_array() ? value.get<std::vector<double>>() : std::vector<double>();
}

// Letters, digits, `_` and `-`, in parts joined by `.`.
bool is_list_name(std::string_view name) {
    bool is_begun = false;  // the part
    for (const char byte : name) {
        const bool is_letter = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
        if (!is_letter && !(byte >= '0' && byte <= '9') && byte != '_' && byte != '-' && !(byte == '.' && is_begun)) {
            return false;
        }
        is_begun = byte != '.';
    }
    return is_begun;
}

// Everything of one configuration that cannot be used.
class Checker {
  public:
    Checker(const Json& config, bool with_head) : config_(config), with_head_(with_head) {}

    std::vector<std::string> check() {
        refusals();
        const std::size_t count = wrong_.size();
        types();
        if (wrong_.size() == count) layers();
        number("r", "rank_pattern", rank_problem);
        number("lora_alpha", "alpha_pattern", alpha_problem);
        saved();
        invocation();
        grid();
        return std::move(wrong_);
    }

  private:
    void refusals() {
        if (const Json& kind = value_of(config_, "peft_type"); kind != kPlainType && kind != kDoraType) {
            add("peft_type is " + show(kind) + ", expected '" + kPlainType + "'");
        }
        for (const auto& [field, words] : kRefused) {
            if (!is_nothing(value_of(config_, field))) add(std::string("it uses ") + words);
        }
        if (const Json* bias = find_key(config_, "bias"); bias != nullptr && *bias != "none") {
            add("bias is " + show(*bias) + ", expected 'none'");
        }
        const Json& start = value_of(config_, "init_lora_weights");
        if (!start.is_string()) return;
        const std::string name = lowered(start.get<std::string>());
        if (changes_base(name)) {
            add("init_lora_weights is " + show(start) +
                ", which changes the base; `edgelora adapter convert` takes that out");
        } else if (std::find(std::begin(kOtherStarts), std::end(kOtherStarts), name) == std::end(kOtherStarts)) {
            add("init_lora_weights is " + show(start) + ", an unknown start, which may have changed the base");
        }
    }

    static std::string lowered(std::string text) {
        std::transform(text.begin(), text.end(), text.begin(),
                       [](char byte) { return byte >= 'A' && byte <= 'Z' ? static_cast<char>(byte + 32) : byte; });
        return text;
    }

    static bool changes_base(const std::string& start) {
        return std::any_of(std::begin(kBaseChangingStarts), std::end(kBaseChangingStarts),
                           [&](std::string_view known) { return start.compare(0, known.size(), known) == 0; });
    }

    void types() {
        if (const Json& value = value_of(config_, "use_rslora"); !value.is_null() && !value.is_boolean()) {
            add("use_rslora is " + show(value) + ", expected true or false");
        }
        const Json& start = value_of(config_, "init_lora_weights");
        if (!start.is_null() && !start.is_boolean() && !start.is_string()) {
            add("init_lora_weights is " + show(start) + ", expected true, false or text");
        }
        for (const char* field : {"target_modules", "exclude_modules", "layers_pattern"}) {
            const Json& value = value_of(config_, field);
            if (value.is_null() || value.is_string() || is_list_of(value, is_text)) continue;
            add(field + (" is " + show(value)) + ", expected text or a list of texts");
        }
        const Json& layers = value_of(config_, "layers_to_transform");
        if (!layers.is_null() && !is_whole(layers) && !is_list_of(layers, is_whole)) {
            add("layers_to_transform is " + show(layers) + ", expected whole numbers");
        }
        for (const char* field : {"target_modules", "exclude_modules"}) {
            const Json& value = value_of(config_, field);
            const std::string why = value.is_string() ? pattern_problem(value.get<std::string>()) : "";
            if (!why.empty()) add(field + (": " + why));
        }
    }

    // What PEFT itself does not open, of fields that are of the right types; and patterns where names stand.
    void layers() {
        const std::vector<double> layers = layers_of(config_);
        const std::vector<std::string> lists = texts_of(value_of(config_, "layers_pattern"));
        if (!layers.empty() && value_of(config_, "target_modules").is_string()) {
            add("layers_to_transform is " + show(value_of(config_, "layers_to_transform")) +
                ", expected none where target_modules is a pattern");
        }
        const std::string told = "layers_pattern is " + show(value_of(config_, "layers_pattern")) + ", expected ";
        if (!lists.empty() && layers.empty()) add(told + "layers_to_transform beside it");
        if (!std::all_of(lists.begin(), lists.end(), is_list_name)) add(told + "names such as 'layers'");
    }

    void number(const std::string& field, const std::string& patterns_field, std::string (*problem)(const Json&)) {
        if (const std::string why = problem(value_of(config_, field.c_str())); !why.empty()) add(field + " " + why);
        const Json& patterns = value_of(config_, patterns_field.c_str());
        if (patterns.is_null()) return;
        if (!patterns.is_object() || patterns.size() > kMostPatterns) {
            add(patterns_field + " is " + show(patterns) + ", expected an object of at most " +
                std::to_string(kMostPatterns) + " patterns");
            return;
        }
        for (const auto& [pattern, value] : patterns.get_ref<const Json::object_t&>()) {
            if (const std::string why = pattern_problem(pattern); !why.empty()) add(patterns_field + ": " + why);
            if (const std::string why = problem(value); !why.empty()) {
                add(patterns_field + " of " + show(pattern) + " " + why);
            }
        }
    }

    void saved() {
        const Json& saved = value_of(config_, "modules_to_save");
        if (is_nothing(saved)) return;
        if (!with_head_) {
            add("it uses fully trained modules (modules_to_save), which only the head of an encoder can be");
        } else if (!is_list_of(saved, [](const Json& item) { return item.is_string() && item != ""; })) {
            add("modules_to_save is " + show(saved) + ", expected a list of names");
        }
    }

    void invocation() {
        const Json& tokens = value_of(config_, "alora_invocation_tokens");
        if (is_nothing(tokens) || (is_list_of(tokens, is_token) && tokens.size() <= kLongestInvocation)) return;
        add("alora_invocation_tokens is " + show(tokens) + ", expected at most " +
            std::to_string(kLongestInvocation) + " token ids");
    }

    void grid() {
        if (value_of(config_, "peft_type") != kDoraType) return;
        const Json& grid = value_of(config_, kGrid);
        if (grid.is_string() && is_hash(grid.get_ref<const std::string&>())) return;
        add(kGrid + (" is " + show(grid)) + ", expected 64 lower-case hexadecimal digits");
    }

    void add(std::string line) { wrong_.push_back(std::move(line)); }

    const Json& config_;
    bool with_head_;
    std::vector<std::string> wrong_;
};

Targets read_targets(const Json& value) {
    Targets targets;
    if (value.is_string() && value != "") targets.pattern.push_back(Pattern::parse(value.get<std::string>()));
    if (value.is_array()) targets.endings = value.get<std::vector<std::string>>();
    return targets;
}

Claims claims_of(const Json& config) {
    Claims claims;
    if (const Json& targets = value_of(config, "target_modules"); !targets.is_null() && targets != "all-linear") {
        claims.targets = read_targets(targets);
    }
    claims.excluded = read_targets(value_of(config, "exclude_modules"));
    claims.layers = layers_of(config);
    claims.lists = texts_of(value_of(config, "layers_pattern"));
    return claims;
}

bool is_read(std::string_view field) {
    return std::find(std::begin(kRead), std::end(kRead), field) != std::end(kRead) ||
           std::any_of(std::begin(kRefused), std::end(kRefused), [&](const auto& form) { return form.first == field; });
}

// Fields that say something nobody here has heard of.
std::vector<std::string> unknown_fields(const Json& config) {
    std::vector<std::string> found;
    for (const auto& [field, value] : config.get_ref<const Json::object_t&>()) {
        if (!is_nothing(value) && !is_read(field)) found.push_back(field);
    }
    return found;
}

template <typename Value>
std::vector<std::pair<Pattern, Value>> patterns_of(const Json& config, const char* field) {
    std::vector<std::pair<Pattern, Value>> found;
    const Json& patterns = value_of(config, field);
    if (patterns.is_null()) return found;
    for (const auto& [pattern, value] : patterns.get_ref<const Json::object_t&>()) {
        found.emplace_back(Pattern::parse(pattern), value.template get<Value>());
    }
    return found;
}

template <typename Value>
Value first_match(const std::vector<std::pair<Pattern, Value>>& patterns, std::string_view module, Value otherwise) {
    const auto found = std::find_if(patterns.begin(), patterns.end(),
                                    [&](const auto& item) { return item.first.matches_ending(module); });
    return found == patterns.end() ? otherwise : found->second;
}

}  // namespace

bool is_saved(std::string_view tensor, const std::vector<std::string>& saved) {
    for (std::size_t end = tensor.find('.'); end != tensor.npos; end = tensor.find('.', end + 1)) {
        const std::string_view module = tensor.substr(0, end);
        const auto ends = [module](const std::string& name) {
            return module.size() >= name.size() && module.substr(module.size() - name.size()) == name;
        };
        if (std::any_of(saved.begin(), saved.end(), ends)) return true;
    }
    return false;
}

std::int64_t LoraConfig::rank_of(std::string_view module) const { return first_match(ranks, module, rank); }

double LoraConfig::scaling_of(std::string_view module, std::int64_t module_rank) const {
    const double module_alpha = first_match(alphas, module, alpha);
    const auto divisor = static_cast<double>(module_rank);
    return is_rank_stabilized ? module_alpha / std::sqrt(divisor) : module_alpha / divisor;
}

LoraConfig parse_config(std::string_view content, const std::string& where, bool with_head) {
    const Json config = parse_json(content, where, Code::adapter, kAdvice, kLongest);
    if (!config.is_object()) {
        throw Error(Code::adapter, where + " holds " + show(config) + ", expected an object; " + kAdvice);
    }
    const std::string wrong = join_some(Checker(config, with_head).check());
    if (!wrong.empty()) {
        throw Error(Code::adapter, where + " cannot be used: " + wrong + "; " + kExpected);
    }
    LoraConfig read;
    read.rank = value_of(config, "r").get<std::int64_t>();
    read.alpha = value_of(config, "lora_alpha").get<double>();
    read.is_rank_stabilized = value_of(config, "use_rslora") == true;
    read.ranks = patterns_of<std::int64_t>(config, "rank_pattern");
    read.alphas = patterns_of<double>(config, "alpha_pattern");
    read.claims = claims_of(config);
    read.unknown = unknown_fields(config);
    if (const Json& base = value_of(config, "base_model_name_or_path"); base.is_string()) {
        read.base = base.get<std::string>();
    }
    if (const Json& saved = value_of(config, "modules_to_save"); !is_nothing(saved)) {
        read.saved = saved.get<std::vector<std::string>>();
    }
    if (const Json& tokens = value_of(config, "alora_invocation_tokens"); !is_nothing(tokens)) {
        for (const Json& token : tokens) read.invocation.push_back(static_cast<std::int32_t>(token.get<double>()));
    }
    if (value_of(config, "peft_type") == kDoraType) read.grid = value_of(config, kGrid).get<std::string>();
    return read;
}

LoraConfig read_config(const std::filesystem::path& folder, bool with_head) {
    const std::filesystem::path path = folder / kConfigFile;
    return parse_config(read_file(path, Code::adapter, kAdvice, kLongest), path.u8string(), with_head);
}

}  // namespace edgelora
