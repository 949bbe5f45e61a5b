// Memory for tensors: 64-byte-aligned blocks, kept after use and handed out again.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ctorch {

inline constexpr size_t kAlignment = 64;

struct MemoryStats {
  int64_t allocated_bytes,
      allocated_bytes_peak;  // asked for by live blocks; the peak is exact to 64 KiB per thread
  int64_t reserved_bytes, reserved_bytes_peak;  // held from the system, cached blocks included
  int64_t cached_bytes;                         // free, kept for reuse
  int64_t allocations, frees, cache_hits, system_allocations, system_frees;
};

// A block of at least `bytes` bytes (never null; for 0 bytes too). Throws an out_of_memory Error that names
// the size. With the environment variable CTORCH_NO_CACHE=1 blocks come straight from malloc, so that
// sanitizers see every byte.
void* allocate(size_t bytes);
// Give back a block; `bytes` is what allocate() was asked for.
void deallocate(void* block, size_t bytes) noexcept;

MemoryStats memory_stats();
void reset_peak_memory_stats();
// Give cached blocks back to the system: all large ones, and the calling thread's small ones (at most 4 MiB
// of small blocks stay with each other thread).
void empty_cache();

}  // namespace ctorch
