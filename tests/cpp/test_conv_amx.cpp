// Convolutions on AMX tiles against sums in double: on the tiles of the machine, or where it has none on
// emulated ones.
#include <gtest/gtest.h>

#include <cmath>
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
void fill_conv(ConvTable&);
void put_small_floats_on_tiles(bool all);
}  // namespace isa_amx

namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

struct Shape {
  int64_t batch = 1, groups = 1, x_channels, y_channels;
  int64_t x_size[3], w_size[3];
  int64_t stride[3] = {1, 1, 1}, padding[3] = {0, 0, 0}, dilation[3] = {1, 1, 1};
  bool pixels = false;  // channels innermost
};

template <class T>
struct Convolution {
  ConvArgs g{};
  std::vector<T> x, w, y, bias;

  explicit Convolution(const Shape& s, unsigned seed = 7) {
    g.dtype = dtype_of<T>;
    g.batch = s.batch, g.groups = s.groups, g.x_channels = s.x_channels, g.y_channels = s.y_channels;
    for (int d = 0; d < 3; ++d) {
      g.x_size[d] = s.x_size[d], g.w_size[d] = s.w_size[d];
      g.stride[d] = s.stride[d], g.padding[d] = s.padding[d], g.dilation[d] = s.dilation[d];
      g.y_size[d] =
          (s.x_size[d] + 2 * s.padding[d] - s.dilation[d] * (s.w_size[d] - 1) - 1) / s.stride[d] + 1;
    }
    x.resize(place(g.x_strides, s.batch, s.x_channels, g.x_size, s.pixels));
    w.resize(place(g.w_strides, s.y_channels, s.x_channels / s.groups, g.w_size, false));
    y.resize(place(g.y_strides, s.batch, s.y_channels, g.y_size, s.pixels));
    bias.resize(static_cast<size_t>(s.x_channels + s.y_channels));
    std::mt19937 engine(seed);
    std::uniform_real_distribution<double> uniform(-1, 1);
    for (auto* all : {&x, &w, &y, &bias}) {
      for (T& v : *all) v = T(static_cast<float>(uniform(engine)));
    }
    point();
  }
  void point() { g.x = x.data(), g.w = w.data(), g.y = y.data(), g.bias = bias.data(), g.bias_stride = 1; }

  // The greatest error in units of eps * sum of |terms|, of y, or of x backward.
  double error(bool backward, double eps) const {
    std::vector<double> sum(backward ? x.size() : y.size()), scale(sum);
    const int64_t per_group = backward ? g.x_channels : g.y_channels;
    const int64_t* strides = backward ? g.x_strides : g.y_strides;
    const int64_t* size = backward ? g.x_size : g.y_size;
    for_each(g.batch, per_group, size, strides, [&](size_t at, int64_t channel) {
      sum[at] = value(bias[static_cast<size_t>(channel)]);
      scale[at] = std::abs(sum[at]);
    });
    for_each_term([&](size_t xi, size_t wi, size_t yi) {
      const double term = value(w[wi]) * value(backward ? y[yi] : x[xi]);
      sum[backward ? xi : yi] += term;
      scale[backward ? xi : yi] += std::abs(term);
    });
    return worst(backward ? x : y, sum, scale, eps);
  }
  // The same of w.
  double filter_error(double eps) const {
    std::vector<double> sum(w.size()), scale(sum);
    for_each_term([&](size_t xi, size_t wi, size_t yi) {
      const double term = value(x[xi]) * value(y[yi]);
      sum[wi] += term;
      scale[wi] += std::abs(term);
    });
    return worst(w, sum, scale, eps);
  }

 private:
  static double value(T v) { return static_cast<double>(static_cast<float>(v)); }
  static double worst(const std::vector<T>& result, const std::vector<double>& sum,
                      const std::vector<double>& scale, double eps) {
    double most = 0;
    for (size_t i = 0; i < sum.size(); ++i) {
      const double got = value(result[i]), off = std::abs(got - sum[i]);
      if (got == sum[i] || (std::isnan(got) && std::isnan(sum[i]))) continue;
      most = std::isnan(off) ? kInf : std::max(most, off / (eps * scale[i]));
    }
    return most;
  }
  static size_t place(int64_t* strides, int64_t outer, int64_t channels, const int64_t* size, bool pixels) {
    int64_t step = pixels ? channels : 1;
    for (int d = 2; d >= 0; --d) strides[2 + d] = step, step *= size[d];
    strides[1] = pixels ? 1 : step;
    strides[0] = pixels ? step : step * channels;
    return static_cast<size_t>(outer * strides[0]);
  }
  template <class Visit>
  static void for_each(int64_t batch, int64_t channels, const int64_t* size, const int64_t* strides,
                       Visit&& visit) {
    for (int64_t n = 0; n < batch; ++n)
      for (int64_t c = 0; c < channels; ++c)
        for (int64_t i = 0; i < size[0]; ++i)
          for (int64_t j = 0; j < size[1]; ++j)
            for (int64_t k = 0; k < size[2]; ++k)
              visit(static_cast<size_t>(n * strides[0] + c * strides[1] + i * strides[2] + j * strides[3] +
                                        k * strides[4]),
                    c);
  }
  template <class Visit>
  void for_each_term(Visit&& visit) const {
    const int64_t x_group = g.x_channels / g.groups, y_group = g.y_channels / g.groups;
    for (int64_t n = 0; n < g.batch; ++n)
      for (int64_t o = 0; o < g.y_channels; ++o)
        for (int64_t c = 0; c < x_group; ++c)
          for (int64_t q = 0; q < g.y_size[0] * g.y_size[1] * g.y_size[2]; ++q)
            for (int64_t r = 0; r < g.w_size[0] * g.w_size[1] * g.w_size[2]; ++r) {
              const int64_t qs[3] = {q / (g.y_size[1] * g.y_size[2]), q / g.y_size[2] % g.y_size[1],
                                     q % g.y_size[2]};
              const int64_t rs[3] = {r / (g.w_size[1] * g.w_size[2]), r / g.w_size[2] % g.w_size[1],
                                     r % g.w_size[2]};
              int64_t xi = n * g.x_strides[0] + (o / y_group * x_group + c) * g.x_strides[1];
              int64_t yi = n * g.y_strides[0] + o * g.y_strides[1];
              int64_t wi = o * g.w_strides[0] + c * g.w_strides[1];
              bool inside = true;
              for (int d = 0; d < 3; ++d) {
                const int64_t at = g.stride[d] * qs[d] + g.dilation[d] * rs[d] - g.padding[d];
                inside = inside && at >= 0 && at < g.x_size[d];
                xi += at * g.x_strides[2 + d];
                yi += qs[d] * g.y_strides[2 + d];
                wi += rs[d] * g.w_strides[2 + d];
              }
              if (inside) visit(static_cast<size_t>(xi), static_cast<size_t>(wi), static_cast<size_t>(yi));
            }
  }
};

const Shape kShapes[] = {
    {.batch = 2,
     .x_channels = 20,
     .y_channels = 37,
     .x_size = {1, 9, 11},
     .w_size = {1, 3, 5},
     .padding = {0, 1, 2}},
    {.x_channels = 33,
     .y_channels = 40,
     .x_size = {1, 19, 22},
     .w_size = {1, 3, 3},
     .stride = {1, 2, 2},
     .padding = {0, 1, 1}},
    {.batch = 5,
     .x_channels = 64,
     .y_channels = 70,
     .x_size = {1, 7, 7},
     .w_size = {1, 1, 5},
     .padding = {0, 0, 2}},
    {.x_channels = 13,
     .y_channels = 16,
     .x_size = {1, 30, 30},
     .w_size = {1, 7, 7},
     .stride = {1, 2, 2},
     .padding = {0, 3, 3}},
    {.batch = 2,
     .groups = 2,
     .x_channels = 48,
     .y_channels = 40,
     .x_size = {1, 15, 17},
     .w_size = {1, 2, 5},
     .stride = {1, 1, 3},
     .dilation = {1, 2, 1}},
    {.batch = 2,
     .x_channels = 16,
     .y_channels = 24,
     .x_size = {4, 8, 8},
     .w_size = {3, 3, 4},
     .padding = {1, 1, 1}},
    {.batch = 3,
     .x_channels = 72,
     .y_channels = 50,
     .x_size = {1, 15, 15},
     .w_size = {1, 1, 1},
     .stride = {1, 2, 2}},
    {.batch = 2,
     .x_channels = 20,
     .y_channels = 37,
     .x_size = {1, 9, 11},
     .w_size = {1, 5, 3},
     .padding = {0, 2, 1},
     .pixels = true},
    {.x_channels = 150, .y_channels = 33, .x_size = {1, 8, 9}, .w_size = {1, 1, 5}, .padding = {0, 0, 2}},
};

// Of filters, besides: few channels; images of less than a step, and of a part of one; many images, in chunks
// of their own; columns for one tile of two, and of several rectangles; padding so wide that the images of a
// chunk are laid out one at a time.
const Shape kFilterShapes[] = {
    {.batch = 2,
     .x_channels = 3,
     .y_channels = 40,
     .x_size = {1, 30, 31},
     .w_size = {1, 7, 7},
     .stride = {1, 2, 2},
     .padding = {0, 3, 3}},
    {.batch = 37,
     .x_channels = 18,
     .y_channels = 8,
     .x_size = {1, 3, 2},
     .w_size = {1, 3, 3},
     .padding = {0, 1, 1}},
    {.batch = 33, .x_channels = 64, .y_channels = 49, .x_size = {1, 7, 7}, .w_size = {1, 1, 1}},
    {.batch = 3, .x_channels = 30, .y_channels = 100, .x_size = {1, 1, 300}, .w_size = {1, 1, 9}},
    {.x_channels = 40, .y_channels = 600, .x_size = {1, 25, 26}, .w_size = {1, 1, 7}},
    {.batch = 17,
     .x_channels = 600,
     .y_channels = 8,
     .x_size = {1, 1, 40},
     .w_size = {1, 1, 3},
     .padding = {0, 0, 1980},
     .dilation = {1, 1, 1980}},
};

// Of filters of floats, wide enough for tiles to win: 1 x 1 of many points; few
// channels; odd rows and columns; strides, dilation
// and groups; 1 x 1 taps; one and three dims; channels innermost; images in chunks.
const Shape kFloatFilterShapes[] = {
    {.batch = 3,
     .groups = 2,
     .x_channels = 260,
     .y_channels = 290,
     .x_size = {1, 13, 17},
     .w_size = {1, 1, 1}},
    {.x_channels = 3,
     .y_channels = 64,
     .x_size = {1, 9, 224},
     .w_size = {1, 7, 7},
     .stride = {1, 2, 2},
     .padding = {0, 3, 3}},
    {.batch = 3,
     .x_channels = 75,
     .y_channels = 125,
     .x_size = {1, 5, 31},
     .w_size = {1, 1, 5},
     .padding = {0, 0, 2}},
    {.batch = 2,
     .x_channels = 64,
     .y_channels = 96,
     .x_size = {1, 13, 64},
     .w_size = {1, 3, 3},
     .stride = {1, 2, 2},
     .padding = {0, 1, 1}},
    {.batch = 2,
     .groups = 2,
     .x_channels = 66,
     .y_channels = 192,
     .x_size = {1, 15, 62},
     .w_size = {1, 2, 5},
     .stride = {1, 1, 3},
     .dilation = {1, 2, 1}},
    {.batch = 17, .x_channels = 192, .y_channels = 220, .x_size = {1, 7, 9}, .w_size = {1, 1, 1}},
    {.batch = 3, .x_channels = 30, .y_channels = 109, .x_size = {1, 1, 300}, .w_size = {1, 1, 9}},
    {.batch = 2,
     .x_channels = 16,
     .y_channels = 96,
     .x_size = {4, 8, 8},
     .w_size = {3, 3, 4},
     .padding = {1, 1, 1}},
    {.batch = 2,
     .x_channels = 40,
     .y_channels = 96,
     .x_size = {1, 9, 13},
     .w_size = {1, 5, 1},
     .padding = {0, 2, 0},
     .pixels = true},
};

class AmxConv : public testing::Test {
 protected:
  void SetUp() override {
    if (best_isa() < IsaLevel::avx512) GTEST_SKIP() << "this machine has no AVX-512, which the kernels use";
    plain = amx = cpu_kernels(std::min(best_isa(), IsaLevel::avx512_bf16)).conv;
    isa_amx::fill_conv(amx);
    isa_amx::put_small_floats_on_tiles(true);
    if (best_isa() < IsaLevel::amx) emulator_.emplace();
  }
  void TearDown() override { isa_amx::put_small_floats_on_tiles(false); }
  static bool used_tiles(long before) { return best_isa() == IsaLevel::amx || AmxEmulator::count() > before; }
  template <class T>
  void run(Convolution<T>& c, bool backward) {
    c.point();
    backward ? amx.backward_x(c.g) : amx.forward(c.g);
  }

  ConvTable plain{}, amx{};

 private:
  std::optional<AmxEmulator> emulator_;
};

TEST_F(AmxConv, MatchesSumsInDouble) {
  int shape = 0;
  for (const Shape& s : kShapes) {
    for (bool backward : {false, true}) {
      Convolution<BFloat16> half(s);
      ASSERT_TRUE(amx.takes(half.g, backward)) << shape;
      long before = AmxEmulator::count();
      run(half, backward);
      EXPECT_TRUE(used_tiles(before)) << shape << backward;
      EXPECT_LE(half.error(backward, 0x1p-8), 1.01) << shape << backward;
      Convolution<float> single(s);
      before = AmxEmulator::count();
      run(single, backward);
      EXPECT_TRUE(used_tiles(before)) << shape << backward;
      EXPECT_LE(single.error(backward, 0x1p-23), 4) << shape << backward;
    }
    ++shape;
  }
}

TEST_F(AmxConv, KeptFiltersGiveTheSame) {
  auto check = [&]<class T>(T, const Shape& s, bool backward) {
    Convolution<T> c(s);
    run(c, backward);
    Convolution<T> again(s);
    const ConvForm form = amx.form(again.g, backward);
    ASSERT_GT(form.bytes, 0);
    std::vector<char> memory(static_cast<size_t>(form.bytes) + 128, 7);
    char* kept = memory.data() + 64 - reinterpret_cast<uintptr_t>(memory.data()) % 64;
    amx.prepare(again.g, backward, kept);
    EXPECT_EQ(kept[form.bytes], 7);
    again.g.prepared = kept;
    for (T& v : again.w) v = T(std::numeric_limits<float>::quiet_NaN());
    run(again, backward);
    auto &want = backward ? c.x : c.y, &got = backward ? again.x : again.y;
    EXPECT_EQ(std::memcmp(want.data(), got.data(), want.size() * sizeof(T)), 0);
  };
  for (bool backward : {false, true}) {
    check(BFloat16(), kShapes[1], backward);
    check(BFloat16(), kShapes[4], backward);
    check(0.0f, kShapes[1], backward);
    check(0.0f, kShapes[6], backward);
  }
}

TEST_F(AmxConv, SameBitsForEveryNumberOfThreads) {
  const int threads = num_threads();
  Convolution<float> one(kShapes[0]), three(kShapes[0]);
  set_num_threads(1);
  run(one, false);
  set_num_threads(3);
  run(three, false);
  set_num_threads(threads);
  EXPECT_EQ(std::memcmp(one.y.data(), three.y.data(), one.y.size() * sizeof(float)), 0);
}

TEST_F(AmxConv, FilterGradientsMatchSumsInDouble) {
  int shape = 0;
  const auto check = [&]<class T>(T, const Shape& s, double eps, double most) {
    Convolution<T> c(s);
    for (T& w : c.w) w = T(std::numeric_limits<float>::quiet_NaN());
    ASSERT_TRUE(amx.takes_backward_w(c.g)) << shape;
    const long before = AmxEmulator::count();
    amx.backward_w(c.g);
    EXPECT_TRUE(used_tiles(before)) << shape;
    EXPECT_LE(c.filter_error(eps), most) << shape;
    ++shape;
  };
  for (const Shape& s : kShapes) check(BFloat16(), s, 0x1p-8, 1.01);
  for (const Shape& s : kFilterShapes) check(BFloat16(), s, 0x1p-8, 1.01);
  check(BFloat16(), kFloatFilterShapes[0], 0x1p-8, 1.01);
  for (const Shape& s : kFloatFilterShapes) check(0.0f, s, 0x1p-23, 2);
}

// Two images of a chunk do not fit in a block.
TEST_F(AmxConv, FilterGradientsOfSeveralBlocks) {
  Convolution<float> c(
      {.batch = 17, .x_channels = 64, .y_channels = 511, .x_size = {1, 10, 126}, .w_size = {1, 1, 1}});
  const long before = AmxEmulator::count();
  amx.backward_w(c.g);
  EXPECT_TRUE(used_tiles(before));
  const std::vector<float> got = c.w;
  plain.backward_w(c.g);
  for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], c.w[i], 17 * 1260 * 0x1p-24) << i;
}

// Pieces of small numbers are no denormal ones.
TEST_F(AmxConv, FilterGradientsOfSmallNumbers) {
  Convolution<float> c(kFloatFilterShapes[1]);
  for (auto* operand : {&c.x, &c.y}) {
    for (float& v : *operand) v *= 0x1p-50f;
  }
  const long before = AmxEmulator::count();
  amx.backward_w(c.g);
  EXPECT_TRUE(used_tiles(before));
  EXPECT_LE(c.filter_error(0x1p-23), 2);
}

TEST_F(AmxConv, FilterGradientsHaveTheSameBitsForEveryNumberOfThreads) {
  const int threads = num_threads();
  const auto check = [&]<class T>(T, const Shape& s) {
    Convolution<T> want(s);
    set_num_threads(1);
    amx.backward_w(want.g);
    for (int n : {2, 3}) {
      Convolution<T> c(s);
      set_num_threads(n);
      amx.backward_w(c.g);
      EXPECT_EQ(std::memcmp(want.w.data(), c.w.data(), c.w.size() * sizeof(T)), 0) << n;
    }
  };
  for (const Shape& s : {kShapes[3], kFilterShapes[1], kFilterShapes[2]}) check(BFloat16(), s);
  for (int i : {0, 3, 4}) check(0.0f, kFloatFilterShapes[i]);
  set_num_threads(threads);
}

// An infinity of the image reaches the taps that meet it and no others, and one of the gradient of the result
// what the level below makes of it: a tap that meets the padding there has its zero.
TEST_F(AmxConv, SpecialValuesInFilterGradients) {
  for (const Shape& s : {kShapes[0], kShapes[1], kFilterShapes[0], kFilterShapes[1], kFloatFilterShapes[0]}) {
    for (double special : {kInf, std::numeric_limits<double>::quiet_NaN()}) {
      for (bool last : {false, true}) {
        for (bool in_image : {false, true}) {
          Convolution<BFloat16> c(s);
          auto& operand = in_image ? c.x : c.y;
          operand[last ? operand.size() - 1 : operand.size() / 2] = BFloat16(static_cast<float>(special));
          amx.backward_w(c.g);
          if (in_image) {
            EXPECT_LE(c.filter_error(0x1p-8), 1.01) << special << last;
          }
          const std::vector<BFloat16> got = c.w;
          plain.backward_w(c.g);
          for (size_t i = 0; i < got.size(); ++i) {
            const auto a = static_cast<float>(got[i]), b = static_cast<float>(c.w[i]);
            EXPECT_TRUE(std::isfinite(a) ? std::isfinite(b) : a == b || (std::isnan(a) && std::isnan(b)));
          }
        }
      }
    }
  }
}

// Numbers that pieces or sums cannot hold, wherever they stand: all of the gradient is that of the level
// below.
TEST_F(AmxConv, FilterGradientsOfNumbersThatDoNotFit) {
  for (const Shape& s : {kFloatFilterShapes[0], kFloatFilterShapes[1], kFloatFilterShapes[4]}) {
    for (float special :
         {static_cast<float>(kInf), std::numeric_limits<float>::quiet_NaN(), -1e38f, 0x1p70f}) {
      for (bool last : {false, true}) {
        for (bool in_image : {false, true}) {
          Convolution<float> c(s), want(s);
          for (auto* each : {&c, &want}) {
            auto& operand = in_image ? each->x : each->y;
            operand[last ? operand.size() - 1 : operand.size() / 2] = special;
            for (float& w : each->w) w = 5;
          }
          amx.backward_w(c.g);
          plain.backward_w(want.g);
          EXPECT_EQ(std::memcmp(want.w.data(), c.w.data(), c.w.size() * sizeof(float)), 0)
              << special << last << in_image;
        }
      }
    }
  }
}

// Numbers that pieces or sums cannot hold go the way of the level below; those of bfloat16 all fit.
TEST_F(AmxConv, SpecialValues) {
  for (double special : {kInf, std::numeric_limits<double>::quiet_NaN(), 3e38, 1e-40}) {
    for (bool in_filter : {false, true}) {
      Shape s = kShapes[0];
      s.padding[1] = s.padding[2] = 0;
      Convolution<float> c(s), want(s);
      for (auto* each : {&c, &want}) {
        auto& operand = in_filter ? each->w : each->x;
        operand[operand.size() / 2] = static_cast<float>(special);
        each->point();
      }
      amx.forward(c.g);
      plain.forward(want.g);
      for (size_t i = 0; i < c.y.size(); ++i) {
        if (std::isfinite(want.y[i])) {
          EXPECT_NEAR(c.y[i], want.y[i], 1e-4 + 1e-5 * std::abs(want.y[i])) << special << in_filter;
        } else {
          EXPECT_TRUE(c.y[i] == want.y[i] || (std::isnan(c.y[i]) && std::isnan(want.y[i]))) << special;
        }
      }
      Convolution<BFloat16> half(s);
      auto& operand = in_filter ? half.w : half.x;
      operand[operand.size() / 2] = BFloat16(static_cast<float>(special));
      run(half, false);
      if (special == kInf) {
        EXPECT_LE(half.error(false, 0x1p-8), 1.01) << in_filter;
      }
    }
  }
}

// What would leave tiles mostly empty, or has a faster method, stays with the level below.
TEST_F(AmxConv, LeavesTheRestToTheLevelBelow) {
  const Shape few_rows = {.x_channels = 32, .y_channels = 4, .x_size = {1, 40, 40}, .w_size = {1, 5, 5}};
  const Shape depthwise = {
      .groups = 32, .x_channels = 32, .y_channels = 32, .x_size = {1, 20, 20}, .w_size = {1, 3, 3}};
  const Shape winograd = {.x_channels = 64, .y_channels = 64, .x_size = {1, 34, 34}, .w_size = {1, 3, 3}};
  for (const Shape& s : {few_rows, depthwise, winograd}) {
    Convolution<float> c(s);
    const long before = AmxEmulator::count();
    run(c, false);
    EXPECT_EQ(AmxEmulator::count(), before);
    EXPECT_LE(c.error(false, 0x1p-23), 40);
    EXPECT_EQ(amx.form(c.g, false).bytes, plain.form(c.g, false).bytes);
  }
  // Columns are packed for two panels of rows at least.
  isa_amx::put_small_floats_on_tiles(false);
  for (int64_t rows : {32, 33}) {
    Convolution<float> c({.x_channels = 64, .y_channels = rows, .x_size = {1, 30, 30}, .w_size = {1, 1, 5}});
    const long before = AmxEmulator::count();
    run(c, false);
    EXPECT_TRUE(best_isa() == IsaLevel::amx || (AmxEmulator::count() > before) == (rows > 32)) << rows;
  }
  isa_amx::put_small_floats_on_tiles(true);
  const Shape packing = {.x_channels = 64, .y_channels = 64, .x_size = {1, 30, 30}, .w_size = {1, 1, 1}};
  for (const Shape& s : {few_rows, depthwise, winograd, packing}) {
    Convolution<float> c(s), want(s);
    const long before = AmxEmulator::count();
    amx.backward_w(c.g);
    EXPECT_EQ(AmxEmulator::count(), before);
    plain.backward_w(want.g);
    EXPECT_EQ(c.w, want.w);
  }
  Convolution<BFloat16> half(depthwise);
  EXPECT_FALSE(amx.takes(half.g, false));
  EXPECT_FALSE(amx.takes_backward_w(half.g));
  Convolution<BFloat16> few(few_rows);
  const long before = AmxEmulator::count();
  if (amx.takes_backward_w(few.g)) amx.backward_w(few.g);
  EXPECT_EQ(AmxEmulator::count(), before);
}

}  // namespace
}  // namespace ctorch
#endif
