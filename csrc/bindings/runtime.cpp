// Threads, memory and the machine, as Python sees them.
#include <pybind11/pybind11.h>

#include "bindings/py.h"
#include "core/allocator.h"
#include "core/cpu_info.h"
#include "core/float_mode.h"
#include "core/parallel.h"
#include "ops/matmul.h"

namespace ctorch::py {
namespace {

pyb::dict stats() {
  MemoryStats s = memory_stats();
  pyb::dict d;
  d["allocated_bytes"] = s.allocated_bytes;
  d["allocated_bytes_peak"] = s.allocated_bytes_peak;
  d["reserved_bytes"] = s.reserved_bytes;
  d["reserved_bytes_peak"] = s.reserved_bytes_peak;
  d["cached_bytes"] = s.cached_bytes;
  d["allocations"] = s.allocations;
  d["frees"] = s.frees;
  d["cache_hits"] = s.cache_hits;
  d["system_allocations"] = s.system_allocations;
  d["system_frees"] = s.system_frees;
  return d;
}

void set_threads(int n) {
  check(n > 0, "set_num_threads expects a positive integer, got ", n);
  set_num_threads(n);
}

void set_matmul_precision(int level) { ops::set_matmul_precision(static_cast<GemmPrecision>(level)); }

}  // namespace

void init_runtime(pyb::module_& m) {
  m.def("get_num_threads", &num_threads, "How many threads an operation may use.");
  m.def("set_num_threads", &set_threads, pyb::arg("num"), "Set how many threads an operation may use.");
  m.def(
      "set_flush_denormal", &set_flush_denormal, pyb::arg("mode"),
      "Whether this thread, and the threads that work for it, take subnormal numbers as zero. Returns False "
      "where the processor cannot.");
  m.def("_set_matmul_precision", &set_matmul_precision, pyb::arg("level"),
        "What products of float32 may lose: 0 highest, 1 high, 2 medium.");
  m.def("_available_cpus", &available_cpus, "CPUs that this process may use.");
  m.def("memory_stats", &stats, "Counters of the memory for tensors: a dict of bytes and counts.");
  m.def("reset_peak_memory_stats", &reset_peak_memory_stats, "Set the peaks to the current values.");
  m.def("empty_cache", &empty_cache, "Give memory that is kept for reuse back to the system.");
  m.def("_isa", [] { return std::string(isa_name(active_isa())); }, "The kernel level in use.");
  m.def(
      "_best_isa", [] { return std::string(isa_name(best_isa())); },
      "The best kernel level of this machine.");
  m.def("_isa_reason", &isa_reason, "Why the kernel level in use was chosen.");
  m.def("_cpu_model", &cpu_model, "The name of the CPU.");
}

}  // namespace ctorch::py
