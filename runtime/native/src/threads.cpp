#include <algorithm>
#include <cstdio>
#include <set>
#include <string>
#include <thread>

#include "graph.hpp"

#ifdef __linux__
#include <sched.h>
#endif

namespace edgelora {

namespace {

constexpr int kMostDefaultThreads = 4;

int physical_cores() {
#ifdef __linux__
    cpu_set_t usable;
    CPU_ZERO(&usable);
    if (sched_getaffinity(0, sizeof(usable), &usable) == 0) {
        std::set<std::string> siblings;
        for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
            if (!CPU_ISSET(static_cast<size_t>(cpu), &usable)) {
                continue;
            }
            const std::string path =
                "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list";
            char line[256];
            std::FILE* file = std::fopen(path.c_str(), "r");
            const bool is_told = file != nullptr && std::fgets(line, sizeof(line), file) != nullptr;
            if (file != nullptr) {
                std::fclose(file);
            }
            siblings.insert(is_told ? line : "cpu " + std::to_string(cpu));  // hidden: count logical cores
        }
        return static_cast<int>(siblings.size());
    }
#endif
    return static_cast<int>(std::thread::hardware_concurrency());
}

}  // namespace

int default_threads() {
    return std::clamp(physical_cores(), 1, kMostDefaultThreads);
}

}  // namespace edgelora
