// Attention over bfloat16 by pairs, with VDPBF16PS and on AMX tiles (of the machine, or emulated), and over
// float32 on tiles, against sums in double.
#include <gtest/gtest.h>

#include <cmath>
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
void fill_attention(AttentionTable&);
}

namespace {

struct Shape {
  int64_t batch, heads, group, queries, keys, width, value_width;
  bool causal = false;
  AttentionMask mask = AttentionMask::none;
  double scale = 0.3;
};

const Shape kShapes[] = {
    {2, 4, 2, 130, 300, 40, 33},
    {1, 1, 1, 1, 1, 1, 1},
    {1, 2, 1, 17, 31, 64, 16, true},
    {1, 2, 2, 65, 257, 7, 70, true},
    {1, 2, 1, 3, 520, 32, 32, false, AttentionMask::added},
    {2, 2, 1, 50, 70, 33, 1, false, AttentionMask::taken},
    {1, 1, 1, 20, 40, 16, 16, false, AttentionMask::added, -0.2},
};

// Of floats, with rows enough for tiles.
const Shape kFloatShapes[] = {
    {2, 4, 2, 130, 300, 40, 33},
    {1, 2, 2, 65, 257, 17, 70, true},
    {1, 2, 1, 70, 520, 32, 32, false, AttentionMask::added},
    {2, 2, 1, 64, 70, 33, 16, false, AttentionMask::taken},
    {1, 1, 1, 100, 90, 64, 64, false, AttentionMask::added, -0.2},
};

using Values = std::vector<double>;

// Results, and gradients, as (batch, heads, rows, width).
struct Results {
  Values out, query, key, value;
};

template <class T>
class Problem {
 public:
  explicit Problem(const Shape& s) : s_(s), key_heads_(s.heads / s.group) {
    std::mt19937 engine(3);
    fill(query_, s.batch * s.heads * s.queries * s.width, engine);
    fill(key_, s.batch * key_heads_ * s.keys * s.width, engine);
    fill(value_, s.batch * key_heads_ * s.keys * s.value_width, engine);
    fill(grad_, s.batch * s.heads * s.queries * s.value_width, engine);
    std::uniform_real_distribution<float> uniform(-1, 1);
    for (int64_t i = 0; i < s.queries * s.keys; ++i) {
      added_.push_back(uniform(engine));
      taken_.push_back(i % s.keys == 0 || uniform(engine) > 0);
    }
    // A query that a mask of the lowest number hides from all keys, and one that sees none.
    if (s.queries > 2) std::fill_n(added_.begin() + s.keys, s.keys, std::numeric_limits<float>::lowest());
    if (s.queries > 2) std::fill_n(taken_.begin() + s.keys, s.keys, uint8_t{0});
  }

  Results run(const AttentionTable& table) {
    const int64_t heads = s_.heads * s_.batch;
    // The gradients of keys and values of floats are added to what is there.
    const T there(std::is_same_v<T, float> ? 0.0f : 9.0f);
    std::vector<T> out(grad_.size(), T(9.0f)), grad_query(query_.size(), T(9.0f)),
        grad_key(key_.size(), there), grad_value(value_.size(), there);
    std::vector<float> highest(static_cast<size_t>(heads * s_.queries)), log_sum(highest.size());
    AttentionArgs g{};
    g.dtype = dtype_of<T>;
    g.batch = s_.batch, g.heads = s_.heads, g.group = s_.group;
    g.queries = s_.queries, g.keys = s_.keys, g.width = s_.width, g.value_width = s_.value_width;
    g.scale = s_.scale, g.causal = s_.causal, g.pairs = table.pairs;
    g.query = rows(query_, s_.queries, s_.width), g.key = rows(key_, s_.keys, s_.width);
    g.value = rows(value_, s_.keys, s_.value_width);
    g.mask_kind = s_.mask;
    g.mask = s_.mask == AttentionMask::added ? static_cast<const void*>(added_.data()) : taken_.data();
    g.mask_strides[2] = s_.keys, g.mask_strides[3] = 1;
    g.out = rows(out, s_.queries, s_.value_width);
    g.highest = highest.data(), g.log_sum = log_sum.data();
    g.gemm = cpu_kernels(IsaLevel::avx512).gemm.of[static_cast<int>(g.dtype)];
    table.forward(g);
    g.grad_out = rows(grad_, s_.queries, s_.value_width);
    g.grad_query = rows(grad_query, s_.queries, s_.width);
    g.grad_key = rows(grad_key, s_.keys, s_.width);
    g.grad_value = rows(grad_value, s_.keys, s_.value_width);
    table.backward(g);
    return {wide(out), wide(grad_query), wide(grad_key), wide(grad_value)};
  }

  Results expected() const {
    Results r{Values(grad_.size()), Values(query_.size()), Values(key_.size()), Values(value_.size())};
    for (int64_t b = 0; b < s_.batch; ++b)
      for (int64_t h = 0; h < s_.heads; ++h)
        for (int64_t i = 0; i < s_.queries; ++i)
          add_row(r, b * s_.heads + h, b * key_heads_ + h / s_.group, i);
    return r;
  }

  // The number in the middle of query, key, value or the gradient.
  void set(int operand, float number) {
    std::vector<T>* const all[] = {&query_, &key_, &value_, &grad_};
    (*all[operand])[all[operand]->size() / 2] = T(number);
  }

 private:
  static void fill(std::vector<T>& v, int64_t n, std::mt19937& engine) {
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < n; ++i) v.emplace_back(normal(engine));
  }
  struct Rows {
    void* data;
    int64_t batch, head, row;
    template <class Pointer>
    operator AttentionRows<Pointer>() const {
      return {data, batch, head, row};
    }
  };
  Rows rows(std::vector<T>& v, int64_t rows, int64_t width) const {
    return {v.data(), static_cast<int64_t>(v.size()) / s_.batch, rows * width, width};
  }
  static Values wide(const std::vector<T>& v) { return Values(v.begin(), v.end()); }

  void add_row(Results& r, int64_t head, int64_t key_head, int64_t i) const {
    const auto at = [](const std::vector<T>& v, int64_t n) {
      return static_cast<double>(static_cast<float>(v[static_cast<size_t>(n)]));
    };
    const auto to = [](Values& v, int64_t n) -> double& { return v[static_cast<size_t>(n)]; };
    const int64_t q = (head * s_.queries + i) * s_.width, o = (head * s_.queries + i) * s_.value_width,
                  k = key_head * s_.keys * s_.width, v = key_head * s_.keys * s_.value_width;
    Values weight(static_cast<size_t>(s_.keys));
    double highest = -HUGE_VAL, sum = 0, dot = 0;
    for (int64_t j = 0; j < s_.keys; ++j) {
      double score = 0;
      for (int64_t c = 0; c < s_.width; ++c) score += at(query_, q + c) * at(key_, k + j * s_.width + c);
      score *= s_.scale;
      const auto place = static_cast<size_t>(i * s_.keys + j);
      if (s_.mask == AttentionMask::added) score += static_cast<double>(added_[place]);
      if ((s_.causal && j > i) || (s_.mask == AttentionMask::taken && !taken_[place])) score = -HUGE_VAL;
      to(weight, j) = score;
      highest = std::max(highest, score);
    }
    for (double& w : weight) sum += w = highest == -HUGE_VAL ? 0 : std::exp(w - highest);
    if (sum == 0) return;
    for (double& w : weight) w /= sum;
    for (int64_t j = 0; j < s_.keys; ++j)
      for (int64_t c = 0; c < s_.value_width; ++c) {
        to(r.out, o + c) += to(weight, j) * at(value_, v + j * s_.value_width + c);
        to(r.value, v + j * s_.value_width + c) += to(weight, j) * at(grad_, o + c);
      }
    for (int64_t c = 0; c < s_.value_width; ++c) dot += to(r.out, o + c) * at(grad_, o + c);
    for (int64_t j = 0; j < s_.keys; ++j) {
      double d = -dot;
      for (int64_t c = 0; c < s_.value_width; ++c)
        d += at(grad_, o + c) * at(value_, v + j * s_.value_width + c);
      d *= to(weight, j) * s_.scale;
      for (int64_t c = 0; c < s_.width; ++c) {
        to(r.query, q + c) += d * at(key_, k + j * s_.width + c);
        to(r.key, k + j * s_.width + c) += d * at(query_, q + c);
      }
    }
  }

  Shape s_;
  int64_t key_heads_;
  std::vector<T> query_, key_, value_, grad_;
  std::vector<float> added_;
  std::vector<uint8_t> taken_;
};

// bfloat16 has 8 bits; results are rounded to it, and so are weights, the gradients of scores, and the result
// that the gradients are taken with. Of floats the errors of sums remain.
template <class T>
void expect_near(const Values& got, const Values& expected, const char* what) {
  constexpr double kBound = std::is_same_v<T, float> ? 2e-6 : 4 / 256.0;
  double greatest = 1e-2;
  for (double v : expected) greatest = std::max(greatest, std::fabs(v));
  for (size_t i = 0; i < got.size(); ++i)
    ASSERT_NEAR(got[i], expected[i], kBound * greatest) << what << " " << i;
}

template <class T, size_t kCount>
void check(const AttentionTable& table, const Shape (&shapes)[kCount]) {
  for (const Shape& s : shapes) {
    SCOPED_TRACE(testing::Message() << s.queries << " queries, " << s.keys << " keys of " << s.width);
    Problem<T> p(s);
    const Results got = p.run(table), expected = p.expected();
    expect_near<T>(got.out, expected.out, "out");
    expect_near<T>(got.query, expected.query, "grad_query");
    expect_near<T>(got.key, expected.key, "grad_key");
    expect_near<T>(got.value, expected.value, "grad_value");
    const int threads = num_threads();
    set_num_threads(threads == 1 ? 2 : 1);
    const Results again = p.run(table);
    set_num_threads(threads);
    EXPECT_EQ(got.out, again.out);
    EXPECT_EQ(got.query, again.query);
    EXPECT_EQ(got.key, again.key);
    EXPECT_EQ(got.value, again.value);
  }
}

TEST(AttentionPairs, MatchSumsInDouble) {
  if (best_isa() < IsaLevel::avx512_bf16) GTEST_SKIP() << "this machine has no AVX512_BF16";
  check<BFloat16>(cpu_kernels(IsaLevel::avx512_bf16).attention, kShapes);
}

class AmxAttention : public testing::Test {
 protected:
  void SetUp() override {
    if (best_isa() < IsaLevel::avx512) GTEST_SKIP() << "this machine has no AVX-512, which the kernels use";
    plain = amx = cpu_kernels(std::min(best_isa(), IsaLevel::avx512_bf16)).attention;
    isa_amx::fill_attention(amx);
    if (best_isa() < IsaLevel::amx) emulator_.emplace();
  }
  template <class T, size_t kCount>
  void check_on_tiles(const Shape (&shapes)[kCount]) {
    const long before = AmxEmulator::count();
    check<T>(amx, shapes);
    EXPECT_TRUE(best_isa() == IsaLevel::amx || AmxEmulator::count() > before);
  }

  AttentionTable plain{}, amx{};  // the level below; tiles

 private:
  std::optional<AmxEmulator> emulator_;
};

TEST_F(AmxAttention, BFloat16MatchesSumsInDouble) {
  if (best_isa() < IsaLevel::avx512_bf16)
    GTEST_SKIP() << "this machine has no AVX512_BF16, which rounds weights";
  check_on_tiles<BFloat16>(kShapes);
}
TEST_F(AmxAttention, FloatsMatchSumsInDouble) { check_on_tiles<float>(kFloatShapes); }

// Numbers that pieces or sums cannot hold: all is that of the level below.
TEST_F(AmxAttention, NumbersThatDoNotFit) {
  for (float special :
       {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN(), 1e38f}) {
    for (int operand = 0; operand < 4; ++operand) {
      Problem<float> p(kFloatShapes[0]);
      p.set(operand, special);
      const Results got = p.run(amx), want = p.run(plain);
      for (auto [a, b] : {std::pair{&got.out, &want.out},
                          {&got.query, &want.query},
                          {&got.key, &want.key},
                          {&got.value, &want.value}}) {
        // A gradient that does not fit leaves forward on tiles.
        for (size_t i = 0; i < a->size(); ++i) {
          EXPECT_EQ(std::isnan((*a)[i]), std::isnan((*b)[i])) << special << ' ' << operand;
          if (operand < 3) {
            EXPECT_TRUE((*a)[i] == (*b)[i] || std::isnan((*b)[i])) << special << ' ' << operand;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace ctorch
#endif
