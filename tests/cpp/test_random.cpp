#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "core/error.h"
#include "core/generator.h"
#include "core/parallel.h"
#include "kernels/table.h"

namespace ctorch {
namespace {

constexpr int kFloat = static_cast<int>(DType::float32);
constexpr int kDouble = static_cast<int>(DType::float64);

std::vector<uint8_t> saved(const Generator& g) {
  std::vector<uint8_t> bytes(Generator::kStateBytes);
  g.get_state(bytes.data());
  return bytes;
}

TEST(Generator, DrawsTheWordsOfTheMersenneTwister) {
  for (uint64_t seed : {uint64_t{0}, uint64_t{42}, uint64_t{0xffffffff}, (uint64_t{7} << 32) + 42}) {
    Generator g(seed);
    std::mt19937 reference(static_cast<uint32_t>(seed));
    for (int i = 0; i < 2000; ++i) ASSERT_EQ(g.random(), reference()) << "word " << i << " of seed " << seed;
    EXPECT_EQ(g.initial_seed(), seed);
  }
}

TEST(Generator, BulkDrawsContinueTheSameStream) {
  Generator g(3);
  std::mt19937 reference(3);
  std::vector<uint32_t> words(5000);
  for (int64_t n : {1, 7, 623, 624, 625, 1, 5000, 3}) {
    cpu_kernels().random.words(g.state(), words.data(), n);
    for (int64_t i = 0; i < n; ++i) ASSERT_EQ(words[static_cast<size_t>(i)], reference());
    ASSERT_EQ(g.random(), reference());
  }
}

TEST(Generator, StateRoundTripKeepsTheCachedNormal) {
  Generator g(5);
  std::vector<double> head(7), a(100), b(100);
  normal_serial(cpu_kernels().random, g.state(), DType::float64, head.data(), 7, 0.0, 1.0);
  EXPECT_TRUE(g.state().has_next_normal);
  Generator other(1);
  other.set_state(saved(g).data(), Generator::kStateBytes);
  EXPECT_EQ(saved(other), saved(g));
  normal_serial(cpu_kernels().random, g.state(), DType::float64, a.data(), 100, 0.0, 1.0);
  normal_serial(cpu_kernels().random, other.state(), DType::float64, b.data(), 100, 0.0, 1.0);
  EXPECT_EQ(a, b);
}

TEST(Generator, RefusesWhatIsNoStateAndKeepsItsOwn) {
  Generator g(5);
  g.random();
  std::vector<uint8_t> before = saved(g), zeros(Generator::kStateBytes), bad = before;
  EXPECT_THROW(g.set_state(before.data(), 10), Error);
  EXPECT_THROW(g.set_state(zeros.data(), Generator::kStateBytes), Error);
  int32_t left = 600;  // with next at 600, words beyond the array would be drawn
  uint64_t next = 600;
  std::memcpy(bad.data() + 8, &left, sizeof(left));
  std::memcpy(bad.data() + 16, &next, sizeof(next));
  EXPECT_THROW(g.set_state(bad.data(), Generator::kStateBytes), Error);
  EXPECT_EQ(saved(g), before);
}

TEST(Generator, SeedsFromEntropyDiffer) {
  Generator g;
  EXPECT_EQ(g.initial_seed(), Generator::kDefaultSeed);
  uint64_t first = g.seed();
  EXPECT_EQ(g.initial_seed(), first);
  EXPECT_NE(g.seed(), first);
}

class RandomLevels : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    if (GetParam() > static_cast<int>(best_isa())) GTEST_SKIP() << "this machine has no such level";
  }
  static const RandomTable& generic() { return cpu_kernels(IsaLevel::generic).random; }
  static const RandomTable& level() { return cpu_kernels(static_cast<IsaLevel>(GetParam())).random; }
};

TEST_P(RandomLevels, UniformNumbersAreThoseOfGeneric) {
  std::vector<float> a(3001), b(3001);
  std::vector<double> c(3001), d(3001);
  Generator g(11), h(11);
  generic().uniform[kFloat](g.state(), a.data(), 3001, -0.25, 0.25);
  level().uniform[kFloat](h.state(), b.data(), 3001, -0.25, 0.25);
  EXPECT_EQ(a, b);
  generic().uniform[kDouble](g.state(), c.data(), 3001, 0.3, 5.7);
  level().uniform[kDouble](h.state(), d.data(), 3001, 0.3, 5.7);
  EXPECT_EQ(c, d);
  EXPECT_EQ(saved(g), saved(h));
}

TEST_P(RandomLevels, NormalNumbersAreWithinTwoUlpOfGeneric) {
  std::vector<float> a(3001), b(3001);
  Generator g(12), h(12);
  generic().normal[kFloat](g.state(), a.data(), 3001, 0.0, 1.0);
  level().normal[kFloat](h.state(), b.data(), 3001, 0.0, 1.0);
  for (size_t i = 0; i < a.size(); ++i) {
    float ulp = std::nextafterf(std::fabs(a[i]), INFINITY) - std::fabs(a[i]);
    ASSERT_LE(std::fabs(a[i] - b[i]), 2 * ulp) << "element " << i;
  }
}

TEST_P(RandomLevels, IntegersAreRemainders) {
  for (uint64_t range : {uint64_t{1}, uint64_t{2}, uint64_t{3}, uint64_t{10}, uint64_t{1000003},
                         (uint64_t{1} << 28) - 1, uint64_t{1} << 31}) {
    Generator g(13);
    std::mt19937 reference(13);
    std::vector<int64_t> values(2000);
    level().integers[static_cast<int>(DType::int64)](g.state(), values.data(), 2000, range, -5, false);
    for (int64_t v : values) ASSERT_EQ(v, static_cast<int64_t>(reference() % range) - 5) << "range " << range;
  }
}

TEST_P(RandomLevels, BernoulliTakesTheEdgesExactly) {
  Generator g(14);
  std::vector<uint8_t> out(1000);
  level().bernoulli[static_cast<int>(DType::uint8)](g.state(), out.data(), 1000, 0.0);
  EXPECT_EQ(out, std::vector<uint8_t>(1000, 0));
  level().bernoulli[static_cast<int>(DType::uint8)](g.state(), out.data(), 1000, 1.0);
  EXPECT_EQ(out, std::vector<uint8_t>(1000, 1));
}

INSTANTIATE_TEST_SUITE_P(EveryLevel, RandomLevels, testing::Range(0, kNumIsaLevels));

TEST(RandomFills, DoNotDependOnTheNumberOfThreads) {
  constexpr int64_t n = 200001;
  int threads = num_threads();
  std::vector<std::vector<float>> results;
  for (int t : {1, 2, 5}) {
    set_num_threads(t);
    Generator g(15);
    std::vector<float> normal(n), waiting(n);
    cpu_kernels().random.normal[kFloat](g.state(), normal.data(), n, 0.0, 1.0);
    exponential_fill(cpu_kernels().random, g.state(), DType::float32, waiting.data(), n, 1.0);
    normal.insert(normal.end(), waiting.begin(), waiting.end());
    results.push_back(normal);
  }
  set_num_threads(threads);
  EXPECT_EQ(results[0], results[1]);
  EXPECT_EQ(results[0], results[2]);
}

}  // namespace
}  // namespace ctorch
