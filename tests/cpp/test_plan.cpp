// The element-wise plan: the order of dims, results' layouts, and every way an operand can lie in memory.
#include <gtest/gtest.h>

#include <numeric>

#include "ops/copy.h"
#include "ops/elementwise.h"
#include "ops/plan.h"

namespace ctorch {
namespace {

using ops::detail::Geometry;

Tensor counting(IntList sizes, DType dtype = DType::float32) {
  Tensor t = empty(sizes, DType::int64);
  std::iota(t.data<int64_t>(), t.data<int64_t>() + t.numel(), 1);
  return ops::to_dtype(t, dtype);
}

double at(const Tensor& t, IntList index) {
  int64_t offset = 0;
  for (size_t d = 0; d < index.size(); ++d) offset += index[d] * t.strides()[static_cast<int64_t>(d)];
  return item(t.view_as({}, {}, t.offset() + offset)).to_double();
}

Geometry geometry(std::initializer_list<int64_t> sizes,
                  std::initializer_list<std::initializer_list<int64_t>> strides) {
  Geometry g;
  for (int64_t s : sizes) g.size[g.dims++] = s;
  for (auto& operand : strides) {
    g.walk[g.operands].data = nullptr;
    std::copy(operand.begin(), operand.end(), g.walk[g.operands++].stride);
  }
  g.numel = 1;
  for (int64_t s : sizes) g.numel *= s;
  return g;
}

TEST(Geometry, ContiguousDimsMergeIntoOne) {
  Geometry g = geometry({5, 3, 2}, {{4, 20, 60}, {4, 20, 60}});
  g.simplify();
  EXPECT_EQ(g.dims, 1);
  EXPECT_EQ(g.size[0], 30);
}

TEST(Geometry, DimsOfSizeOneGoAway) {
  Geometry g = geometry({1, 3, 1}, {{4, 4, 12}, {0, 8, 0}});
  g.simplify();
  EXPECT_EQ(g.dims, 1);
  EXPECT_EQ(g.walk[1].stride[0], 8);
}

TEST(Geometry, TheResultsSmallestStrideComesFirst) {
  Geometry g = geometry({4, 6}, {{24, 4}, {4, 16}});
  g.simplify();
  EXPECT_EQ(g.size[0], 6);
  EXPECT_EQ(g.walk[0].stride[0], 4);
  EXPECT_EQ(g.walk[1].stride[0], 16);
}

TEST(Geometry, NegativeStridesOfTheResultAreTurnedRound) {
  alignas(4) char memory[40];
  Geometry g = geometry({10}, {{-4}, {4}});
  g.walk[0].data = memory + 36;
  g.walk[1].data = memory;
  g.simplify();
  EXPECT_EQ(g.walk[0].data, memory);
  EXPECT_EQ(g.walk[0].stride[0], 4);
  EXPECT_EQ(g.walk[1].data, memory + 36);
  EXPECT_EQ(g.walk[1].stride[0], -4);
}

TEST(Plan, ResultKeepsTheOrderOfPermutedInputs) {
  Tensor a = counting(Dims{2, 3, 4}).view_as({4, 2, 3}, {1, 12, 4}, 0);
  Tensor sum = ops::add(a, a, 1, {});
  EXPECT_EQ(sum.strides(), (Dims{1, 12, 4}));
  EXPECT_EQ(at(sum, Dims{3, 1, 2}), 2 * at(a, Dims{3, 1, 2}));
}

// Every combination of layouts for the two inputs, at lengths around the block of a vector loop and of a
// buffer.
TEST(Plan, AnyLayoutGivesTheSameElements) {
  for (int64_t n : {1, 7, 16, 33, 100}) {
    for (int64_t m : {1, 3, 65, 300}) {
      Tensor base = counting(Dims{2 * n, 2 * m});
      std::vector<Tensor> inputs = {
          counting(Dims{n, m}),
          base.view_as({n, m}, {1, 2 * n}, 0),                        // transposed
          base.view_as({n, m}, {4 * m, 2}, 0),                        // every second
          base.view_as({n, m}, {-2 * m, -1}, (2 * n) * (2 * m) - 1),  // backwards
          base.view_as({n, m}, {0, 1}, 5 < m ? 5 : 0),                // one row for all
          base.view_as({n, m}, {1, 0}, 0),                            // one column for all
          ops::to_dtype(counting(Dims{n, m}), DType::int32),          // another dtype
      };
      for (const Tensor& a : inputs) {
        for (const Tensor& b : inputs) {
          if (a.dtype() != DType::float32 && b.dtype() != DType::float32) continue;
          Tensor sum = ops::add(a, b, 1, {});
          for (int64_t i : {int64_t{0}, n / 2, n - 1})
            for (int64_t j : {int64_t{0}, m / 2, m - 1})
              ASSERT_EQ(at(sum, Dims{i, j}), static_cast<float>(at(a, Dims{i, j}) + at(b, Dims{i, j})))
                  << n << ' ' << m << ' ' << a.strides() << b.strides();
        }
      }
    }
  }
}

TEST(Plan, CopyTransposesEveryElementSize) {
  for (DType dt : {DType::uint8, DType::float16, DType::float32, DType::float64, DType::complex128}) {
    for (int64_t n : {5, 64, 131}) {
      Tensor a = counting(Dims{n, 77}, dt == DType::uint8 ? DType::uint8 : dt);
      Tensor t = ops::clone_contiguous(a.view_as({77, n}, {1, 77}, 0));
      for (int64_t i = 0; i < 77; ++i)
        for (int64_t j = 0; j < n; ++j)
          ASSERT_EQ(std::memcmp(t.data() + (i * n + j) * t.item_size(),
                                a.data() + (j * 77 + i) * a.item_size(), static_cast<size_t>(a.item_size())),
                    0);
    }
  }
}

TEST(Plan, OverlappingResultGoesThroughATemporary) {
  Tensor a = counting(Dims{100});
  Tensor head = a.view_as({99}, {1}, 0), tail = a.view_as({99}, {1}, 1);
  Tensor result = ops::add(head, Scalar(0), 1, Out{&tail, false});
  for (int64_t i = 0; i < 99; ++i) ASSERT_EQ(at(a, Dims{i + 1}), static_cast<double>(i + 1));
}

TEST(Plan, ARepeatedTargetIsAnError) {
  Tensor a = counting(Dims{1}).view_as({4}, {0}, 0), b = counting(Dims{4});
  EXPECT_THROW(ops::add(a, b, 1, Out{&a, true}), Error);
}

}  // namespace
}  // namespace ctorch
