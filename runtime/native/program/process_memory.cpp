#include "process_memory.hpp"

#include <cstdio>
#include <cstring>
#include <memory>

namespace edgelora::program {

Json process_memory() {
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen("/proc/self/smaps_rollup", "r"), std::fclose);
    if (file == nullptr) return nullptr;
    Json found{{"resident", 0}, {"private", 0}, {"shared", 0}, {"proportional", 0}, {"anonymous", 0}};
    const auto add = [&](const char* key, long long n_kib) {
        found[key] = found[key].get<long long>() + n_kib * 1024;
    };
    char line[256];
    while (std::fgets(line, sizeof line, file.get()) != nullptr) {
        char name[32];
        long long n_kib = 0;
        if (std::sscanf(line, "%31[^:]: %lld kB", name, &n_kib) != 2) continue;
        if (std::strcmp(name, "Rss") == 0) add("resident", n_kib);
        if (std::strcmp(name, "Pss") == 0) add("proportional", n_kib);
        if (std::strcmp(name, "Anonymous") == 0) add("anonymous", n_kib);
        if (std::strncmp(name, "Private_", 8) == 0 && std::strcmp(name, "Private_Hugetlb") != 0) add("private", n_kib);
        if (std::strncmp(name, "Shared_", 7) == 0 && std::strcmp(name, "Shared_Hugetlb") != 0) add("shared", n_kib);
    }
    return found;
}

std::string describe(const Json& memory) {
    if (memory.is_null()) return "memory: this system does not tell";
    std::string line = "memory:";
    for (const auto& [key, value] : memory.items()) {
        char part[64];
        std::snprintf(part, sizeof part, "%s %s %.1f MB", line.back() == ':' ? "" : ",", key.c_str(),
                      value.get<double>() / 1e6);
        line += part;
    }
    return line;
}

}  // namespace edgelora::program
