#include "runtime/machine.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <sstream>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#elif defined(__APPLE__)
#include <mach/mach.h>
#endif

namespace tfserve {
namespace {

constexpr std::string_view kCgroupRoot = "/sys/fs/cgroup";

std::string_view trimmed(std::string_view s) {
    const auto first = s.find_first_not_of(" \t\r\n");
    if (first == std::string_view::npos) return {};
    return s.substr(first, s.find_last_not_of(" \t\r\n") - first + 1);
}

template <class T>
std::optional<T> number(std::string_view s) {
    s = trimmed(s);
    T value{};
    const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), value);
    if (error != std::errc{} || end != s.data() + s.size()) return std::nullopt;
    return value;
}

template <class T>
std::optional<T> file_number(const FileText& read, const std::string& path) {
    const auto text = read(path);
    return text ? number<T>(*text) : std::nullopt;
}

/// The number after `key` and blanks at the start of a line.
std::optional<std::uint64_t> field(std::string_view text, std::string_view key) {
    while (!text.empty()) {
        const auto end = text.find('\n');
        std::string_view line = text.substr(0, end);
        text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
        if (line.substr(0, key.size()) != key) continue;
        line = line.substr(key.size());
        if (line.empty() || (line[0] != ' ' && line[0] != '\t')) continue;
        line = trimmed(line);
        return number<std::uint64_t>(line.substr(0, line.find(' ')));
    }
    return std::nullopt;
}

/// root/a/b, root/a, root. Inside a container the path may name a folder that is not mounted: its files are then absent.
std::vector<std::string> ancestors(const std::string& root, std::string_view path) {
    std::vector<std::string> result;
    while (path.size() > 1) {
        result.push_back(root + std::string(path));
        path = path.substr(0, path.rfind('/'));
    }
    result.push_back(root);
    return result;
}

bool lists(std::string_view names, std::string_view name) {
    while (true) {
        const auto comma = names.find(',');
        if (names.substr(0, comma) == name) return true;
        if (comma == std::string_view::npos) return false;
        names = names.substr(comma + 1);
    }
}

template <class T>
void keep_least(std::optional<T>& least, T value) {
    least = least ? std::min(*least, value) : value;
}

std::optional<double> unified_quota(std::string_view cpu_max) {
    cpu_max = trimmed(cpu_max);
    const auto blank = cpu_max.find(' ');
    if (blank == std::string_view::npos) return std::nullopt;
    const auto quota = number<std::int64_t>(cpu_max.substr(0, blank)), period = number<std::int64_t>(cpu_max.substr(blank));  // or "max"
    if (!quota || !period || *quota <= 0 || *period <= 0) return std::nullopt;
    return static_cast<double>(*quota) / static_cast<double>(*period);
}

/// What a memory group still allows. The kernel writes a huge number where there is no limit.
std::optional<std::uint64_t> memory_left(const FileText& read, const std::string& folder, const char* limit_file, const char* usage_file,
                                         const char* cache_field) {
    const auto limit = file_number<std::uint64_t>(read, folder + limit_file);
    const auto usage = file_number<std::uint64_t>(read, folder + usage_file);
    if (!limit || !usage || *limit >= (std::uint64_t{1} << 60)) return std::nullopt;
    const auto stat = read(folder + "/memory.stat");
    const std::uint64_t cache = std::min(stat ? field(*stat, cache_field).value_or(0) : 0, *usage);
    const std::uint64_t used = *usage - cache;
    return *limit > used ? *limit - used : 0;
}

[[maybe_unused]] std::optional<std::string> read_file(const std::string& path) {
    std::ifstream in(path);
    if (!in) return std::nullopt;
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
}

}  // namespace

CgroupPaths cgroup_paths(std::string_view text) {
    const std::string root(kCgroupRoot);
    CgroupPaths paths;
    while (!text.empty()) {
        const auto end = text.find('\n');
        const std::string_view line = text.substr(0, end);
        text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
        const auto first = line.find(':');
        const auto second = first == std::string_view::npos ? first : line.find(':', first + 1);
        if (second == std::string_view::npos) continue;
        const auto controllers = line.substr(first + 1, second - first - 1), path = line.substr(second + 1);
        if (controllers.empty()) paths.unified = ancestors(root, path);
        if (lists(controllers, "cpu")) paths.cpu = ancestors(root + "/cpu", path);
        if (lists(controllers, "memory")) paths.memory = ancestors(root + "/memory", path);
    }
    return paths;
}

std::optional<double> cgroup_cpu_limit(const CgroupPaths& paths, const FileText& read) {
    std::optional<double> least;
    for (const auto& folder : paths.unified) {
        const auto text = read(folder + "/cpu.max");
        if (const auto quota = text ? unified_quota(*text) : std::nullopt) keep_least(least, *quota);
    }
    for (const auto& folder : paths.cpu) {
        const auto quota = file_number<std::int64_t>(read, folder + "/cpu.cfs_quota_us");
        const auto period = file_number<std::int64_t>(read, folder + "/cpu.cfs_period_us");
        if (quota && period && *quota > 0 && *period > 0) keep_least(least, static_cast<double>(*quota) / static_cast<double>(*period));
    }
    return least;
}

std::optional<std::uint64_t> cgroup_memory_available(const CgroupPaths& paths, const FileText& read) {
    std::optional<std::uint64_t> least;
    for (const auto& folder : paths.unified) {
        if (const auto left = memory_left(read, folder, "/memory.max", "/memory.current", "inactive_file")) keep_least(least, *left);
    }
    for (const auto& folder : paths.memory) {
        const auto left = memory_left(read, folder, "/memory.limit_in_bytes", "/memory.usage_in_bytes", "total_inactive_file");
        if (left) keep_least(least, *left);
    }
    return least;
}

std::optional<std::uint64_t> meminfo_available(std::string_view proc_meminfo) {
    const auto kib = field(proc_meminfo, "MemAvailable:");
    if (!kib) return std::nullopt;
    return *kib * 1024;
}

int usable_cores(int affinity, std::optional<double> cpu_limit) {
    int cores = std::max(1, affinity);
    if (cpu_limit) cores = std::min(cores, std::max(1, static_cast<int>(std::ceil(std::min(*cpu_limit, 1e6)))));
    return cores;
}

int usable_cores() {
    int affinity = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof(set), &set) == 0) affinity = CPU_COUNT(&set);
    return usable_cores(affinity, cgroup_cpu_limit(cgroup_paths(read_file("/proc/self/cgroup").value_or("")), read_file));
#else
    return usable_cores(affinity, std::nullopt);
#endif
}

std::uint64_t available_memory() {
#if defined(__linux__)
    std::optional<std::uint64_t> available = meminfo_available(read_file("/proc/meminfo").value_or(""));
    if (const auto left = cgroup_memory_available(cgroup_paths(read_file("/proc/self/cgroup").value_or("")), read_file)) {
        keep_least(available, *left);
    }
    return available.value_or(0);
#elif defined(__APPLE__)
    vm_statistics64_data_t stat{};
    mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
    if (host_statistics64(mach_host_self(), HOST_VM_INFO64, reinterpret_cast<host_info64_t>(&stat), &count) != KERN_SUCCESS) return 0;
    return (std::uint64_t{stat.free_count} + stat.inactive_count + stat.purgeable_count) * vm_kernel_page_size;
#else
    return 0;
#endif
}

}  // namespace tfserve
