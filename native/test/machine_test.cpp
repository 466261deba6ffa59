#include "runtime/machine.h"

#include <map>
#include <string>

#include "testing.h"

using namespace tfserve;

namespace {

FileText files(std::map<std::string, std::string> texts) {
    return [texts = std::move(texts)](const std::string& path) -> std::optional<std::string> {
        const auto it = texts.find(path);
        return it == texts.end() ? std::nullopt : std::optional(it->second);
    };
}

}  // namespace

TEST(machine_cgroup_paths_lead_to_the_root) {
    const CgroupPaths v2 = cgroup_paths("0::/system.slice/worker\n");
    CHECK((v2.unified == std::vector<std::string>{"/sys/fs/cgroup/system.slice/worker", "/sys/fs/cgroup/system.slice", "/sys/fs/cgroup"}));
    CHECK(v2.cpu.empty() && v2.memory.empty());

    const CgroupPaths container = cgroup_paths("0::/\n");
    CHECK((container.unified == std::vector<std::string>{"/sys/fs/cgroup"}));

    const CgroupPaths v1 = cgroup_paths("7:cpuset:/x\n4:cpu,cpuacct:/a/b\n3:memory:/m\nbroken\n1:name=systemd:/s\n");
    CHECK((v1.cpu == std::vector<std::string>{"/sys/fs/cgroup/cpu/a/b", "/sys/fs/cgroup/cpu/a", "/sys/fs/cgroup/cpu"}));
    CHECK((v1.memory == std::vector<std::string>{"/sys/fs/cgroup/memory/m", "/sys/fs/cgroup/memory"}));
    CHECK(v1.unified.empty());
    CHECK(cgroup_paths("").unified.empty());
}

TEST(machine_cpu_limit_is_the_tightest_quota) {
    const CgroupPaths v2 = cgroup_paths("0::/a/b\n");
    const auto read = files({{"/sys/fs/cgroup/a/b/cpu.max", "max 100000\n"}, {"/sys/fs/cgroup/a/cpu.max", "250000 100000\n"}});
    CHECK(cgroup_cpu_limit(v2, read) == 2.5);
    CHECK(!cgroup_cpu_limit(v2, files({})));
    CHECK(!cgroup_cpu_limit(v2, files({{"/sys/fs/cgroup/a/cpu.max", "nonsense\n"}})));
    CHECK(!cgroup_cpu_limit(v2, files({{"/sys/fs/cgroup/a/cpu.max", "100000 0\n"}})));

    const CgroupPaths v1 = cgroup_paths("4:cpu,cpuacct:/a\n");
    CHECK(cgroup_cpu_limit(v1, files({{"/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"},
                                      {"/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"},
                                      {"/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "50000\n"},
                                      {"/sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n"}})) == 0.5);
}

TEST(machine_usable_cores) {
    CHECK(usable_cores(8, std::nullopt) == 8);
    CHECK(usable_cores(8, 2.5) == 3);
    CHECK(usable_cores(2, 16.0) == 2);
    CHECK(usable_cores(8, 0.25) == 1);
    CHECK(usable_cores(0, std::nullopt) == 1);
    CHECK(usable_cores(4, 1e300) == 4);
    CHECK(usable_cores() >= 1);
}

TEST(machine_memory_left_counts_page_cache_as_free) {
    const CgroupPaths v2 = cgroup_paths("0::/a\n");
    CHECK(cgroup_memory_available(v2, files({{"/sys/fs/cgroup/a/memory.max", "1000\n"},
                                             {"/sys/fs/cgroup/a/memory.current", "700\n"},
                                             {"/sys/fs/cgroup/a/memory.stat", "anon 400\nfile 300\ninactive_file 200\n"}})) == 500u);
    CHECK(cgroup_memory_available(v2, files({{"/sys/fs/cgroup/a/memory.max", "1000\n"}, {"/sys/fs/cgroup/a/memory.current", "1400\n"}})) ==
          0u);
    CHECK(!cgroup_memory_available(v2, files({{"/sys/fs/cgroup/a/memory.max", "max\n"}, {"/sys/fs/cgroup/a/memory.current", "7\n"}})));

    const CgroupPaths v1 = cgroup_paths("3:memory:/m\n");
    const auto read = files({{"/sys/fs/cgroup/memory/m/memory.limit_in_bytes", "5000\n"},
                             {"/sys/fs/cgroup/memory/m/memory.usage_in_bytes", "3000\n"},
                             {"/sys/fs/cgroup/memory/m/memory.stat", "inactive_file 1\ntotal_inactive_file 500\n"},
                             {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"},
                             {"/sys/fs/cgroup/memory/memory.usage_in_bytes", "100\n"}});
    CHECK(cgroup_memory_available(v1, read) == 2500u);
}

TEST(machine_meminfo) {
    CHECK(meminfo_available("MemTotal:       24689720 kB\nMemFree: 1 kB\nMemAvailable:   12345678 kB\n") == std::uint64_t{12345678} * 1024);
    CHECK(!meminfo_available("MemTotal: 5 kB\n"));
    CHECK(!meminfo_available(""));
    CHECK(available_memory() > 0);
}
