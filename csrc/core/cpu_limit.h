// How many CPUs this process may use.
#pragma once

#include <string>

namespace ctorch {

// CPUs in the affinity mask; at least 1.
int affinity_cpus();

// The quota of the control group, rounded up to whole CPUs; 0 if there is none. `self_cgroup` is
// /proc/self/cgroup and `mount` /sys/fs/cgroup, except in tests. Reads version 2 (cpu.max) and 1
// (cpu.cfs_quota_us) and heeds the parents' quotas.
int cgroup_cpus(const std::string& self_cgroup = "/proc/self/cgroup",
                const std::string& mount = "/sys/fs/cgroup");

}  // namespace ctorch
