#include "head_info.hpp"

#include <algorithm>
#include <set>
#include <system_error>
#include <utility>

#include "check_manifest.hpp"
#include "files.hpp"
#include "names.hpp"
#include "parse_json.hpp"
#include "receipt.hpp"

namespace edgelora {
namespace {

constexpr const char* kModelConfigFile = "config.json";
constexpr const char* kAdvice = "give labels, or take the file away";

std::string some(const Labels& labels) {
    std::vector<std::string> told;
    for (const std::string& label : labels) told.push_back(show(label));
    return join_some(told, ", ");
}

// Labels as a caller or a file gave them.
Labels checked(const Json& labels, const std::string& where) {
    const bool are_names = labels.is_array() && !labels.empty() &&
                           std::all_of(labels.begin(), labels.end(),
                                       [](const Json& label) { return label.is_string() && label != ""; });
    if (!are_names) throw Error(Code::adapter, where + ": labels is " + show(labels) + ", expected a list of names");
    const auto names = labels.get<Labels>();
    const bool are_printable = std::none_of(names.begin(), names.end(),
                                            [](const std::string& label) { return has_control(label); });
    if (!are_printable || std::set<std::string>(names.begin(), names.end()).size() != names.size()) {
        throw Error(Code::adapter, where + ": labels are " + some(names) +
                                       ", expected different names without control characters");
    }
    return names;
}

// The labels that transformers wrote beside the adapter; nothing where there are none.
std::optional<HeadInfo> head_of_config(const std::filesystem::path& folder, const std::string& where) {
    const std::filesystem::path path = folder / kModelConfigFile;
    std::error_code error;
    if (!std::filesystem::is_regular_file(path, error)) return std::nullopt;
    const Json config =
        parse_json(read_file(path, Code::adapter, kAdvice, kLongestJson), path.u8string(), Code::adapter, kAdvice);
    const Json* names = find_key(config, "id2label");
    if (names == nullptr || names->is_null()) return std::nullopt;
    const std::string place = where + ": " + kModelConfigFile + ": ";
    Json labels = Json::array();
    std::set<std::string> expected;
    if (names->is_object()) {
        for (std::size_t index = 0; index < names->size(); index++) expected.insert(std::to_string(index));
        labels = std::vector<Json>(names->size());
        for (const auto& [key, label] : names->get_ref<const Json::object_t&>()) {
            if (expected.erase(key) > 0) labels[std::stoul(key)] = label;
        }
    }
    if (!names->is_object() || !expected.empty()) {
        throw Error(Code::adapter, place + "id2label is " + show(*names) + ", expected a label for each index");
    }
    HeadInfo head;
    const Json* problem = find_key(config, "problem_type");
    if (problem != nullptr && !is_nothing(*problem)) {
        if (!problem->is_string() || !is_one_of(problem->get_ref<const std::string&>(), kProblemTypes)) {
            throw Error(Code::adapter, place + "problem_type is " + show(*problem) + "; " + kAdvice);
        }
        head.problem_type = problem->get<std::string>();
    }
    head.labels = checked(labels, where);
    return head;
}

}  // namespace

HeadInfo find_head_info(const std::filesystem::path& folder, std::int64_t n_labels, const std::string& where,
                        bool trust, const std::optional<HeadInfo>& listed, const std::optional<Labels>& labels) {
    const std::optional<Receipt> receipt = trust ? std::nullopt : read_receipt(folder);
    std::vector<std::pair<const char*, HeadInfo>> known;
    if (receipt && receipt->head) known.emplace_back("its receipt", *receipt->head);
    if (listed) known.emplace_back("the manifest", *listed);
    if (labels) {
        HeadInfo given;
        given.labels = checked(Json(*labels), where);
        known.emplace_back("labels", std::move(given));
    }
    for (const auto& [name, head] : known) {
        if (head.labels == known.front().second.labels) continue;
        throw Error(Code::adapter, where + ": " + name + " has " + some(head.labels) + ", but " + known.front().first +
                                       " " + some(known.front().second.labels) +
                                       "; the labels must be those of the training, in their order");
    }
    const auto found = known.empty() ? head_of_config(folder, where) : std::optional(known.front().second);
    if (!found) {
        HeadInfo head;
        for (std::int64_t index = 0; index < n_labels; index++) head.labels.push_back("LABEL_" + std::to_string(index));
        return head;
    }
    if (static_cast<std::int64_t>(found->labels.size()) != n_labels) {
        throw Error(Code::adapter, where + ": its head answers for " + std::to_string(n_labels) + " labels, but " +
                                       (known.empty() ? kModelConfigFile : known.front().first) + " has " +
                                       std::to_string(found->labels.size()) + " (" + some(found->labels) +
                                       "); give as many");
    }
    return *found;
}

}  // namespace edgelora
