// Memory from the system, in whole pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>

namespace ctorch {

inline constexpr size_t kPage = 4096;
constexpr size_t round_up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

// Memory and swap of the machine: a request for more can never be filled, though a system that promises
// freely grants it.
size_t machine_bytes();

// Runs of pages, in huge pages wherever the system has them: the first touch of 2 MiB then costs one fault,
// some 45 us, instead of 512 that take 600 us together (measured on a virtual machine). Long runs are mapped
// one by one. Shorter ones are cut from regions of several huge pages, so that they share them; what they
// give back goes to the system at once, and a huge page that nobody uses any more with its addresses.
//
// Not for several threads at once.
class PageRuns {
 public:
  // `bytes` is a multiple of kPage; null if the system has no such run.
  void* allocate(size_t bytes);
  void free(void* run, size_t bytes) noexcept;

 private:
  // Parts of regions that are free, from an address to another; no two of them touch.
  using Parts = std::map<uintptr_t, uintptr_t>;

  void* cut(size_t bytes);
  Parts::iterator add(uintptr_t begin, uintptr_t end);
  void unmap_huge_pages(Parts::iterator part);

  Parts free_;
};

}  // namespace ctorch
