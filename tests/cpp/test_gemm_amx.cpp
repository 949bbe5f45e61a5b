// Matrix products on AMX tiles against sums in double and against the level below: on the tiles of the
// machine, or where it has none on emulated ones, instruction by instruction.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstring>
#include <limits>
#include <optional>
#include <random>
#include <vector>

#include "amx_emulator.h"
#include "core/parallel.h"
#include "kernels/table.h"

#ifdef CTORCH_AMX_KERNELS
namespace ctorch {

namespace isa_amx {
void fill_gemm(GemmTable&);
void put_small_floats_on_tiles(bool all);
}  // namespace isa_amx

namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kEps = std::numeric_limits<float>::epsilon();

// What is left out of |a b| (see amx/gemm.cpp), and the rounding of the sums, in eps times the sum of all |a
// b|. A chain of n roundings errs by about sqrt(n) / 2 eps at random signs; a block of k is one of 16 + 6 * 8
// + 2.
constexpr double kSums = 4;
constexpr double kBounds[] = {0.5 + kSums, 0x1p-15 / kEps + kSums, 0x1p-7 / kEps * 1.01 + kSums};
double bound_of(GemmPrecision precision) { return kBounds[static_cast<int>(precision)]; }

// A matrix in one of the orders that views have: rows, columns, every second column, both reversed, one row
// repeated.
template <class T>
struct Matrix {
  int64_t rows, cols, row, col, offset;
  std::vector<T> data;

  Matrix(int64_t rows, int64_t cols, int kind = 0) : rows(rows), cols(cols), row(cols), col(1), offset(0) {
    int64_t size = rows * cols;
    if (kind == 1) row = 1, col = rows;
    if (kind == 2) row = 2 * cols + 3, col = 2, offset = 1, size = rows * row + 2;
    if (kind == 3) row = -cols, col = -1, offset = size - 1;
    if (kind == 4) row = 0;
    data.resize(static_cast<size_t>(size));
  }
  T& at(int64_t i, int64_t j) { return data[static_cast<size_t>(offset + i * row + j * col)]; }
  double value(int64_t i, int64_t j) const {
    return static_cast<double>(static_cast<float>(data[static_cast<size_t>(offset + i * row + j * col)]));
  }
  GemmOperand<const void*> operand() const { return {.data = data.data() + offset, .row = row, .col = col}; }
  GemmOperand<void*> result() { return {.data = data.data() + offset, .row = row, .col = col}; }
};

class Numbers {
 public:
  template <class T, class Draw>
  void fill(Matrix<T>& m, Draw&& draw) {
    for (T& v : m.data) v = T(static_cast<float>(draw(engine_)));
  }
  template <class T>
  void fill(Matrix<T>& m) {
    fill(m, std::uniform_real_distribution<double>(-1, 1));
  }

 private:
  std::mt19937 engine_{7};
};

template <class T>
GemmArgs product_of(const Matrix<T>& a, const Matrix<T>& b, Matrix<T>& c,
                    GemmPrecision precision = GemmPrecision::highest) {
  GemmArgs g{};
  g.dtype = dtype_of<T>;
  g.m = a.rows, g.n = b.cols, g.k = a.cols;
  g.a = a.operand(), g.b = b.operand(), g.c = c.result();
  g.precision = precision;
  return g;
}

struct Error {
  double worst = 0,
         square = 0;  // in units of eps * sum of |terms|: the greatest, the root of the mean square
};

// Of c = act(alpha * a b + beta * d), d of one row or none.
template <class T>
Error error_of(const Matrix<T>& a, const Matrix<T>& b, const Matrix<T>& c, double eps, double alpha = 1,
               const Matrix<T>* d = nullptr, double beta = 0, bool relu = false) {
  std::vector<double> sum(static_cast<size_t>(b.cols)), scale(sum);
  Error error;
  for (int64_t i = 0; i < a.rows; ++i) {
    for (int64_t j = 0; j < b.cols; ++j) {
      sum[static_cast<size_t>(j)] = d ? beta * d->value(i, j) : 0;
      scale[static_cast<size_t>(j)] = std::abs(sum[static_cast<size_t>(j)]);
    }
    for (int64_t p = 0; p < a.cols; ++p) {
      const double left = alpha * a.value(i, p);
      for (int64_t j = 0; j < b.cols; ++j) {
        const double term = left * b.value(p, j);
        sum[static_cast<size_t>(j)] += term;
        scale[static_cast<size_t>(j)] += std::abs(term);
      }
    }
    for (int64_t j = 0; j < b.cols; ++j) {
      double exact = sum[static_cast<size_t>(j)];
      if (relu) exact = std::max(exact, 0.0);
      const double off = std::abs(c.value(i, j) - exact);
      if (off == 0) continue;
      const double relative = off / (eps * scale[static_cast<size_t>(j)]);
      error.worst = std::isnan(relative) ? kInf : std::max(error.worst, relative);
      error.square += relative * relative;
    }
  }
  error.square = std::sqrt(error.square / static_cast<double>(a.rows * b.cols));
  return error;
}

class AmxGemm : public testing::Test {
 protected:
  void SetUp() override {
    if (best_isa() < IsaLevel::avx512) GTEST_SKIP() << "this machine has no AVX-512, which the kernels use";
    plain = amx = cpu_kernels(std::min(best_isa(), IsaLevel::avx512_bf16)).gemm;
    isa_amx::fill_gemm(amx);
    isa_amx::put_small_floats_on_tiles(true);
    if (best_isa() < IsaLevel::amx) emulator_.emplace();
  }
  void TearDown() override { isa_amx::put_small_floats_on_tiles(false); }
  // Whether tiles were used since the emulator had done `before` instructions; true where the machine has its
  // own.
  static bool used_tiles(long before = 0) {
    return best_isa() == IsaLevel::amx || AmxEmulator::count() > before;
  }

  // The error of a float32 product on tiles, of numbers in [-1, 1).
  double worst(int64_t m, int64_t n, int64_t k, int a_kind = 0, int b_kind = 0,
               GemmPrecision precision = GemmPrecision::highest) {
    Matrix<float> a(m, k, a_kind), b(k, n, b_kind), c(m, n);
    numbers.fill(a), numbers.fill(b);
    amx.gemm(product_of(a, b, c, precision));
    return error_of(a, b, c, kEps).worst;
  }

  GemmTable plain{}, amx{};  // the level below; tiles
  Numbers numbers;

 private:
  std::optional<AmxEmulator> emulator_;
};

TEST_F(AmxGemm, EveryRemainderOfPanelsOfRowsAndColumns) {
  for (int64_t m : {48, 49, 63, 64, 65, 79, 80, 81, 95, 97}) {
    for (int64_t n : {50, 64, 81, 96}) {
      EXPECT_LE(worst(m, n, 115), bound_of(GemmPrecision::highest)) << m << ' ' << n;
      EXPECT_LE(worst(n, m, 115, 1, 1), bound_of(GemmPrecision::highest)) << n << ' ' << m;
    }
  }
  EXPECT_TRUE(used_tiles());
}

TEST_F(AmxGemm, EveryRemainderOfStepsOfDepth) {
  for (int64_t k : {0,  1,  2,  3,  31,  32,  33,  34,  47,  48,  49,  63,  64, 65,
                    80, 81, 95, 96, 127, 129, 255, 256, 257, 271, 289, 513, 770}) {
    for (GemmPrecision precision : {GemmPrecision::highest, GemmPrecision::high, GemmPrecision::medium}) {
      EXPECT_LE(worst(88, 51, k, 0, 0, precision), bound_of(precision)) << k;
      EXPECT_LE(worst(88, 51, k, 1, 1, precision), bound_of(precision)) << k;
    }
  }
}

TEST_F(AmxGemm, AnyStridesAndPrecision) {
  for (int a = 0; a < 5; ++a) {
    for (int b = 0; b < 5; ++b) {
      for (GemmPrecision precision : {GemmPrecision::highest, GemmPrecision::high, GemmPrecision::medium}) {
        EXPECT_LE(worst(75, 85, 78, a, b, precision), bound_of(precision)) << "layouts " << a << b;
      }
    }
  }
}

// 'high' and 'medium' do not do more work than they are asked to.
TEST_F(AmxGemm, LowerPrecisionTakesFewerInstructions) {
  if (best_isa() == IsaLevel::amx) GTEST_SKIP() << "the machine does not count them";
  const int threads = num_threads();
  set_num_threads(1);
  long count[3];
  for (int i = 0; i < 3; ++i) {
    const long before = AmxEmulator::count();
    worst(64, 64, 256, 0, 0, static_cast<GemmPrecision>(i));
    count[i] = AmxEmulator::count() - before;
  }
  set_num_threads(threads);
  // 4 pairs of panels, of 8 steps of 14 + 24, 8 + 12, 4 + 4; 4 times zero and store; in two tasks, each of
  // which loads and releases a configuration
  const long rest = 4 * 8 + 2 * 2;
  EXPECT_EQ(count[0], 4 * 8 * 38 + rest);
  EXPECT_EQ(count[1], 4 * 8 * 20 + rest);
  EXPECT_EQ(count[2], 4 * 8 * 8 + rest);
}

TEST_F(AmxGemm, ErrsNoMoreThanFusedMultiplyAdds) {
  using Engine = std::mt19937;
  std::normal_distribution<double> normal;
  std::uniform_real_distribution<double> uniform(0, 1);
  for (int kind = 0; kind < 3; ++kind) {
    for (int64_t k : {32, 100, 256, 512, 700, 2048, 4096}) {
      const int64_t n = k < 100 ? 96 : 52;
      Matrix<float> a(n, k), b(k, n), c(n, n), want(n, n);
      numbers.fill(a, [&](Engine& e) {
        return kind == 0 ? normal(e) : kind == 1 ? uniform(e) : std::max(0.0, normal(e));
      });
      numbers.fill(b, [&](Engine& e) { return kind == 1 ? uniform(e) : normal(e); });
      amx.gemm(product_of(a, b, c));
      plain.gemm(product_of(a, b, want));
      const Error ours = error_of(a, b, c, kEps), theirs = error_of(a, b, want, kEps);
      // The worst of a few thousand elements scatters.
      EXPECT_LE(ours.worst, 1.25 * theirs.worst) << kind << ' ' << k;
      EXPECT_LE(ours.square, theirs.square) << kind << ' ' << k;
      EXPECT_LE(ours.worst, bound_of(GemmPrecision::highest)) << kind << ' ' << k;
    }
  }
}

TEST_F(AmxGemm, FactorsAddendActivationAndLayoutOfTheResult) {
  Matrix<float> a(60, 90), b(90, 70), d(60, 70, 4);
  numbers.fill(a), numbers.fill(b), numbers.fill(d);
  for (int kind = 0; kind < 4; ++kind) {
    for (double alpha : {1.0, -0.37, 1e-10, 1e-30}) {
      for (double beta : {0.0, 2.5}) {
        Matrix<float> c(60, 70, kind);
        GemmArgs g = product_of(a, b, c);
        g.alpha.real = alpha, g.beta.real = beta;
        if (beta != 0) g.d = d.operand();
        g.activation = kind == 2 ? GemmActivation::relu : GemmActivation::none;
        amx.gemm(g);
        const Error error = error_of(a, b, c, kEps, static_cast<double>(static_cast<float>(alpha)),
                                     beta != 0 ? &d : nullptr, beta, kind == 2);
        EXPECT_LE(error.worst, bound_of(GemmPrecision::highest)) << kind << ' ' << alpha << ' ' << beta;
      }
    }
  }
}

TEST_F(AmxGemm, AddsToTheResultItself) {
  Matrix<float> a(64, 600), b(600, 64), c(64, 64);
  numbers.fill(a), numbers.fill(b), numbers.fill(c);
  Matrix<float> before = c, want = c;
  for (GemmTable* table : {&amx, &plain}) {
    Matrix<float>& result = table == &amx ? c : want;
    GemmArgs g = product_of(a, b, result);
    g.d = result.operand();
    g.beta.real = 1;
    table->gemm(g);
  }
  for (size_t i = 0; i < c.data.size(); ++i) EXPECT_NEAR(c.data[i], want.data[i], 1e-4);
}

// Matrices of a batch that share an operand, with strides between them.
TEST_F(AmxGemm, Batches) {
  const int64_t n = 64, batch = 3;
  Matrix<float> a(batch * n, n), b(n, n), c(batch * n, n);
  numbers.fill(a), numbers.fill(b);
  GemmArgs g = product_of(a, b, c);
  g.m = n;
  g.batch_dims = 1;
  g.batch_size[0] = batch;
  g.a.batch[0] = g.c.batch[0] = n * n;
  amx.gemm(g);
  EXPECT_LE(error_of(a, b, c, kEps).worst, bound_of(GemmPrecision::highest));
}

TEST_F(AmxGemm, SeveralSlabs) {
  // Depths beyond one slab, for both kinds of result; rows, columns.
  EXPECT_LE(worst(48, 49, 2100), bound_of(GemmPrecision::highest));
  EXPECT_LE(worst(1030, 48, 2048, 0, 0, GemmPrecision::medium), bound_of(GemmPrecision::medium));
  Matrix<float> a(18, 4100), b(4100, 4100, 1), c(18, 4100);
  numbers.fill(a), numbers.fill(b);
  amx.gemm(product_of(a, b, c, GemmPrecision::medium));
  EXPECT_LE(error_of(a, b, c, kEps).worst, bound_of(GemmPrecision::medium));
}

// A form of b that is kept gives the same bits as b itself, whose numbers are read for slabs that do not fit
// tiles alone.
TEST_F(AmxGemm, KeptFormsOfB) {
  auto check = [&]<class T>(T, int64_t m, int64_t n, int64_t k, int kind, GemmPrecision precision,
                            double large) {
    Matrix<T> a(m, k), b(k, n, kind), c(m, n, 2), want(m, n, 2);
    numbers.fill(a), numbers.fill(b);
    b.at(k - 1, n / 2) = T(static_cast<float>(large));
    GemmArgs g = product_of(a, b, want, precision);
    amx.gemm(g);
    const int64_t bytes = amx.prepared_bytes(g);
    ASSERT_GT(bytes, n * k * static_cast<int64_t>(sizeof(T)) / 2);
    std::vector<char> memory(static_cast<size_t>(bytes) + 128, 7);
    char* form = memory.data() + 64 - reinterpret_cast<uintptr_t>(memory.data()) % 64;
    amx.prepare(g, form);
    EXPECT_EQ(form[bytes], 7);
    if (large < 1e30) std::fill(b.data.begin(), b.data.end(), T(std::numeric_limits<float>::quiet_NaN()));
    g = product_of(a, b, c, precision);
    g.prepared = form;
    const long before = AmxEmulator::count();
    amx.gemm(g);
    EXPECT_TRUE(used_tiles(before));
    EXPECT_EQ(std::memcmp(c.data.data(), want.data.data(), c.data.size() * sizeof(T)), 0)
        << m << ' ' << n << ' ' << k << ' ' << kind << ' ' << static_cast<int>(precision);
  };
  for (int kind = 0; kind < 4; ++kind) {
    for (int precision = 0; precision < 3; ++precision) {
      check(0.0f, 70, 85, 130, kind, static_cast<GemmPrecision>(precision), 1);
    }
    check(BFloat16(), 70, 85, 131, kind, GemmPrecision::highest, 1);
  }
  check(0.0f, 48, 49, 2100, 1, GemmPrecision::highest, 1);     // two slabs in k
  check(0.0f, 48, 49, 2100, 1, GemmPrecision::highest, kInf);  // the second not by tiles
  check(0.0f, 48, 49, 2100, 0, GemmPrecision::high, 1e38);
  check(BFloat16(), 48, 49, 4100, 1, GemmPrecision::highest, 1);
  // What the form would not serve has none of its own.
  Matrix<float> a(70, 130), b(130, 85), columns(70, 85, 1);
  GemmArgs g = product_of(a, b, columns);
  EXPECT_EQ(amx.prepared_bytes(g), 0);
}

// Of a b that always comes prepared, one form serves any number of rows, which give the same bits each.
TEST_F(AmxGemm, AlwaysPrepared) {
  const int64_t most = 40, n = 96, k = 300;
  Matrix<float> a(most, k), b(k, n, 1), all(most, n);
  numbers.fill(a), numbers.fill(b);
  std::vector<char> memory;
  for (int64_t m : {most, int64_t{1}, int64_t{5}, int64_t{17}, int64_t{33}}) {
    Matrix<float> c(m, n);
    GemmArgs g = product_of(a, b, c);
    g.m = m;
    g.always_prepared = true;
    const auto bytes = static_cast<size_t>(amx.prepared_bytes(g));
    ASSERT_GT(bytes, 0);
    if (m == most) memory.resize(bytes + 64);
    ASSERT_EQ(memory.size(), bytes + 64) << "the form depends on the rows";
    char* form = memory.data() + 64 - reinterpret_cast<uintptr_t>(memory.data()) % 64;
    if (m == most) amx.prepare(g, form);
    g.prepared = form;
    const long before = AmxEmulator::count();
    amx.gemm(g);
    EXPECT_TRUE(used_tiles(before)) << m;
    if (m == most) {
      EXPECT_LE(error_of(a, b, c, kEps).worst, bound_of(GemmPrecision::highest));
      all = c;
    }
    EXPECT_EQ(std::memcmp(c.data.data(), all.data.data(), c.data.size() * sizeof(float)), 0) << m;
  }
}

TEST_F(AmxGemm, BFloat16) {
  constexpr double eps = 0x1p-8;  // of the result's rounding; sums are of floats
  for (int a_kind = 0; a_kind < 5; ++a_kind) {
    for (int b_kind = 0; b_kind < 5; ++b_kind) {
      for (int64_t k : {32, 33, 63, 78, 530, 4100}) {
        if (k > 500 && a_kind + b_kind != 1) continue;
        Matrix<BFloat16> a(39, k, a_kind), b(k, 33, b_kind), c(39, 33, b_kind % 4), d(39, 33, 4);
        numbers.fill(a), numbers.fill(b), numbers.fill(d);
        GemmArgs g = product_of(a, b, c);
        g.alpha.real = 0.5, g.beta.real = 2, g.d = d.operand();
        g.activation = a_kind == 0 ? GemmActivation::relu : GemmActivation::none;
        amx.gemm(g);
        EXPECT_LE(error_of(a, b, c, eps, 0.5, &d, 2, a_kind == 0).worst, 1.01)
            << "layouts " << a_kind << b_kind << ' ' << k;
      }
    }
  }
  EXPECT_TRUE(used_tiles());
}

TEST_F(AmxGemm, SameBitsForEveryNumberOfThreads) {
  const int before = num_threads();
  for (GemmPrecision precision : {GemmPrecision::highest, GemmPrecision::medium}) {
    Matrix<float> a(150, 600), b(600, 220, 1), first(150, 220);
    numbers.fill(a), numbers.fill(b);
    for (int threads : {1, 2, 3}) {
      set_num_threads(threads);
      Matrix<float> c(150, 220);
      amx.gemm(product_of(a, b, c, precision));
      if (threads == 1) first = c;
      EXPECT_EQ(c.data, first.data) << threads;
    }
  }
  set_num_threads(before);
}

// What a thread keeps, the system saves with it from then on.
TEST_F(AmxGemm, LeavesNoTilesBehind) {
  worst(64, 64, 64);
  EXPECT_FALSE(AmxEmulator::configured());
}

// Infinities, NaN and overflow are found in the same elements as at the level below, and the others are as
// exact.
TEST_F(AmxGemm, SpecialValues) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::pair<double, double> specials[] = {
      {kInf, 1},         {-kInf, 0},   {nan, 1},          {1, -kInf},    {3.4e38, 1},
      {0x1.ffp127, 0.5}, {3e38, 3e38}, {1e30, 1e30},      {1e20, -1e19}, {1e25, 1},
      {0x1p95, 1e4},     {1e-39, 1},   {0x1p-126, 0.999}, {0, kInf},     {std::ldexp(0x1.fffffep0, 127), 1}};
  const int64_t m = 64, n = 70, k = 66;
  for (GemmPrecision precision : {GemmPrecision::highest, GemmPrecision::high, GemmPrecision::medium}) {
    for (const auto& [left, right] : specials) {
      Matrix<float> a(m, k), b(k, n), c(m, n), want(m, n);
      numbers.fill(a), numbers.fill(b);
      a.at(5, 40) = static_cast<float>(left), a.at(63, 65) = static_cast<float>(left);
      b.at(40, 33) = static_cast<float>(right);
      amx.gemm(product_of(a, b, c, precision));
      plain.gemm(product_of(a, b, want, precision));
      for (int64_t i = 0; i < m; ++i) {
        for (int64_t j = 0; j < n; ++j) {
          const double x = c.value(i, j), y = want.value(i, j);
          if (std::isnan(y)) {
            EXPECT_TRUE(std::isnan(x)) << left << ' ' << right;
          } else if (std::isinf(y)) {
            EXPECT_EQ(x, y) << left << ' ' << right;
          } else {
            double scale = 0;
            for (int64_t p = 0; p < k; ++p) scale += std::abs(a.value(i, p) * b.value(p, j));
            EXPECT_LE(std::abs(x - y), 2 * bound_of(precision) * kEps * scale) << left << ' ' << right;
          }
        }
      }
    }
  }
}

// A slab that has them goes its own way, after others were written.
TEST_F(AmxGemm, SpecialValuesInTheSecondSlab) {
  Matrix<float> a(48, 2100), b(2100, 50), c(48, 50);
  numbers.fill(a), numbers.fill(b), numbers.fill(c);
  a.at(7, 2099) = std::numeric_limits<float>::infinity();
  Matrix<float> want = c;
  for (GemmTable* table : {&amx, &plain}) {
    Matrix<float>& result = table == &amx ? c : want;
    GemmArgs g = product_of(a, b, result);
    g.d = result.operand();
    g.alpha.real = 0.5, g.beta.real = 3;
    g.activation = GemmActivation::relu;
    table->gemm(g);
  }
  for (int64_t i = 0; i < 48; ++i) {
    for (int64_t j = 0; j < 50; ++j) {
      if (i == 7) {
        EXPECT_EQ(c.at(i, j), want.at(i, j));
      } else {
        EXPECT_NEAR(c.at(i, j), want.at(i, j), 2e-4);
      }
    }
  }
}

// Numbers whose low pieces would be denormal, and products of such: as exact as at the level below, down to
// where its own results are denormal and count as 0.
TEST_F(AmxGemm, SmallNumbers) {
  for (const auto& [left, right] : {std::pair{1e-20, 1e-10},
                                    {1e-36, 1.0},
                                    {1e-37, 1e3},
                                    {1e-15, 1e-20},
                                    {1e-37, 1e-1},
                                    {1e-18, 1e-19},
                                    {1e-20, 1e-20},
                                    {1e-36, 1e15}}) {
    Matrix<float> a(70, 64), b(64, 64), c(70, 64);
    std::uniform_real_distribution<double> spread(-1, 1);
    numbers.fill(a, [&](auto& e) { return left * spread(e); });
    numbers.fill(b, [&](auto& e) { return right * spread(e); });
    for (float& v : a.data) v = std::abs(v) < 0x1p-126f ? 0 : v;
    const long before = AmxEmulator::count();
    amx.gemm(product_of(a, b, c));
    EXPECT_TRUE(used_tiles(before)) << left << ' ' << right;
    for (int64_t i = 0; i < a.rows; ++i) {
      for (int64_t j = 0; j < b.cols; ++j) {
        double exact = 0, scale = 0;
        for (int64_t p = 0; p < a.cols; ++p) {
          exact += a.value(i, p) * b.value(p, j);
          scale += std::abs(a.value(i, p) * b.value(p, j));
        }
        const double flushed = std::abs(exact) < 0x1p-126 ? 0x1p-126 : 0;
        EXPECT_LE(std::abs(c.value(i, j) - exact), bound_of(GemmPrecision::highest) * kEps * scale + flushed)
            << left << ' ' << right;
      }
    }
  }
}

TEST_F(AmxGemm, BFloat16InfinitiesAndNaN) {
  const int64_t n = 40;
  Matrix<BFloat16> a(n, n), b(n, n), c(n, n), want(n, n);
  numbers.fill(a), numbers.fill(b);
  const float inf = std::numeric_limits<float>::infinity();
  a.at(3, 7) = BFloat16(inf);
  b.at(9, 11) = BFloat16(std::numeric_limits<float>::quiet_NaN());
  b.at(7, 20) = BFloat16(0.0f);  // inf * 0
  a.at(30, 1) = BFloat16(3e38f);
  b.at(1, 35) = BFloat16(2.0f);    // overflow
  a.at(33, 1) = BFloat16(1e-40f);  // counts as 0
  amx.gemm(product_of(a, b, c));
  plain.gemm(product_of(a, b, want));
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      const double x = c.value(i, j), y = want.value(i, j);
      EXPECT_EQ(std::isnan(x), std::isnan(y)) << i << ' ' << j;
      if (std::isnan(y)) continue;
      EXPECT_TRUE(x == y || std::abs(x - y) <= 0x1p-8 * (std::abs(y) + 0.01)) << i << ' ' << j;
    }
  }
  EXPECT_TRUE(std::isnan(c.value(3, 20)));
  EXPECT_TRUE(std::isinf(c.value(30, 35)));
}

// Instructions with operands in memory of every form, and tiles that are not whole.
class AmxInstructions : public AmxGemm {};

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 12, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {5, 5, 3, 16, 16, 16, 16, 16};  // tile 0 (5 x 16) += tile 1 (5 x 3) tile 2 (3 x 16)
};
const TileConfig g_tile_config;

TEST_F(AmxInstructions, AddressesAndShapes) {
  alignas(64) uint8_t memory[4096], stored[4096];
  for (size_t i = 0; i < sizeof memory; ++i) memory[i] = static_cast<uint8_t>(i * 7 + i / 256);
  auto check = [&](int64_t offset, int64_t stride, int rows, int bytes, const char* name) {
    for (int i = 0; i < rows; ++i) {
      for (int j = 0; j < bytes; ++j) EXPECT_EQ(stored[i * 64 + j], memory[offset + i * stride + j]) << name;
    }
  };
  auto clear = [&] { std::fill(std::begin(stored), std::end(stored), uint8_t{0}); };
  __asm__ volatile(
      "ldtilecfg %0" ::"m"(g_tile_config));  // from RIP, or a register in a build at a fixed address
  uint8_t shifted[8 + sizeof g_tile_config];
  std::memcpy(shifted + 8, &g_tile_config, sizeof g_tile_config);
  __asm__ volatile("ldtilecfg 8(%0)" ::"r"(shifted) : "memory");
  int64_t stride = 100;
  clear();
  __asm__ volatile("tileloadd 0x40(%0,%1,2), %%tmm3\n\ttilestored %%tmm3, (%2,%3,8)" ::"r"(memory),
                   "r"(stride), "r"(stored), "r"(int64_t{8})
                   : "memory");
  check(0x40, 2 * stride, 16, 64, "base + index * 2 + disp8");
  clear();
  register int64_t r9 __asm__("r9") = stride;
  register uint8_t* r12 __asm__("r12") = memory;
  register uint8_t* r13 __asm__("r13") = stored;
  register int64_t r14 __asm__("r14") = 64;
  __asm__ volatile("tileloaddt1 0x123(%0,%1,1), %%tmm0\n\ttilestored %%tmm0, (%2,%3,1)" ::"r"(r12), "r"(r9),
                   "r"(r13), "r"(r14)
                   : "memory");
  check(0x123, stride, 5, 64, "r12 + r9 + disp32, 5 rows");
  EXPECT_EQ(stored[5 * 64], 0);
  clear();
  __asm__ volatile("tileloadd -64(%0,%1,4), %%tmm1\n\ttilestored %%tmm1, (%2,%3,1)" ::"r"(memory + 64),
                   "r"(int64_t{5}), "r"(stored), "r"(int64_t{64})
                   : "memory");
  check(0, 20, 5, 12, "rows of 12 bytes");
  EXPECT_EQ(stored[12], 0);
  clear();
  __asm__ volatile("tilezero %%tmm7\n\ttilestored %%tmm7, (%0,%1,1)\n\ttilerelease" ::"r"(stored),
                   "r"(int64_t{64})
                   : "memory");
  EXPECT_EQ(stored[77], 0);
}

// One instruction against its definition, number by number, denormal inputs and results among them.
TEST_F(AmxInstructions, ProductOfTiles) {
  alignas(64) BFloat16 a[5][6], b[3][32];
  alignas(64) float sum[5][16], want[5][16];
  std::mt19937 engine(5);
  auto draw = [&](double small) {
    return std::uniform_real_distribution<double>(-1, 1)(engine) * (engine() % 3 == 0 ? small : 1);
  };
  for (auto& row : a) {
    for (BFloat16& v : row) v = BFloat16(static_cast<float>(draw(1e-38)));
  }
  for (auto& row : b) {
    for (BFloat16& v : row) v = BFloat16(static_cast<float>(draw(1e-3)));
  }
  auto flushed = [](float x) { return std::abs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x; };
  for (int i = 0; i < 5; ++i) {
    for (int j = 0; j < 16; ++j) {
      sum[i][j] = static_cast<float>(draw(1e-36));
      float part[2] = {};
      for (int p = 0; p < 3; ++p) {
        for (int h = 0; h < 2; ++h) {
          part[h] = flushed(std::fma(flushed(a[i][2 * p + h]), flushed(b[p][2 * j + h]), part[h]));
        }
      }
      want[i][j] = flushed(flushed(sum[i][j]) + flushed(part[0] + part[1]));
    }
  }
  const int64_t a_row = sizeof a[0], row = 64;
  __asm__ volatile(
      "ldtilecfg %0\n\ttileloadd (%1,%2,1), %%tmm1\n\ttileloadd (%3,%4,1), %%tmm2\n\ttileloadd (%5,%4,1), "
      "%%tmm0\n\ttdpbf16ps %%tmm2, %%tmm1, %%tmm0\n\ttilestored %%tmm0, (%5,%4,1)\n\ttilerelease" ::"m"(
          g_tile_config),
      "r"(a), "r"(a_row), "r"(b), "r"(row), "r"(sum)
      : "memory");
  for (int i = 0; i < 5; ++i) {
    for (int j = 0; j < 16; ++j) EXPECT_EQ(sum[i][j], want[i][j]) << i << ' ' << j;
  }
}

TEST_F(AmxInstructions, OthersRemainIllegal) {
  EXPECT_EXIT(__asm__ volatile("ud2"), testing::KilledBySignal(SIGILL), "");
  // No configuration.
  EXPECT_EXIT(__asm__ volatile("tilezero %%tmm1" ::), testing::KilledBySignal(SIGILL), "");
}

}  // namespace
}  // namespace ctorch
#endif
