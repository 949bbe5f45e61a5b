#include "core/allocator.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/scratch.h"

namespace ctorch {
namespace {

constexpr size_t kMiB = size_t{1} << 20;

bool caching() { return !std::getenv("CTORCH_NO_CACHE"); }

// Sizes around every boundary that the allocator could have.
std::vector<size_t> interesting_sizes() {
  std::vector<size_t> sizes = {0, 1};
  for (size_t power = 8; power <= 16 * kMiB; power *= 2) {
    for (size_t size : {power - 1, power, power + 1, power + power / 4, power + power / 4 + 1})
      sizes.push_back(size);
  }
  return sizes;
}

TEST(Allocator, BlocksAreAlignedDistinctAndWritableToTheLastByte) {
  struct Block {
    unsigned char* data;
    size_t bytes;
  };
  std::vector<Block> blocks;
  unsigned char mark = 0;
  for (size_t bytes : interesting_sizes()) {
    auto* data = static_cast<unsigned char*>(allocate(bytes));
    ASSERT_NE(data, nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % kAlignment, 0u) << bytes;
    std::memset(data, ++mark, bytes);
    blocks.push_back({data, bytes});
  }
  mark = 0;
  for (auto [data, bytes] : blocks) {
    ++mark;
    if (bytes > 0) {
      EXPECT_EQ(data[0], mark);
      EXPECT_EQ(data[bytes / 2], mark);
      EXPECT_EQ(data[bytes - 1], mark);
    }
    deallocate(data, bytes);
  }
}

TEST(Allocator, CountsWhatIsInUse) {
  MemoryStats before = memory_stats();
  void* small = allocate(100);
  void* large = allocate(3 * kMiB);
  MemoryStats during = memory_stats();
  EXPECT_EQ(during.allocated_bytes - before.allocated_bytes, static_cast<int64_t>(100 + 3 * kMiB));
  EXPECT_EQ(during.allocations - before.allocations, 2);
  EXPECT_GE(during.reserved_bytes, during.allocated_bytes + during.cached_bytes);
  deallocate(small, 100);
  deallocate(large, 3 * kMiB);
  MemoryStats after = memory_stats();
  EXPECT_EQ(after.allocated_bytes, before.allocated_bytes);
  EXPECT_EQ(after.frees - before.frees, 2);
  EXPECT_GE(after.allocated_bytes_peak, during.allocated_bytes);
}

TEST(Allocator, PeakStartsAgainAfterReset) {
  deallocate(allocate(8 * kMiB), 8 * kMiB);
  reset_peak_memory_stats();
  MemoryStats stats = memory_stats();
  EXPECT_EQ(stats.allocated_bytes_peak, stats.allocated_bytes);
  EXPECT_EQ(stats.reserved_bytes_peak, stats.reserved_bytes);
}

TEST(Allocator, PeakOfSmallBlocksIsExactTo64KiB) {
  reset_peak_memory_stats();
  int64_t before = memory_stats().allocated_bytes;
  std::vector<void*> blocks;
  for (int i = 0; i < 4000; ++i) blocks.push_back(allocate(1000));
  for (void* block : blocks) deallocate(block, 1000);
  EXPECT_NEAR(memory_stats().allocated_bytes_peak - before, 4'000'000, 64 << 10);
}

TEST(Allocator, FreedBlockIsTakenAgain) {
  if (!caching()) GTEST_SKIP() << "caching is off";
  for (size_t bytes : {size_t{40}, size_t{5000}, size_t{100'000}, 9 * kMiB}) {
    void* first = allocate(bytes);
    deallocate(first, bytes);
    void* second = allocate(bytes);
    EXPECT_EQ(first, second) << bytes;
    deallocate(second, bytes);
  }
}

TEST(Allocator, LargeBlockServesRequestsOfNearlyItsSizeOnly) {
  if (!caching()) GTEST_SKIP() << "caching is off";
  empty_cache();
  void* first = allocate(16 * kMiB);
  deallocate(first, 16 * kMiB);
  void* half = allocate(8 * kMiB);
  EXPECT_NE(half, first);
  void* near = allocate(15 * kMiB);
  EXPECT_EQ(near, first);
  deallocate(half, 8 * kMiB);
  deallocate(near, 15 * kMiB);
}

TEST(Allocator, CacheNeverHoldsMuchMoreThanWasInUseAtOnce) {
  empty_cache();
  reset_peak_memory_stats();
  // Sizes that do not fit into one another: without a bound the cache would hold them all, 1.3 GB.
  for (size_t bytes = kMiB; bytes < 90 * kMiB; bytes += bytes / 5) deallocate(allocate(bytes), bytes);
  MemoryStats stats = memory_stats();
  EXPECT_LE(stats.reserved_bytes_peak, stats.allocated_bytes_peak * 5 / 4 + static_cast<int64_t>(kMiB));
  empty_cache();
}

TEST(Allocator, EmptyCacheGivesEverythingBack) {
  for (size_t bytes : interesting_sizes()) deallocate(allocate(bytes), bytes);
  empty_cache();
  EXPECT_EQ(memory_stats().cached_bytes, 0);
}

TEST(Allocator, RefusalNamesTheSizeAndTheProcessLives) {
  for (size_t bytes : {size_t{1} << 50, SIZE_MAX / 2, SIZE_MAX - 100, SIZE_MAX}) {
    try {
      allocate(bytes);
      FAIL() << "allocated " << bytes;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::out_of_memory);
      EXPECT_NE(std::string(error.what()).find(std::to_string(bytes)), std::string::npos) << error.what();
    }
  }
  deallocate(allocate(kMiB), kMiB);
}

TEST(Allocator, BlocksTravelBetweenThreads) {
  int64_t before = memory_stats().allocated_bytes;
  for (int round = 0; round < 20; ++round) {
    std::vector<void*> blocks(500);
    std::thread([&] {
      for (void*& block : blocks) block = allocate(256);
    }).join();
    for (void* block : blocks) std::memset(block, round, 256);
    std::thread([&] {
      for (void* block : blocks) deallocate(block, 256);
    }).join();
  }
  EXPECT_EQ(memory_stats().allocated_bytes, before);
}

TEST(Allocator, ThreadsAllocateAtTheSameTime) {
  int64_t before = memory_stats().allocated_bytes;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      std::vector<std::pair<unsigned char*, size_t>> live;
      uint32_t state = static_cast<uint32_t>(t) + 1;
      for (int i = 0; i < 5000; ++i) {
        state = state * 1664525u + 1013904223u;
        size_t bytes = size_t{1} << (state >> 27);
        bytes = bytes > kMiB ? bytes >> 16 : bytes;
        auto* data = static_cast<unsigned char*>(allocate(bytes));
        data[0] = data[bytes - 1] = static_cast<unsigned char>(t);
        live.emplace_back(data, bytes);
        if (live.size() < 20) continue;
        auto [old, old_bytes] = live[state % 20];
        EXPECT_EQ(old[0], t);
        EXPECT_EQ(old[old_bytes - 1], t);
        deallocate(old, old_bytes);
        live[state % 20] = live.back();
        live.pop_back();
      }
      for (auto [data, bytes] : live) deallocate(data, bytes);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(memory_stats().allocated_bytes, before);
}

TEST(Allocator, ForkedChildAllocatesWhileAnotherThreadOfTheParentDoes) {
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    while (!stop) deallocate(allocate(kMiB), kMiB);
  });
  for (int i = 0; i < 20; ++i) {
    pid_t child = fork();
    if (child == 0) {
      alarm(20);  // a hang ends the child
      deallocate(allocate(100), 100);
      deallocate(allocate(2 * kMiB), 2 * kMiB);
      _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  stop = true;
  busy.join();
}

TEST(Scratch, IsAlignedAndGivenBack) {
  int64_t before = memory_stats().allocated_bytes;
  {
    Scratch buffer(10'000);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.as<float>()) % kAlignment, 0u);
    EXPECT_EQ(memory_stats().allocated_bytes, before + 10'000);
  }
  EXPECT_EQ(memory_stats().allocated_bytes, before);
}

}  // namespace
}  // namespace ctorch
