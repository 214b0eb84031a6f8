// Whether an adapter names another base than the one that is here; a name alone is no proof.
#pragma once

#include <string>
#include <vector>

namespace edgelora {

// A line where both are known and differ, else nothing; `ours` are names of one base, the first for people.
std::string find_other_name(const std::string& named, const std::vector<std::string>& ours, const std::string& what);

}  // namespace edgelora
