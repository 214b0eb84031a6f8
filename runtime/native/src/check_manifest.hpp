// What a manifest must hold to beyond the types of its fields: ranges, hashes, safe names, slots without gaps.
//
// Knows nothing about JSON or the disk; `docs/format.md` ("What a reader refuses") lists the same rules in words.
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "manifest.hpp"
#include "parse_json.hpp"

namespace edgelora {

constexpr std::string_view kTasks[] = {kTextGeneration, kTextClassification, kTokenClassification, kFeatureExtraction,
                                       kImageClassification};
constexpr std::string_view kProblemTypes[] = {kSingleLabel, kMultiLabel, kRegression};
constexpr std::size_t kMostLabels = 1 << 16;  // of a head

template <std::size_t size>
bool is_one_of(std::string_view text, const std::string_view (&known)[size]) {
    return std::find(std::begin(known), std::end(known), text) != std::end(known);
}

// `known` as a message lists it.
template <std::size_t size>
std::string told(const std::string_view (&known)[size]) {
    return join_some(std::vector<std::string>(std::begin(known), std::end(known)), ", ");
}

inline bool is_temperature(double value) { return value >= 1e-6 && value <= 1e6; }

// Every field whose value a runtime could not use, with what was expected.
std::vector<std::string> find_wrong(const Manifest& manifest);

// What is wrong of one entry of `adapters`, and of one of `files`.
std::vector<std::string> find_wrong_adapter(std::size_t index, const AdapterInfo& info, const Manifest& manifest);
std::vector<std::string> find_wrong_file(const std::string& name, const FileInfo& info);

}  // namespace edgelora
