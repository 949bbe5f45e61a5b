// Two floors. Small blocks (up to 32 KiB) come in size classes and wait in lists of the thread that freed
// them: no lock. Larger ones are cut to their size, kept in one cache behind a mutex, and given to the next
// request that they fit closely.
//
// What the cache may hold is bounded by what the process has needed before: the memory held never exceeds the
// greatest amount that was in use at one time by more than slack(), so that a training job peaks not far
// above where it would without a cache.
#include "core/allocator.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <iterator>
#include <list>
#include <map>
#include <mutex>
#include <new>
#include <unordered_map>

#include "core/error.h"
#include "core/macros.h"
#include "core/pages.h"

namespace ctorch {
namespace {

// A cached block may be larger than the request by this part of it. More would find blocks more often and
// waste more.
constexpr size_t kWastePart = 8;
// What the caches may hold above the greatest amount ever in use: enough that a job whose sizes vary from
// layer to layer does not map and unmap all the time. A training step of ResNet-18 has 320 MB in use and
// needs 140 more; with 64 it took 8 % longer.
constexpr int64_t slack(int64_t most_in_use) {
  return std::clamp(most_in_use / 2, int64_t{16} << 20, int64_t{256} << 20);
}
// Blocks that nobody took for so long go back to the system at the next call.
constexpr auto kIdleTime = std::chrono::seconds(10);

// ---- size classes: every 64 bytes up to 512, then four per doubling up to 32 KiB
// -------------------------------------
constexpr size_t kSmallBytes = size_t{32} << 10;
constexpr int kLinearClasses = 8;
constexpr int kClasses = kLinearClasses + 4 * 6;
// A thread keeps at most so many free bytes of a class.
constexpr size_t kClassCacheBytes = size_t{128} << 10;

CT_INLINE int class_of(size_t bytes) {
  if (bytes <= 512) return bytes == 0 ? 0 : static_cast<int>((bytes - 1) / 64);
  size_t last = bytes - 1;
  int log2 = 63 - __builtin_clzl(last);
  return kLinearClasses + (log2 - 9) * 4 + static_cast<int>((last >> (log2 - 2)) & 3);
}

constexpr size_t class_bytes(int index) {
  if (index < kLinearClasses) return static_cast<size_t>(index + 1) * 64;
  int octave = (index - kLinearClasses) / 4, quarter = (index - kLinearClasses) % 4;
  return (size_t{512} << octave) + (size_t{128} << octave) * static_cast<size_t>(quarter + 1);
}

// ---- statistics
// ------------------------------------------------------------------------------------------------------
enum Count {
  kAllocated,
  kReserved,
  kCached,
  kAllocations,
  kFrees,
  kHits,
  kSystemAllocations,
  kSystemFrees,
  kNumCounts
};

struct Counts {
  int64_t of[kNumCounts] = {};
};

[[noreturn]] void refuse(size_t bytes) {
  fail(ErrorKind::out_of_memory, "allocate: the system has no ", bytes, " bytes to give (",
       static_cast<double>(bytes) / (1 << 30), " GiB)");
}

bool caching() {
  static const bool on = [] {
    const char* value = std::getenv("CTORCH_NO_CACHE");
    return !value || !*value || (value[0] == '0' && !value[1]);
  }();
  return on;
}

// ---- large blocks
// ----------------------------------------------------------------------------------------------------
class LargeCache {
 public:
  void* allocate(size_t bytes) {
    size_t need = round_up(bytes, kPage);
    std::lock_guard lock(mutex);
    void* block = take(need);
    if (!block) block = grow(need);
    if (!block) return nullptr;
    counts.of[kAllocations] += 1;
    counts.of[kAllocated] += static_cast<int64_t>(bytes);
    most_in_use_ = std::max(most_in_use_, in_use());
    return block;
  }

  void free(void* block, size_t bytes) {
    std::lock_guard lock(mutex);
    counts.of[kFrees] += 1;
    counts.of[kAllocated] -= static_cast<int64_t>(bytes);
    size_t size = sizes_.find(block)->second;
    auto now = Clock::now();
    if (!keep({block, size, now})) return give_back(block, size);
    counts.of[kCached] += static_cast<int64_t>(size);
    while (now - by_age_.front().freed > kIdleTime) release(by_age_.begin());
  }

  // A cache emptied on request starts afresh: what was once in use no longer says what it may hold.
  void release_all() {
    std::lock_guard lock(mutex);
    while (!by_age_.empty()) release(by_age_.begin());
    most_in_use_ = in_use();
  }

  std::mutex mutex;
  Counts counts;

 private:
  using Clock = std::chrono::steady_clock;
  struct FreeBlock {
    void* block;
    size_t bytes;
    Clock::time_point freed;
  };
  using ByAge = std::list<FreeBlock>;

  // The smallest cached block that holds `need` without much waste, and of its size the one freed last: it is
  // likeliest to be in the processor's cache.
  void* take(size_t need) {
    auto place = by_size_.lower_bound(need);
    if (place == by_size_.end() || place->first > need + need / kWastePart) return nullptr;
    place = std::prev(by_size_.upper_bound(place->first));
    void* block = place->second->block;
    counts.of[kHits] += 1;
    counts.of[kCached] -= static_cast<int64_t>(place->first);
    by_age_.erase(place->second);
    by_size_.erase(place);
    return block;
  }

  // False if there is no memory for the entry.
  bool keep(const FreeBlock& entry) {
    try {
      by_age_.push_back(entry);
    } catch (const std::bad_alloc&) {
      return false;
    }
    try {
      by_size_.emplace(entry.bytes, std::prev(by_age_.end()));
    } catch (const std::bad_alloc&) {
      by_age_.pop_back();
      return false;
    }
    return true;
  }

  void* grow(size_t need) {
    auto need_signed = static_cast<int64_t>(need);
    int64_t most = std::max(most_in_use_, in_use() + need_signed), bound = most + slack(most);
    while (!by_age_.empty() && counts.of[kReserved] + need_signed > bound) release(by_age_.begin());
    void* block = pages_.allocate(need);
    if (!block) {
      while (!by_age_.empty()) release(by_age_.begin());
      block = pages_.allocate(need);
      if (!block) return nullptr;
    }
    try {
      sizes_.emplace(block, need);
    } catch (const std::bad_alloc&) {
      pages_.free(block, need);
      return nullptr;
    }
    counts.of[kReserved] += need_signed;
    counts.of[kSystemAllocations] += 1;
    return block;
  }

  void release(ByAge::iterator entry) {
    auto [first, last] = by_size_.equal_range(entry->bytes);
    by_size_.erase(std::find_if(first, last, [&](auto& item) { return item.second == entry; }));
    counts.of[kCached] -= static_cast<int64_t>(entry->bytes);
    give_back(entry->block, entry->bytes);
    by_age_.erase(entry);
  }

  void give_back(void* block, size_t size) {
    sizes_.erase(block);
    counts.of[kReserved] -= static_cast<int64_t>(size);
    counts.of[kSystemFrees] += 1;
    pages_.free(block, size);
  }

  int64_t in_use() const { return counts.of[kReserved] - counts.of[kCached]; }

  PageRuns pages_;
  ByAge by_age_;  // the longest unused first
  std::multimap<size_t, ByAge::iterator> by_size_;
  std::unordered_map<void*, size_t> sizes_;  // of every block, in use or free
  int64_t most_in_use_ = 0;
};

// ---- small blocks
// ----------------------------------------------------------------------------------------------------
struct FreeNode {
  FreeNode* next;
};

// One thread's lists. Only that thread touches them; its counts are read by others, hence atomic (relaxed: no
// locked instruction).
struct ThreadCache {
  struct List {
    FreeNode* head = nullptr;
    uint32_t length = 0, capacity = 0;
  };
  List lists[kClasses];
  std::atomic<int64_t> counts[kNumCounts] = {};
  int64_t published = 0;  // of counts[kAllocated], what the peak knows
  ThreadCache *next = nullptr, *previous = nullptr;

  ThreadCache() {
    for (int i = 0; i < kClasses; ++i)
      lists[i].capacity = static_cast<uint32_t>(kClassCacheBytes / class_bytes(i));
  }
  CT_INLINE void add(Count which, int64_t n) {
    counts[which].store(counts[which].load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  // Null if the class has no free block.
  CT_INLINE void* take(int index) {
    List& list = lists[index];
    FreeNode* node = list.head;
    if (CT_UNLIKELY(!node)) return nullptr;
    list.head = node->next;
    --list.length;
    add(kCached, -static_cast<int64_t>(class_bytes(index)));
    return node;
  }
  // False if the class has its fill.
  CT_INLINE bool put(int index, void* block) {
    List& list = lists[index];
    if (CT_UNLIKELY(list.length >= list.capacity)) return false;
    list.head = new (block) FreeNode{list.head};
    ++list.length;
    add(kCached, static_cast<int64_t>(class_bytes(index)));
    return true;
  }
  void release_all() {
    for (int i = 0; i < kClasses; ++i) {
      while (void* block = take(i)) {
        std::free(block);
        add(kReserved, -static_cast<int64_t>(class_bytes(i)));
        add(kSystemFrees, 1);
      }
    }
  }
};

// The initial-exec model makes the access one instruction; a pointer's worth of static TLS is always to be
// had.
thread_local ThreadCache* t_cache __attribute__((tls_model("initial-exec"))) = nullptr;
thread_local bool t_finished = false;

// All that is shared. Never destroyed: tensors may outlive static objects.
struct Shared {
  LargeCache large;
  std::mutex mutex;  // guards what follows; taken before large.mutex
  ThreadCache* threads = nullptr;
  Counts finished;  // of threads that ended, and of calls without a cache
  int64_t allocated_peak = 0, reserved_peak = 0;

  Counts sum() {
    Counts total = finished;
    for (ThreadCache* cache = threads; cache; cache = cache->next) {
      for (int i = 0; i < kNumCounts; ++i) total.of[i] += cache->counts[i].load(std::memory_order_relaxed);
    }
    std::lock_guard lock(large.mutex);
    for (int i = 0; i < kNumCounts; ++i) total.of[i] += large.counts.of[i];
    return total;
  }
  Counts update_peaks() {
    Counts total = sum();
    allocated_peak = std::max(allocated_peak, total.of[kAllocated]);
    reserved_peak = std::max(reserved_peak, total.of[kReserved]);
    return total;
  }
};

Shared& shared() {
  static Shared* instance = [] {
    auto* made = new Shared;
    // A child must not inherit a mutex that a thread held which it does not have.
    pthread_atfork(
        [] {
          shared().mutex.lock();
          shared().large.mutex.lock();
        },
        [] {
          shared().large.mutex.unlock();
          shared().mutex.unlock();
        },
        [] {
          shared().large.mutex.unlock();
          shared().mutex.unlock();
        });
    return made;
  }();
  return *instance;
}

// Made when the library is loaded: a fork while another thread was at it would leave the child waiting for
// that thread.
[[maybe_unused]] const bool g_made_at_load = (shared(), caching(), machine_bytes() > 0);

void publish() {
  std::lock_guard lock(shared().mutex);
  shared().update_peaks();
}

// Small blocks tell the peaks only after so many bytes: the peak is exact to so much per thread.
constexpr int64_t kPublishBytes = int64_t{64} << 10;

void retire(ThreadCache* cache) {
  cache->release_all();
  std::lock_guard lock(shared().mutex);
  for (int i = 0; i < kNumCounts; ++i) shared().finished.of[i] += cache->counts[i];
  (cache->previous ? cache->previous->next : shared().threads) = cache->next;
  if (cache->next) cache->next->previous = cache->previous;
  delete cache;
}

struct RetireAtThreadEnd {
  ~RetireAtThreadEnd() {
    t_finished = true;
    if (ThreadCache* cache = std::exchange(t_cache, nullptr)) retire(cache);
  }
};

// The calling thread's cache; null if caching is off or the thread is ending.
ThreadCache* make_cache() {
  if (t_cache || t_finished || !caching()) return t_cache;
  auto* cache = new ThreadCache;
  {
    std::lock_guard lock(shared().mutex);
    cache->next = shared().threads;
    if (cache->next) cache->next->previous = cache;
    shared().threads = cache;
  }
  thread_local RetireAtThreadEnd at_end;
  static_cast<void>(at_end);
  return t_cache = cache;
}

void count_uncached(int64_t allocated, int64_t reserved, Count call, Count system_call) {
  std::lock_guard lock(shared().mutex);
  Counts& counts = shared().finished;
  counts.of[kAllocated] += allocated;
  counts.of[kReserved] += reserved;
  counts.of[call] += 1;
  counts.of[system_call] += 1;
  shared().update_peaks();
}

// With caching off every block has the size that was asked for, and comes from malloc, so that sanitizers see
// its ends.
void* allocate_uncached(size_t bytes, size_t reserved) {
  void* block = nullptr;
  if (reserved > machine_bytes() || posix_memalign(&block, kAlignment, reserved) != 0) refuse(bytes);
  count_uncached(static_cast<int64_t>(bytes), static_cast<int64_t>(reserved), kAllocations,
                 kSystemAllocations);
  return block;
}

void free_uncached(void* block, size_t bytes, size_t reserved) {
  std::free(block);
  count_uncached(-static_cast<int64_t>(bytes), -static_cast<int64_t>(reserved), kFrees, kSystemFrees);
}

CT_NOINLINE void* allocate_small_slowly(size_t bytes) {
  ThreadCache* cache = make_cache();
  size_t size = class_bytes(class_of(bytes));
  if (!cache) return allocate_uncached(bytes, caching() ? size : std::max<size_t>(bytes, 1));
  void* block = nullptr;
  if (posix_memalign(&block, kAlignment, size) != 0) {
    empty_cache();
    if (posix_memalign(&block, kAlignment, size) != 0) refuse(bytes);
  }
  cache->add(kAllocations, 1);
  cache->add(kSystemAllocations, 1);
  cache->add(kAllocated, static_cast<int64_t>(bytes));
  cache->add(kReserved, static_cast<int64_t>(size));
  int64_t allocated = cache->counts[kAllocated].load(std::memory_order_relaxed);
  if (allocated - cache->published > kPublishBytes) {
    cache->published = allocated;
    publish();
  } else {
    cache->published = std::min(cache->published, allocated);
  }
  return block;
}

CT_NOINLINE void* allocate_large(size_t bytes) {
  if (!caching()) return allocate_uncached(bytes, bytes);
  void* block = bytes > machine_bytes() ? nullptr : shared().large.allocate(bytes);
  if (!block) refuse(bytes);
  publish();
  return block;
}

// The thread's first call, or a block more than its list may hold.
CT_NOINLINE void free_small_slowly(void* block, size_t bytes) {
  ThreadCache* cache = make_cache();
  int index = class_of(bytes);
  size_t size = class_bytes(index);
  if (!cache) return free_uncached(block, bytes, caching() ? size : std::max<size_t>(bytes, 1));
  cache->add(kFrees, 1);
  cache->add(kAllocated, -static_cast<int64_t>(bytes));
  if (cache->put(index, block)) return;
  std::free(block);
  cache->add(kReserved, -static_cast<int64_t>(size));
  cache->add(kSystemFrees, 1);
}

}  // namespace

void* allocate(size_t bytes) {
  if (CT_UNLIKELY(bytes > kSmallBytes)) return allocate_large(bytes);
  ThreadCache* cache = t_cache;
  if (CT_UNLIKELY(!cache)) return allocate_small_slowly(bytes);
  void* block = cache->take(class_of(bytes));
  if (CT_UNLIKELY(!block)) return allocate_small_slowly(bytes);
  cache->add(kAllocations, 1);
  cache->add(kHits, 1);
  cache->add(kAllocated, static_cast<int64_t>(bytes));
  return block;
}

void deallocate(void* block, size_t bytes) noexcept {
  if (CT_UNLIKELY(bytes > kSmallBytes)) {
    return caching() ? shared().large.free(block, bytes) : free_uncached(block, bytes, bytes);
  }
  ThreadCache* cache = t_cache;
  if (CT_UNLIKELY(!cache || !cache->put(class_of(bytes), block))) return free_small_slowly(block, bytes);
  cache->add(kFrees, 1);
  cache->add(kAllocated, -static_cast<int64_t>(bytes));
}

MemoryStats memory_stats() {
  std::lock_guard lock(shared().mutex);
  Counts total = shared().update_peaks();
  return {.allocated_bytes = total.of[kAllocated],
          .allocated_bytes_peak = shared().allocated_peak,
          .reserved_bytes = total.of[kReserved],
          .reserved_bytes_peak = shared().reserved_peak,
          .cached_bytes = total.of[kCached],
          .allocations = total.of[kAllocations],
          .frees = total.of[kFrees],
          .cache_hits = total.of[kHits],
          .system_allocations = total.of[kSystemAllocations],
          .system_frees = total.of[kSystemFrees]};
}

void reset_peak_memory_stats() {
  std::lock_guard lock(shared().mutex);
  shared().allocated_peak = shared().reserved_peak = 0;
  shared().update_peaks();
}

void empty_cache() {
  shared().large.release_all();
  if (t_cache) t_cache->release_all();
}

}  // namespace ctorch
