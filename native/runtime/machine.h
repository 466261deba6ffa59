// What this process may use of the machine: processors and memory, as affinity and control groups allow.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tfserve {

/// Text of a file, or nothing when it cannot be read. Tests give their own.
using FileText = std::function<std::optional<std::string>(const std::string& path)>;

/// The control groups of a process, from the text of /proc/self/cgroup: folders below which the limits' files lie,
/// from the process's own group up to the root.
struct CgroupPaths {
    std::vector<std::string> unified;  ///< version 2
    std::vector<std::string> cpu;      ///< version 1
    std::vector<std::string> memory;   ///< version 1
};
CgroupPaths cgroup_paths(std::string_view proc_self_cgroup);

/// Processors that the groups' quotas allow, in parts of one; nothing when there is no quota.
std::optional<double> cgroup_cpu_limit(const CgroupPaths& paths, const FileText& read);
/// Bytes that the groups still let the process take; page cache that can be dropped counts as free. Nothing: no limit.
std::optional<std::uint64_t> cgroup_memory_available(const CgroupPaths& paths, const FileText& read);
/// Bytes of the MemAvailable line of /proc/meminfo.
std::optional<std::uint64_t> meminfo_available(std::string_view proc_meminfo);

/// Threads that pay: `affinity` processors, cut by a quota rounded up (a part of a processor still runs a thread). At least 1.
int usable_cores(int affinity, std::optional<double> cpu_limit);

/// Of this process.
int usable_cores();
/// Bytes that this process can still take before it is killed or the machine swaps. 0 when unknown.
std::uint64_t available_memory();

}  // namespace tfserve
