#include "open_adapter.hpp"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <vector>

#include "base_name.hpp"
#include "head.hpp"
#include "receipt.hpp"

namespace edgelora {

namespace {

std::string wrong_invocation(const Adapter& adapter, const Manifest& manifest) {
    if (adapter.invocation.empty()) return "";
    if (manifest.encoder) return "it uses activated LoRA (alora_invocation_tokens), which only a decoder can run";
    const std::int32_t largest = *std::max_element(adapter.invocation.begin(), adapter.invocation.end());
    if (largest < manifest.model.vocab_size) return "";
    return "its invocation has token " + std::to_string(largest) + ", the vocabulary ends at " +
           std::to_string(manifest.model.vocab_size - 1) + "; use an adapter trained for this base";
}

std::string wrong_grid(const Adapter& adapter, const Manifest& manifest) {
    if (adapter.grid.empty() || adapter.grid == manifest.base.grid) return "";
    return "its DoRA was converted for grid " + adapter.grid.substr(0, 12) + ", this artifact has " +
           manifest.base.grid.substr(0, 12) + "; add it from the folder that PEFT saved";
}

}  // namespace

Adapter open_adapter(const std::filesystem::path& folder, const Manifest& manifest, const std::string& where,
                     bool trust, const SavedTensors& base) {
    if (manifest.slots.empty()) {
        throw Error(Code::adapter, where + ": " + manifest.model.name +
                                       " was exported without slots and takes no adapters; export it again without "
                                       "--merge");
    }
    const std::vector<HeadTensor> head = manifest.encoder ? manifest.encoder->head : std::vector<HeadTensor>();
    Adapter adapter = read_adapter(folder, !head.empty());
    const std::optional<Receipt> receipt = trust ? std::nullopt : read_receipt(folder);
    const std::vector<std::string> wrong = find_wrong_head(adapter, head, base);
    std::string told = wrong.empty() ? "" : "its head does not fit: " + join_some(wrong);
    const std::string foreign = receipt ? find_mismatch(*receipt, manifest) : "";
    for (const std::string& line : {foreign, wrong_grid(adapter, manifest), wrong_invocation(adapter, manifest)}) {
        if (!line.empty()) told += (told.empty() ? "" : "; ") + line;
    }
    try {
        fit_adapter(adapter, manifest.slots, where);
    } catch (const Error& error) {
        if (told.empty()) throw;
        throw Error(Code::adapter, error.what() + ("; " + told));
    }
    if (!told.empty()) throw Error(Code::adapter, where + ": " + told);
    const std::string untrained = trust ? "" : find_untrained(adapter, head);
    if (!untrained.empty()) throw Error(Code::adapter, where + ": " + untrained);
    if (receipt) {
        std::vector<std::string> modules;
        for (const auto& item : adapter.factors) modules.push_back(item.first);
        const std::string other = find_other_factors(*receipt, folder, modules);
        if (!other.empty()) throw Error(Code::adapter, where + ": " + other);
    }
    if (!trust && !receipt) {
        const std::vector<std::string> names = {manifest.model.name, manifest.base.source};
        const std::string note = find_other_name(adapter.base, names, "this artifact holds");
        if (!note.empty()) adapter.notes.push_back(note);
    }
    // No iostream: a program with a libstdc++ of its own would share parts of its locales with onnxruntime's, and crash.
    for (const std::string& note : adapter.notes) {
        std::fprintf(stderr, "edgelora: %s: %s\n", where.c_str(), note.c_str());
    }
    return adapter;
}

}  // namespace edgelora
