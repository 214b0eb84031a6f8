// The tensors of an adapter that lie in a file which adapters of one artifact share.
//
// Such a tensor is 64 bytes in the adapter's own file: the SHA-256 of the shared file, which is its name as well, and
// the name that the tensor has in it.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "safetensors.hpp"

namespace edgelora {

// Put those tensors into `tensors` that shared files beside `folder` hold; `kept` gets the files that they are views of.
// Throws Error{adapter} for such a file that is missing or another.
void look_up_shared(std::vector<std::pair<std::string, StoredTensor>>& tensors, const std::filesystem::path& folder,
                    std::vector<std::shared_ptr<const void>>& kept);

}  // namespace edgelora
