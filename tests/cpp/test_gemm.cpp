// Matrix products against sums in double, at every level of the machine: shapes around the block sizes, any
// strides, factors.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "core/parallel.h"
#include "kernels/table.h"

namespace ctorch {
namespace {

struct Layout {
  int64_t row, col, offset, size;
};

// A matrix of rows x cols in one of the orders that views have.
Layout make_layout(int64_t rows, int64_t cols, int kind) {
  switch (kind) {
    case 0: return {cols, 1, 0, rows * cols};                        // row-major
    case 1: return {1, rows, 0, rows * cols};                        // transposed
    case 2: return {2 * cols + 3, 2, 1, rows * (2 * cols + 3) + 2};  // every other column
    case 3: return {-cols, -1, rows * cols - 1, rows * cols};        // both reversed
    default: return {0, 1, 0, cols};                                 // one row, repeated
  }
}

class Numbers {
 public:
  template <class T>
  std::vector<T> draw(int64_t n) {
    std::vector<T> values(static_cast<size_t>(n));
    for (T& v : values) {
      if constexpr (std::is_integral_v<T>) {
        v = static_cast<T>(engine_() % 15) - T(7);
      } else {
        v = T(static_cast<float>(std::uniform_real_distribution<double>(-1, 1)(engine_)));
      }
    }
    return values;
  }

 private:
  std::mt19937 engine_{7};
};

// The largest |c - exact| / (eps * sum of |a b|) of a product, which theory bounds by k.
template <class T>
double residual(IsaLevel level, int64_t m, int64_t n, int64_t k, int a_kind, int b_kind, double alpha,
                double beta) {
  Numbers numbers;
  const Layout la = make_layout(m, k, a_kind), lb = make_layout(k, n, b_kind);
  std::vector<T> a = numbers.draw<T>(la.size + 1), b = numbers.draw<T>(lb.size + 1), d = numbers.draw<T>(n),
                 c(static_cast<size_t>(m * n));
  GemmArgs g{};
  g.dtype = dtype_of<T>;
  g.m = m, g.n = n, g.k = k;
  g.a = {.data = a.data() + la.offset, .row = la.row, .col = la.col};
  g.b = {.data = b.data() + lb.offset, .row = lb.row, .col = lb.col};
  g.c = {.data = c.data(), .row = n, .col = 1};
  g.alpha = {.real = alpha, .imag = 0, .integer = static_cast<int64_t>(alpha)};
  g.beta = {.real = beta, .imag = 0, .integer = static_cast<int64_t>(beta)};
  if (beta != 0) g.d = {.data = d.data(), .row = 0, .col = 1};
  cpu_kernels(level).gemm.gemm(g);
  const double eps = std::is_integral_v<T> ? 1e-30
                     : is_half_v<T>        ? (dtype_of<T> == DType::float16 ? 0x1p-11 : 0x1p-8)
                                           : std::numeric_limits<acc_t<T>>::epsilon();
  double worst = 0;
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double exact = beta != 0 ? beta * static_cast<double>(d[static_cast<size_t>(j)]) : 0,
             scale = std::abs(exact);
      for (int64_t p = 0; p < k; ++p) {
        const double term = alpha *
                            static_cast<double>(a[static_cast<size_t>(la.offset + i * la.row + p * la.col)]) *
                            static_cast<double>(b[static_cast<size_t>(lb.offset + p * lb.row + j * lb.col)]);
        exact += term;
        scale += std::abs(term);
      }
      const double error = std::abs(static_cast<double>(c[static_cast<size_t>(i * n + j)]) - exact);
      if (error > 0) worst = std::max(worst, error / (eps * scale));
    }
  }
  return worst;
}

class Gemm : public testing::TestWithParam<IsaLevel> {
 protected:
  void SetUp() override {
    if (GetParam() > best_isa()) GTEST_SKIP() << "this machine has no " << isa_name(GetParam());
  }
};
INSTANTIATE_TEST_SUITE_P(Levels, Gemm,
                         testing::Values(IsaLevel::generic, IsaLevel::avx2, IsaLevel::avx512,
                                         IsaLevel::avx512_bf16, IsaLevel::amx),
                         [](const auto& info) { return std::string(isa_name(info.param)); });

// The rounding error of a sum grows like the square root of its length, and stays under it.
constexpr double kBound = 4;

// b as prepare() writes it, in the place of b.
template <class T>
void expect_kept_form_gives_the_same(IsaLevel level, int64_t m, int64_t n, int64_t k, int b_kind, int c_kind,
                                     GemmPrecision precision) {
  Numbers numbers;
  const GemmTable& kernels = cpu_kernels(level).gemm;
  const Layout lb = make_layout(k, n, b_kind), lc = make_layout(m, n, c_kind);
  std::vector<T> a = numbers.draw<T>(m * k), b = numbers.draw<T>(lb.size + 1);
  std::vector<T> want(static_cast<size_t>(lc.size)), got = want;
  GemmArgs g{};
  g.dtype = dtype_of<T>;
  g.m = m, g.n = n, g.k = k;
  g.a = {.data = a.data(), .row = k, .col = 1};
  g.b = {.data = b.data() + lb.offset, .row = lb.row, .col = lb.col};
  g.c = {.data = want.data() + lc.offset, .row = lc.row, .col = lc.col};
  g.alpha.real = 1;
  g.precision = precision;
  kernels.gemm(g);
  const int64_t bytes = kernels.prepared_bytes(g);
  if (bytes == 0) return;
  std::vector<char> memory(static_cast<size_t>(bytes) + 128, 7);
  char* form = memory.data() + 64 - reinterpret_cast<uintptr_t>(memory.data()) % 64;
  kernels.prepare(g, form);
  EXPECT_EQ(form[bytes], 7);
  std::fill(b.begin(), b.end(), T(0.0f));
  g.prepared = form;
  g.c.data = got.data() + lc.offset;
  kernels.gemm(g);
  EXPECT_EQ(std::memcmp(got.data(), want.data(), got.size() * sizeof(T)), 0)
      << m << ' ' << n << ' ' << k << " layouts " << b_kind << c_kind;
}

// One form for any number of rows, as recurrent layers use it: a row has the same bits among any others.
template <class T>
void expect_rows_alone_are_the_same(IsaLevel level, int64_t n, int64_t k, bool b_rows,
                                    GemmPrecision precision, double bound) {
  const GemmTable& kernels = cpu_kernels(level).gemm;
  Numbers numbers;
  const int64_t most = 130;
  const std::vector<T> a = numbers.draw<T>(most * k), b = numbers.draw<T>(k * n),
                       d = numbers.draw<T>(most * n);
  GemmArgs g{};
  g.dtype = dtype_of<T>;
  g.precision = precision;
  g.m = 1, g.n = n, g.k = k;
  g.a = {.data = a.data(), .row = k, .col = 1};
  g.b = {.data = b.data(), .row = b_rows ? n : 1, .col = b_rows ? 1 : k};
  g.d = {.data = d.data(), .row = n, .col = 1};
  g.always_prepared = true;
  const int64_t bytes = kernels.prepared_bytes(g);
  ASSERT_GT(bytes, 0);
  std::vector<char> memory(static_cast<size_t>(bytes) + 64);
  char* form = memory.data() + 64 - reinterpret_cast<uintptr_t>(memory.data()) % 64;
  kernels.prepare(g, form);
  g.prepared = form;
  std::vector<T> all(static_cast<size_t>(most * n));
  for (int64_t m :
       {most, int64_t{1}, int64_t{2}, int64_t{4}, int64_t{5}, int64_t{16}, int64_t{17}, int64_t{60}}) {
    std::vector<T> c(static_cast<size_t>(m * n));
    g.m = m;
    EXPECT_EQ(kernels.prepared_bytes(g), bytes) << m;
    g.c = {.data = c.data(), .row = n, .col = 1};
    kernels.gemm(g);
    if (m == most) all = c;
    EXPECT_EQ(std::memcmp(c.data(), all.data(), c.size() * sizeof(T)), 0) << m << ' ' << n << ' ' << k;
  }
  for (int64_t i = 0; i < most; i += 43) {
    for (int64_t j = 0; j < n; ++j) {
      double exact = static_cast<double>(d[static_cast<size_t>(i * n + j)]);
      for (int64_t p = 0; p < k; ++p)
        exact += static_cast<double>(a[static_cast<size_t>(i * k + p)]) *
                 static_cast<double>(b[static_cast<size_t>(b_rows ? p * n + j : j * k + p)]);
      EXPECT_NEAR(static_cast<double>(all[static_cast<size_t>(i * n + j)]), exact, bound)
          << i << ' ' << j << ' ' << n << ' ' << k;
    }
  }
}
TEST_P(Gemm, AlwaysPrepared) {
  for (bool b_rows : {false, true}) {
    for (const auto& [n, k] : {std::array<int64_t, 2>{96, 1300}, {130, 33}, {40, 2500}, {70, 64}}) {
      const double terms = std::sqrt(static_cast<double>(k));
      expect_rows_alone_are_the_same<float>(GetParam(), n, k, b_rows, GemmPrecision::highest, 4e-6 * terms);
      expect_rows_alone_are_the_same<float>(GetParam(), n, k, b_rows, GemmPrecision::medium, 0.03 * terms);
      expect_rows_alone_are_the_same<double>(GetParam(), n, k, b_rows, GemmPrecision::highest, 1e-14 * terms);
    }
  }
}

TEST_P(Gemm, KeptFormsOfB) {
  for (int b_kind = 0; b_kind < 4; ++b_kind) {
    for (int c_kind = 0; c_kind < 3; ++c_kind) {
      for (const auto& [m, n, k] : {std::array<int64_t, 3>{17, 65, 90}, {70, 40, 1101}, {29, 33, 2101}}) {
        for (GemmPrecision precision : {GemmPrecision::highest, GemmPrecision::medium}) {
          expect_kept_form_gives_the_same<float>(GetParam(), m, n, k, b_kind, c_kind, precision);
        }
        expect_kept_form_gives_the_same<double>(GetParam(), m, n, k, b_kind, c_kind, GemmPrecision::highest);
        expect_kept_form_gives_the_same<BFloat16>(GetParam(), m, n, k, b_kind, c_kind,
                                                  GemmPrecision::highest);
      }
    }
  }
  // Which have one: all levels for floats, those that multiply bfloat16 for those.
  GemmArgs g{};
  g.m = 32, g.n = 64, g.k = 256;
  g.b = {.data = nullptr, .row = 64, .col = 1};
  g.c = {.data = nullptr, .row = 64, .col = 1};
  g.alpha.real = 1;
  g.dtype = DType::float32;
  EXPECT_GE(cpu_kernels(GetParam()).gemm.prepared_bytes(g), 64 * 256 * 4);
  g.dtype = DType::bfloat16;
  const int64_t bytes = cpu_kernels(GetParam()).gemm.prepared_bytes(g);
  EXPECT_EQ(bytes > 0, GetParam() >= IsaLevel::avx512_bf16) << bytes;
}

TEST_P(Gemm, OddShapesAndStrides) {
  const int64_t sizes[][3] = {{1, 1, 1},      {1, 40, 7},     {40, 1, 7},     {3, 5, 2},     {13, 31, 17},
                              {14, 32, 64},   {15, 33, 65},   {29, 65, 1},    {64, 64, 64},  {100, 17, 33},
                              {17, 100, 257}, {70, 130, 300}, {5, 600, 1030}, {600, 5, 1030}};
  for (const auto& [m, n, k] : sizes) {
    for (int a = 0; a < 5; ++a) {
      for (int b = 0; b < 4; ++b) {
        EXPECT_LE(residual<float>(GetParam(), m, n, k, a, b, 1, 0), kBound + std::sqrt(k))
            << m << ' ' << n << ' ' << k << " layouts " << a << b;
      }
    }
    EXPECT_LE(residual<double>(GetParam(), m, n, k, 0, 1, 1, 0), kBound + std::sqrt(k));
    EXPECT_LE(residual<BFloat16>(GetParam(), m, n, k, 1, 0, 1, 0), kBound);
    EXPECT_LE(residual<Half>(GetParam(), m, n, k, 0, 0, 1, 0), kBound);
    EXPECT_EQ(residual<int32_t>(GetParam(), m, n, k, 0, 2, 1, 0), 0);
    EXPECT_EQ(residual<int64_t>(GetParam(), m, n, k, 1, 0, 1, 0), 0);
  }
}

// A batch of matrices b for the same a, in the second of two dims, and of others in the first; against one
// product per matrix. Between the matrices of the result lie numbers that nothing may write.
template <class T>
void expect_a_batch_is_its_matrices(IsaLevel level, int64_t m, int64_t n, int64_t k, int b_kind, bool adds,
                                    double bound) {
  constexpr int64_t kGap = 3, kGroups = 2, kImages = 5;
  Numbers numbers;
  const GemmTable& kernels = cpu_kernels(level).gemm;
  const Layout lb = make_layout(k, n, b_kind);
  const int64_t b_size = lb.size + kGap, c_size = m * n + kGap, count = kGroups * kImages;
  const std::vector<T> a = numbers.draw<T>(kGroups * m * k), b = numbers.draw<T>(count * b_size),
                       d = numbers.draw<T>(kGroups * m);
  std::vector<T> got(static_cast<size_t>(count * c_size), T(5)), want = got;
  GemmArgs g{};
  g.dtype = dtype_of<T>;
  g.m = m, g.n = n, g.k = k;
  g.alpha = {.real = 2, .imag = 0, .integer = 2};
  g.batch_dims = 2;
  g.batch_size[0] = kGroups, g.batch_size[1] = kImages;
  g.a = {.data = a.data(), .row = 1, .col = m, .batch = {m * k, 0}};
  g.b = {.data = b.data() + lb.offset, .row = lb.row, .col = lb.col, .batch = {kImages * b_size, b_size}};
  g.c = {.data = got.data(), .row = n, .col = 1, .batch = {kImages * c_size, c_size}};
  // What is added: a column for each group, or what is there.
  g.d = {.data = d.data(), .row = 1, .col = 0, .batch = {m, 0}};
  if (adds) g.d = {.data = got.data(), .row = n, .col = 1, .batch = {kImages * c_size, c_size}};
  kernels.gemm(g);
  for (int64_t group = 0; group < kGroups; ++group) {
    for (int64_t i = 0; i < kImages; ++i) {
      const int64_t at = group * kImages + i;
      GemmArgs one = g;
      one.batch_dims = 0;
      one.a.data = a.data() + group * m * k;
      one.b.data = b.data() + lb.offset + at * b_size;
      one.c.data = want.data() + at * c_size;
      one.d.data = adds ? one.c.data : d.data() + group * m;
      kernels.gemm(one);
    }
  }
  double worst = 0;
  for (size_t i = 0; i < got.size(); ++i)
    worst = std::max(worst, std::abs(static_cast<double>(got[i]) - static_cast<double>(want[i])));
  EXPECT_LE(worst, bound) << m << ' ' << n << ' ' << k << " layout " << b_kind << (adds ? " adds" : "");
  for (int64_t at = 0; at < count; ++at) {
    for (int64_t i = m * n; i < c_size; ++i)
      EXPECT_EQ(static_cast<double>(got[static_cast<size_t>(at * c_size + i)]), 5);
  }
}

TEST_P(Gemm, BatchesOfTheSameLeftSide) {
  for (const auto& [m, n, k] :
       {std::array<int64_t, 3>{64, 49, 300}, {300, 7, 600}, {97, 70, 513}, {40, 1, 900}}) {
    for (int b_kind = 0; b_kind < 4; ++b_kind) {
      for (bool adds : {false, true}) {
        // Sums of terms up to 2, in other orders.
        const double terms = 16 * std::sqrt(static_cast<double>(k));
        expect_a_batch_is_its_matrices<float>(GetParam(), m, n, k, b_kind, adds, 0x1p-23 * terms);
        expect_a_batch_is_its_matrices<double>(GetParam(), m, n, k, b_kind, adds, 0x1p-52 * terms);
        expect_a_batch_is_its_matrices<BFloat16>(GetParam(), m, n, k, b_kind, adds, 0x1p-8 * terms);
        expect_a_batch_is_its_matrices<Half>(GetParam(), m, n, k, b_kind, adds, 0x1p-11 * terms);
        expect_a_batch_is_its_matrices<int32_t>(GetParam(), m, n, k, b_kind, adds, 0);
      }
    }
  }
  // Which are one product: at all levels those of floats that are too small for tiles.
  GemmArgs g{};
  g.dtype = DType::float32;
  g.m = 40, g.n = 49, g.k = 500;
  g.b.col = g.c.col = 1, g.c.row = 49;
  g.batch_dims = 1;
  g.batch_size[0] = 8;
  g.b.batch[0] = 49 * 500, g.c.batch[0] = 49 * 40;
  EXPECT_TRUE(cpu_kernels(GetParam()).gemm.joins(g));
  g.a.batch[0] = 40 * 500;
  EXPECT_FALSE(cpu_kernels(GetParam()).gemm.joins(g));
}

TEST_P(Gemm, FactorsAndAddend) {
  for (int64_t k : {1, 20, 700}) {
    EXPECT_LE(residual<float>(GetParam(), 45, 70, k, 0, 0, 0.5, 2), kBound + std::sqrt(k));
    EXPECT_LE(residual<BFloat16>(GetParam(), 45, 70, k, 0, 0, 0.5, 2), kBound);
    EXPECT_EQ(residual<int64_t>(GetParam(), 45, 70, k, 0, 0, 3, -2), 0);
  }
}

TEST_P(Gemm, HalfTypesAddInFloatOverDeepProducts) {
  EXPECT_LE(residual<BFloat16>(GetParam(), 20, 40, 5000, 0, 0, 1, 0), kBound);
  EXPECT_LE(residual<Half>(GetParam(), 40, 70, 2500, 1, 1, 1, 1), kBound);
}

// The product of 0 columns is the addend alone, and an activation acts on it.
TEST_P(Gemm, WithoutDepth) {
  std::vector<float> d = {-1, 2, -3, 4}, c(4, 9);
  GemmArgs g{};
  g.dtype = DType::float32;
  g.m = g.n = 2;
  g.d = {.data = d.data(), .row = 2, .col = 1};
  g.c = {.data = c.data(), .row = 2, .col = 1};
  g.activation = GemmActivation::relu;
  cpu_kernels(GetParam()).gemm.gemm(g);
  EXPECT_EQ(c, (std::vector<float>{0, 2, 0, 4}));
}

TEST_P(Gemm, SameBitsForEveryNumberOfThreads) {
  Numbers numbers;
  const int before = num_threads();
  for (const auto& [m, n, k] : {std::array<int64_t, 3>{300, 500, 700},
                                {1, 300, 100000},
                                {16, 1000, 2000},
                                {3000, 20, 90},
                                {40, 2600, 1100},
                                {50, 40, 17000}}) {
    std::vector<float> a = numbers.draw<float>(m * k), b = numbers.draw<float>(k * n);
    std::vector<float> expected;
    for (int threads : {1, 3, 80}) {
      set_num_threads(threads);
      std::vector<float> c(static_cast<size_t>(m * n));
      GemmArgs g{};
      g.dtype = DType::float32;
      g.m = m, g.n = n, g.k = k;
      g.a = {.data = a.data(), .row = k, .col = 1};
      g.b = {.data = b.data(), .row = 1, .col = k};
      g.c = {.data = c.data(), .row = n, .col = 1};
      cpu_kernels(GetParam()).gemm.gemm(g);
      if (threads == 1) expected = c;
      EXPECT_TRUE(c == expected) << m << ' ' << n << ' ' << k << " on " << threads << " threads";
    }
  }
  set_num_threads(before);
}

// Values that a product passes on: inf and NaN reach the elements that they take part in, and no others.
TEST_P(Gemm, SpecialValues) {
  const int64_t n = 50;
  std::vector<float> a(n * n, 1), b(n * n, 1), c(n * n);
  a[3 * n + 7] = std::numeric_limits<float>::infinity();
  b[9 * n + 11] = std::numeric_limits<float>::quiet_NaN();
  GemmArgs g{};
  g.dtype = DType::float32;
  g.m = g.n = g.k = n;
  g.a = {.data = a.data(), .row = n, .col = 1};
  g.b = {.data = b.data(), .row = n, .col = 1};
  g.c = {.data = c.data(), .row = n, .col = 1};
  cpu_kernels(GetParam()).gemm.gemm(g);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      const float value = c[static_cast<size_t>(i * n + j)];
      if (j == 11) {
        EXPECT_TRUE(std::isnan(value));
      } else if (i == 3) {
        EXPECT_TRUE(std::isinf(value));
      } else {
        EXPECT_EQ(value, n);
      }
    }
  }
}

}  // namespace
}  // namespace ctorch
