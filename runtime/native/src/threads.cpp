#include <algorithm>
#include <fstream>
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
            std::ifstream stream("/sys/devices/system/cpu/cpu" + std::to_string(cpu) +
                                 "/topology/thread_siblings_list");
            std::string line;
            if (!std::getline(stream, line)) {
                line = "cpu " + std::to_string(cpu);  // hidden: count logical cores
            }
            siblings.insert(line);
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
