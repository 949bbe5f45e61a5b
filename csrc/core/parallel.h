// Loops over several threads.
#pragma once

#include <cstdint>

#include "core/function_ref.h"

namespace ctorch {

// Call body(from, to) for pieces that cover [begin, end), on several threads when the range is longer than
// `grain` elements (the least work worth handing out). A thread that has done its share of the pieces takes
// those of others, so a busy core delays nothing; their bounds depend on the range and the grain, and bodies
// must write disjoint results, so that results do not depend on the number of threads. Nested calls run
// serially, and so do those of a forked child of a process that had threads, until the child calls
// set_num_threads(). Every thread computes in the caller's float_mode(). The first exception of a body is
// thrown on.
void parallel_for(int64_t begin, int64_t end, int64_t grain, FunctionRef<void(int64_t, int64_t)> body);

int num_threads();
void set_num_threads(int n);
// CPUs that this process may use: the affinity mask, cut by the cgroup's quota.
int available_cpus();
bool in_parallel_region();
// The calling thread's number within the parallel loop at hand, in [0, num_threads()); 0 outside.
int thread_index();

}  // namespace ctorch
