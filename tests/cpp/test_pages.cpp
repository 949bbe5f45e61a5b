#include "core/pages.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

namespace ctorch {
namespace {

constexpr size_t kMiB = size_t{1} << 20;

size_t resident_bytes() {
  size_t total = 0, resident = 0;
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  if (!file) return 0;
  const int read = std::fscanf(file, "%zu %zu", &total, &resident);
  std::fclose(file);
  return read == 2 ? resident * kPage : 0;
}

struct Filled {
  unsigned char* data;
  size_t bytes;
  unsigned char mark;

  bool is_whole() const {
    for (size_t i = 0; i < bytes; i += kPage) {
      if (data[i] != mark) return false;
    }
    return data[bytes - 1] == mark;
  }
};

class Pages : public testing::Test {
 protected:
  Filled take(size_t bytes) {
    Filled run{static_cast<unsigned char*>(pages.allocate(bytes)), bytes, ++mark};
    EXPECT_NE(run.data, nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(run.data) % kPage, 0u);
    std::memset(run.data, run.mark, bytes);
    return run;
  }
  void give_back(const Filled& run) {
    EXPECT_TRUE(run.is_whole()) << run.bytes;
    pages.free(run.data, run.bytes);
  }

  PageRuns pages;
  unsigned char mark = 0;
};

TEST_F(Pages, RunsOfAllSizesAreDistinctAndKeepWhatIsWritten) {
  std::mt19937 random(1);
  std::vector<Filled> runs;
  for (int i = 0; i < 3000; ++i) {
    if (runs.empty() || random() % 5 < 3) {
      runs.push_back(take((1 + random() % (random() % 8 ? 64 : 1200)) * kPage));
    } else {
      std::swap(runs[random() % runs.size()], runs.back());
      give_back(runs.back());
      runs.pop_back();
    }
    if (runs.size() > 100) {
      for (const Filled& run : runs) give_back(run);
      runs.clear();
    }
  }
  for (const Filled& run : runs) give_back(run);
}

TEST_F(Pages, WhatIsFreedGoesBackToTheSystem) {
  const size_t before = resident_bytes();
  std::vector<Filled> runs;
  for (int i = 0; i < 400; ++i) runs.push_back(take(i % 8 ? 200 * kPage : 10 * kPage));
  const size_t bytes = 350 * 200 * kPage + 50 * 10 * kPage;
  EXPECT_GE(resident_bytes(), before + bytes - kMiB);
  // The short ones, which lie among the others, hold no more than themselves.
  for (int i = 0; i < 400; ++i) {
    if (i % 8) give_back(runs[static_cast<size_t>(i)]);
  }
  EXPECT_LE(resident_bytes(), before + 50 * 10 * kPage + 4 * kMiB);
  for (int i = 0; i < 400; i += 8) give_back(runs[static_cast<size_t>(i)]);
  EXPECT_LE(resident_bytes(), before + 4 * kMiB);
}

TEST_F(Pages, WhatIsFreedIsUsedAgain) {
  std::vector<Filled> runs;
  for (int i = 0; i < 8; ++i) runs.push_back(take(kMiB));
  unsigned char* const second = runs[1].data;
  give_back(runs[1]);
  runs[1] = take(kMiB / 2);
  EXPECT_EQ(runs[1].data, second);  // the lowest part that is large enough
  for (const Filled& run : runs) give_back(run);
}

TEST_F(Pages, MoreThanTheMachineHasIsRefused) {
  EXPECT_EQ(pages.allocate((machine_bytes() + kPage) / kPage * kPage), nullptr);
}

}  // namespace
}  // namespace ctorch
