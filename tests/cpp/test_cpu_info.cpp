#include <gtest/gtest.h>

#include <cstdlib>

#include "core/cpu_info.h"
#include "core/error.h"
#include "kernels/table.h"

namespace ctorch {
namespace {

TEST(CpuInfo, NamesAreThoseOfTheEnvironmentVariable) {
  EXPECT_STREQ(isa_name(IsaLevel::generic), "generic");
  EXPECT_STREQ(isa_name(IsaLevel::avx2), "avx2");
  EXPECT_STREQ(isa_name(IsaLevel::avx512), "avx512");
  EXPECT_STREQ(isa_name(IsaLevel::avx512_bf16), "avx512_bf16");
  EXPECT_STREQ(isa_name(IsaLevel::amx), "amx");
}

TEST(CpuInfo, ActiveLevelIsOneOfThisMachine) {
  if (std::getenv("CTORCH_ISA")) {
    EXPECT_STREQ(isa_name(active_isa()), std::getenv("CTORCH_ISA"));
  } else {
    EXPECT_EQ(active_isa(), best_isa());
  }
  EXPECT_LE(active_isa(), best_isa());
  EXPECT_FALSE(isa_reason().empty());
  EXPECT_FALSE(cpu_model().empty());
}

#if defined(__x86_64__)
TEST(CpuInfo, AgreesWithTheCompilersOwnDetection) {
  __builtin_cpu_init();
  EXPECT_EQ(best_isa() >= IsaLevel::avx2, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
  EXPECT_EQ(best_isa() >= IsaLevel::avx512, __builtin_cpu_supports("avx512f") &&
                                                __builtin_cpu_supports("avx512bw") &&
                                                __builtin_cpu_supports("avx512vl"));
}
#endif

// The choice is made once per process, so each value is tried in a fresh one.
void exit_with_active_level(const char* value) {
  setenv("CTORCH_ISA", value, 1);
  try {
    std::exit(static_cast<int>(active_isa()));
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    std::exit(100);
  }
}

TEST(CpuInfoDeathTest, EnvironmentChoosesALowerLevel) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (int level = 0; level <= static_cast<int>(best_isa()); ++level) {
    EXPECT_EXIT(exit_with_active_level(isa_name(static_cast<IsaLevel>(level))),
                testing::ExitedWithCode(level), "");
  }
}

TEST(CpuInfoDeathTest, UnknownLevelIsAnErrorThatNamesIt) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(exit_with_active_level("sse9"), testing::ExitedWithCode(100),
              "expected generic, avx2, avx512, avx512_bf16 or amx, got sse9");
}

TEST(CpuInfo, EveryLevelOfThisMachineHasATable) {
  for (int level = 0; level <= static_cast<int>(best_isa()); ++level)
    cpu_kernels(static_cast<IsaLevel>(level));
  EXPECT_EQ(&cpu_kernels(), &cpu_kernels(active_isa()));
}

TEST(CpuInfo, LevelBeyondThisMachineIsAnError) {
  if (best_isa() == IsaLevel::amx) GTEST_SKIP() << "this machine has every level";
  EXPECT_THROW(cpu_kernels(IsaLevel::amx), Error);
}

}  // namespace
}  // namespace ctorch
