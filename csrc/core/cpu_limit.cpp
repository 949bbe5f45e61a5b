#include "core/cpu_limit.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif

namespace ctorch {
namespace {

// Quota over period as whole CPUs; 0 for "max", -1 and unreadable files.
int whole_cpus(double quota, double period) {
  return quota > 0 && period > 0 ? static_cast<int>(std::ceil(quota / period)) : 0;
}

int read_v2(const std::string& directory) {
  std::ifstream file(directory + "/cpu.max");
  double quota = 0, period = 0;
  return file >> quota >> period ? whole_cpus(quota, period) : 0;
}

int read_v1(const std::string& directory) {
  std::ifstream quota_file(directory + "/cpu.cfs_quota_us"), period_file(directory + "/cpu.cfs_period_us");
  double quota = 0, period = 0;
  return quota_file >> quota && period_file >> period ? whole_cpus(quota, period) : 0;
}

int smaller_limit(int a, int b) { return a == 0 ? b : b == 0 ? a : std::min(a, b); }

// The least quota of the group at `path` below `root` and of its parents. Inside a container the group's path
// is often that of the host, and only the root is visible.
int least(const std::string& root, std::string path, int (*read)(const std::string&)) {
  int limit = read(root);
  for (; path.size() > 1; path.erase(path.find_last_of('/'))) limit = smaller_limit(limit, read(root + path));
  return limit;
}

bool has_controller(const std::string& list, const std::string& name) {
  std::istringstream in(list);
  for (std::string item; std::getline(in, item, ',');) {
    if (item == name) return true;
  }
  return false;
}

}  // namespace

int affinity_cpus() {
#if defined(__linux__)
  // The mask may be longer than cpu_set_t; the call says EINVAL until the buffer is long enough.
  for (int cpus = 1024; cpus <= 1 << 18; cpus *= 4) {
    std::vector<cpu_set_t> set(static_cast<size_t>(cpus) / (8 * sizeof(cpu_set_t)));
    size_t bytes = set.size() * sizeof(cpu_set_t);
    if (sched_getaffinity(0, bytes, set.data()) == 0) return std::max(1, CPU_COUNT_S(bytes, set.data()));
  }
#endif
  return std::max(1u, std::thread::hardware_concurrency());
}

int cgroup_cpus(const std::string& self_cgroup, const std::string& mount) {
  int limit = 0;
  std::ifstream file(self_cgroup);
  for (std::string line; std::getline(file, line);) {  // hierarchy-ID:controller-list:path
    size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    std::string controllers = line.substr(first + 1, second - first - 1), path = line.substr(second + 1);
    if (controllers.empty()) {
      limit = smaller_limit(limit, least(mount, path, read_v2));
    } else if (has_controller(controllers, "cpu")) {
      limit = smaller_limit(limit, least(mount + "/" + controllers, path, read_v1));
      limit = smaller_limit(limit, least(mount + "/cpu", path, read_v1));
    }
  }
  return limit;
}

}  // namespace ctorch
