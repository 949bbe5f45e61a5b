#include "core/pages.h"

#include <sys/mman.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <new>

namespace ctorch {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
// From here on runs are mapped one by one, for less than half a huge page of each is lost.
constexpr size_t kLongRun = 2 * kHugePage;
// Addresses cost nothing before they are touched; mapping them takes some microseconds.
constexpr size_t kRegion = 8 * kHugePage;

// Fresh pages that begin at a huge page and ask for huge pages; null if there are none.
void* map_huge(size_t bytes) {
  const size_t padded = bytes + kHugePage;
  void* raw = mmap(nullptr, padded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) return nullptr;
  const auto begin = reinterpret_cast<uintptr_t>(raw), end = begin + padded;
  const uintptr_t first = round_up(begin, kHugePage), last = first + bytes;
  if (first > begin) munmap(raw, first - begin);
  if (end > last) munmap(reinterpret_cast<void*>(last), end - last);
  void* run = reinterpret_cast<void*>(first);
  madvise(run, bytes, MADV_HUGEPAGE);  // advice: a refusal does no harm
  return run;
}

}  // namespace

size_t machine_bytes() {
  static const size_t bytes = [] {
    struct sysinfo info;
    if (sysinfo(&info) != 0) return SIZE_MAX / 2;
    return (static_cast<size_t>(info.totalram) + info.totalswap) * info.mem_unit;
  }();
  return bytes;
}

void* PageRuns::allocate(size_t bytes) {
  if (bytes > machine_bytes()) return nullptr;
  if (bytes >= kLongRun) return map_huge(bytes);
  if (void* run = cut(bytes)) return run;
  void* region = map_huge(kRegion);
  if (!region) return nullptr;
  try {
    add(reinterpret_cast<uintptr_t>(region), reinterpret_cast<uintptr_t>(region) + kRegion);
  } catch (const std::bad_alloc&) {
    munmap(region, kRegion);
    return nullptr;
  }
  return cut(bytes);
}

void PageRuns::free(void* run, size_t bytes) noexcept {
  if (bytes >= kLongRun) {
    munmap(run, bytes);
    return;
  }
  madvise(run, bytes, MADV_DONTNEED);
  try {
    unmap_huge_pages(add(reinterpret_cast<uintptr_t>(run), reinterpret_cast<uintptr_t>(run) + bytes));
  } catch (const std::bad_alloc&) {
    // The memory is given back; some of its addresses are lost.
  }
}

// From the lowest part that is large enough: the higher ones then become free as a whole.
void* PageRuns::cut(size_t bytes) {
  const auto found = std::find_if(free_.begin(), free_.end(),
                                  [&](const auto& part) { return part.second - part.first >= bytes; });
  if (found == free_.end()) return nullptr;
  const auto [begin, end] = *found;
  if (end - begin == bytes) {
    free_.erase(found);
  } else {
    auto node = free_.extract(found);
    node.key() = begin + bytes;
    free_.insert(std::move(node));
  }
  return reinterpret_cast<void*>(begin);
}

// Joins it with its neighbours.
PageRuns::Parts::iterator PageRuns::add(uintptr_t begin, uintptr_t end) {
  auto part = free_.emplace(begin, end).first;
  if (const auto next = std::next(part); next != free_.end() && next->first == end) {
    part->second = next->second;
    free_.erase(next);
  }
  if (part == free_.begin()) return part;
  const auto before = std::prev(part);
  if (before->second != begin) return part;
  before->second = part->second;
  free_.erase(part);
  return before;
}

void PageRuns::unmap_huge_pages(Parts::iterator part) {
  const auto [begin, end] = *part;
  const uintptr_t first = round_up(begin, kHugePage), last = end / kHugePage * kHugePage;
  if (first >= last) return;
  munmap(reinterpret_cast<void*>(first), last - first);
  part->second = first;
  if (begin == first) free_.erase(part);
  if (last < end) free_.emplace(last, end);
}

}  // namespace ctorch
