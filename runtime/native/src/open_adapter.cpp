#include "open_adapter.hpp"

#include <optional>
#include <vector>

#include "receipt.hpp"

namespace edgelora {

Adapter open_adapter(const std::filesystem::path& folder, const Manifest& manifest, const std::string& where,
                     bool trust) {
    if (manifest.slots.empty()) {
        throw Error(Code::adapter, where + ": " + manifest.model.name +
                                       " was exported without slots and takes no adapters; export it again without "
                                       "--merge");
    }
    Adapter adapter = read_adapter(folder);
    const std::optional<Receipt> receipt = trust ? std::nullopt : read_receipt(folder);
    const std::string foreign = receipt ? find_mismatch(*receipt, manifest) : "";
    try {
        fit_adapter(adapter, manifest.slots, where);
    } catch (const Error& error) {
        if (foreign.empty()) throw;
        throw Error(Code::adapter, error.what() + ("; " + foreign));
    }
    if (!foreign.empty()) throw Error(Code::adapter, where + ": " + foreign);
    if (!receipt) return adapter;
    std::vector<std::string> modules;
    for (const auto& item : adapter.factors) modules.push_back(item.first);
    const std::string other = find_other_factors(*receipt, folder, modules);
    if (!other.empty()) throw Error(Code::adapter, where + ": " + other);
    return adapter;
}

}  // namespace edgelora
