#include "core/parallel.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "core/cpu_limit.h"
#include "core/error.h"
#include "core/float_mode.h"

namespace ctorch {
namespace {

using Ranges = std::vector<std::pair<int64_t, int64_t>>;

class Parallel : public testing::Test {
 protected:
  void TearDown() override { set_num_threads(before_); }
  int before_ = num_threads();
};

Ranges pieces_of(int64_t begin, int64_t end, int64_t grain) {
  std::mutex mutex;
  Ranges ranges;
  parallel_for(begin, end, grain, [&](int64_t from, int64_t to) {
    std::lock_guard lock(mutex);
    ranges.emplace_back(from, to);
  });
  std::sort(ranges.begin(), ranges.end());
  return ranges;
}

TEST_F(Parallel, PiecesCoverTheRangeOnceForAnyThreadCountAndAreTheSame) {
  for (auto [begin, end, grain] : {std::array<int64_t, 3>{0, 1, 1},
                                   {0, 7, 1},
                                   {-5, 1000, 3},
                                   {3, 100'003, 100},
                                   {0, 1 << 20, 1000},
                                   {0, 1'000'003, 1},
                                   {0, 2000, 1500},
                                   {0, 10, 0}}) {
    set_num_threads(1);
    Ranges serial = pieces_of(begin, end, grain);
    int64_t at = begin;
    for (auto [from, to] : serial) {
      EXPECT_EQ(from, at);
      EXPECT_LT(from, to);
      at = to;
    }
    EXPECT_EQ(at, end);
    for (int threads : {2, 3, 8}) {
      set_num_threads(threads);
      EXPECT_EQ(pieces_of(begin, end, grain), serial) << threads << " threads";
    }
  }
}

TEST_F(Parallel, EmptyRangeCallsNothing) {
  EXPECT_TRUE(pieces_of(0, 0, 1).empty());
  EXPECT_TRUE(pieces_of(5, 3, 1).empty());
}

TEST_F(Parallel, ShortRangeIsOneCallOnTheCallingThread) {
  set_num_threads(4);
  parallel_for(0, 100, 100, [caller = std::this_thread::get_id()](int64_t from, int64_t to) {
    EXPECT_EQ(std::this_thread::get_id(), caller);
    EXPECT_FALSE(in_parallel_region());
    EXPECT_EQ(from, 0);
    EXPECT_EQ(to, 100);
  });
}

TEST_F(Parallel, SeveralThreadsTakePartAndHaveTheirOwnIndex) {
  set_num_threads(3);
  // Three pieces that each wait for all three: only three threads can finish them.
  std::atomic<int> arrived{0};
  std::atomic<uint32_t> indices{0};
  parallel_for(0, 3, 1, [&](int64_t, int64_t) {
    EXPECT_TRUE(in_parallel_region());
    EXPECT_GE(thread_index(), 0);
    EXPECT_LT(thread_index(), 3);
    indices |= 1u << thread_index();
    ++arrived;
    while (arrived < 3) std::this_thread::yield();
  });
  EXPECT_EQ(indices, 7u);
  EXPECT_FALSE(in_parallel_region());
  EXPECT_EQ(thread_index(), 0);
}

TEST_F(Parallel, NestedLoopRunsOnItsOwnThread) {
  set_num_threads(4);
  std::atomic<int64_t> total{0};
  parallel_for(0, 8, 1, [&](int64_t, int64_t) {
    auto outer = std::this_thread::get_id();
    parallel_for(0, 1000, 1, [&](int64_t from, int64_t to) {
      EXPECT_EQ(std::this_thread::get_id(), outer);
      total += to - from;
    });
  });
  EXPECT_EQ(total, 8000);
}

TEST_F(Parallel, ExceptionOfABodyReachesTheCallerAndTheNextLoopWorks) {
  set_num_threads(4);
  for (int round = 0; round < 50; ++round) {
    auto failing = [](int64_t from, int64_t) {
      if (from == 500) throw std::out_of_range("piece 500");
    };
    EXPECT_THROW(parallel_for(0, 1000, 4, failing), std::out_of_range);
    EXPECT_EQ(pieces_of(0, 1000, 10).size(), 100u);
  }
}

TEST_F(Parallel, LoopsOfSeveralThreadsRunSideBySide) {
  set_num_threads(3);
  std::vector<std::thread> callers;
  std::atomic<int64_t> total{0};
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] {
      for (int round = 0; round < 200; ++round) {
        parallel_for(0, 100, 1, [&](int64_t from, int64_t to) { total += to - from; });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(total, 4 * 200 * 100);
}

TEST_F(Parallel, ThreadsThatSleptTakePartAgain) {
  set_num_threads(2);
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    std::atomic<int> arrived{0};
    parallel_for(0, 2, 1, [&](int64_t, int64_t) {
      ++arrived;
      while (arrived < 2) std::this_thread::yield();
    });
  }
}

TEST_F(Parallel, EveryThreadHasTheCallersFloatMode) {
  if (kFlushDenormalBits == 0) GTEST_SKIP() << "this processor cannot flush denormals";
  set_num_threads(2);
  auto all_threads_flush = [] {
    std::atomic<int> arrived{0}, flushing{0};
    parallel_for(0, 2, 1, [&](int64_t, int64_t) {
      flushing += flush_denormal();
      ++arrived;
      while (arrived < 2) std::this_thread::yield();
    });
    return flushing.load();
  };
  EXPECT_EQ(all_threads_flush(), 0);
  {
    FlushDenormalGuard guard;
    EXPECT_EQ(all_threads_flush(), 2);
  }
  EXPECT_FALSE(flush_denormal());
  EXPECT_EQ(all_threads_flush(), 0);
}

TEST_F(Parallel, ThreadCountMustBePositive) {
  EXPECT_THROW(set_num_threads(0), Error);
  EXPECT_THROW(set_num_threads(-3), Error);
  EXPECT_EQ(num_threads(), before_);
}

TEST_F(Parallel, ForkedChildrenWorkAfterTheParentRanLoops) {
  set_num_threads(2);
  auto work = [] {
    std::atomic<int64_t> total{0};
    parallel_for(0, 100'000, 10, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) total.fetch_add(i, std::memory_order_relaxed);
    });
    return total.load() == int64_t{100'000} * 99'999 / 2;
  };
  ASSERT_TRUE(work());
  std::vector<pid_t> children;
  for (int i = 0; i < 4; ++i) {
    pid_t child = fork();
    if (child == 0) {
      alarm(20);  // a hang ends the child
      bool good = num_threads() == 1 && work();
      set_num_threads(2);
      _exit(good && work() ? 0 : 1);
    }
    children.push_back(child);
  }
  for (pid_t child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
  EXPECT_TRUE(work());
}

// ---- the number of CPUs
// ----------------------------------------------------------------------------------------------
class CpuLimit : public testing::Test {
 protected:
  void SetUp() override {
    root_ = std::filesystem::path(testing::TempDir()) / ("cpu_limit_" + std::to_string(getpid()));
    std::filesystem::create_directories(root_);
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  void write(const std::string& name, const std::string& text) {
    std::filesystem::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name) << text;
  }
  int limit() { return cgroup_cpus((root_ / "self").string(), (root_ / "fs").string()); }
  std::filesystem::path root_;
};

TEST_F(CpuLimit, Version2QuotaIsRoundedUp) {
  write("self", "0::/job\n");
  write("fs/job/cpu.max", "150000 100000\n");
  EXPECT_EQ(limit(), 2);
}

TEST_F(CpuLimit, Version2ParentsCount) {
  write("self", "0::/a/b/c\n");
  write("fs/a/b/c/cpu.max", "max 100000\n");
  write("fs/a/cpu.max", "300000 100000\n");
  EXPECT_EQ(limit(), 3);
}

TEST_F(CpuLimit, Version2RootCountsWhereTheOwnGroupIsNotVisible) {
  write("self", "0::/not/mounted/here\n");
  write("fs/cpu.max", "50000 100000\n");
  EXPECT_EQ(limit(), 1);
}

TEST_F(CpuLimit, Version1QuotaIsRead) {
  write("self", "5:memory:/x\n4:cpu,cpuacct:/job\n");
  write("fs/cpu,cpuacct/job/cpu.cfs_quota_us", "400000\n");
  write("fs/cpu,cpuacct/job/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(limit(), 4);
}

TEST_F(CpuLimit, NoQuotaIsNoLimit) {
  EXPECT_EQ(limit(), 0);
  write("self", "1:cpu:/\n0::/\nnonsense\n");
  write("fs/cpu/cpu.cfs_quota_us", "-1\n");
  write("fs/cpu/cpu.cfs_period_us", "100000\n");
  write("fs/cpu.max", "max 100000\n");
  EXPECT_EQ(limit(), 0);
}

TEST_F(CpuLimit, AvailableCpusAreWithinTheAffinityMask) {
  EXPECT_GE(available_cpus(), 1);
  EXPECT_LE(available_cpus(), affinity_cpus());
}

}  // namespace
}  // namespace ctorch
