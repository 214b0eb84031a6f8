// pack ARTIFACT slots|fused FOLDER...: pack the adapters of PEFT folders for one of the graphs, and mix them.
//
// Prints the SHA-256 of each input: of every adapter, of all of them blended at 0.5, -1.25, 2, ..., and of a batch that
// has a row for each, a blend of the first two and an empty one. Other packers print the same.
#include <cstdio>
#include <exception>
#include <string>

#include "adapter.hpp"
#include "packers.hpp"
#include "sha256.hpp"

namespace {

using namespace edgelora;

void print(const std::string& what, const Packer& packer, const Packed& packed) {
    const Names names = packer.names();
    for (std::size_t index = 0; index < names.size(); ++index) {
        const PackedInput& input = packed.inputs[index];
        std::string shape;
        for (const std::int64_t size : input.shape) {
            shape += (shape.empty() ? "" : ",") + std::to_string(size);
        }
        const std::string digest = sha256(std::string_view(input.as<char>(), input.n_bytes()));
        std::printf("%s %s [%s] %s\n", what.c_str(), names[index].c_str(), shape.c_str(), digest.c_str());
    }
}

int run(int count, char** words) {
    if (count < 4) {
        std::fputs("usage: pack ARTIFACT slots|fused FOLDER...\n", stderr);
        return 2;
    }
    const Manifest manifest = read_manifest(std::filesystem::u8path(words[1]));
    const auto packer = std::string(words[2]) == "fused" ? make_fused_packer(manifest.slots)
                                                         : make_slot_packer(manifest.slots);
    std::vector<Packed> packed;
    WeightedParts parts;
    std::vector<const Packed*> rows;
    for (int index = 3; index < count; ++index) {
        packed.push_back(packer->pack(read_adapter(std::filesystem::u8path(words[index]))));
        print("adapter " + std::to_string(index - 3), *packer, packed.back());
    }
    double weight = 0.5;
    for (const Packed& item : packed) {
        parts.emplace_back(&item, weight);
        rows.push_back(&item);
        weight = weight == 0.5 ? -1.25 : weight + 3.25;
    }
    print("blend", *packer, packer->blend(parts));
    const Packed blend = packer->blend({parts.front(), parts.back()});
    const Packed none = packer->blend({});
    rows.push_back(&blend);
    rows.push_back(&none);
    print("rows", *packer, packer->stack(rows));
    return 0;
}

}  // namespace

int main(int count, char** words) {
    try {
        return run(count, words);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "pack: %s\n", error.what());
        return 2;
    }
}
