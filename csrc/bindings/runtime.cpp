// Threads, memory and the machine, as Python sees them.
#include <pybind11/pybind11.h>

#include "bindings/py.h"
#include "core/allocator.h"
#include "core/cpu_info.h"
#include "core/float_mode.h"
#include "core/parallel.h"
#include "core/prepared.h"
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
  d["weight_cache_bytes"] = prepared_bytes();
  return d;
}

void set_threads(int n) {
  check(n > 0, "set_num_threads expects a positive integer, got ", n);
  set_num_threads(n);
}

void set_weight_cache_limit(int64_t bytes) {
  check_value(bytes >= 0, "set_weight_cache_limit expects a number of bytes that is not negative, got ",
              bytes);
  set_prepared_limit(bytes);
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
  m.def("get_weight_cache_limit", &prepared_limit,
        "How many bytes of weights may be kept in the form in which products and convolutions read them "
        "(default 256 MiB).");
  m.def("set_weight_cache_limit", &set_weight_cache_limit, pyb::arg("bytes"),
        "Set how many bytes of weights may be kept in the form in which products and convolutions read them, "
        "0 for none.\n\n"
        "A weight that is used twice without a write in between (in inference, that is) is kept in this form "
        "until "
        "it is written to or freed. memory_stats()['weight_cache_bytes'] tells how much is kept.");
  m.def("_isa", [] { return std::string(isa_name(active_isa())); }, "The kernel level in use.");
  m.def(
      "_best_isa", [] { return std::string(isa_name(best_isa())); },
      "The best kernel level of this machine.");
  m.def("_isa_reason", &isa_reason, "Why the kernel level in use was chosen.");
  m.def("_cpu_model", &cpu_model, "The name of the CPU.");
}

}  // namespace ctorch::py
