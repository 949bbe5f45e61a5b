// Reductions that read each block twice while it lies in L1, the second time relative to a centre found by
// the first: variance (the block's mean) and log-sum-exp (its maximum).
#include "kernels/cpu/gemm_simd.h"
#include "kernels/cpu/reduce_lanes.h"
#include "kernels/cpu/vec_math.h"

namespace ctorch::CT_ISA {
namespace {

// ---- variance
// -----------------------------------------------------------------------------------------------------------

struct Moments {
  double count, mean, m2;  // m2: the sum of squared distances from the mean

  // Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances"
  // (1979).
  CT_INLINE void join(const Moments& b) {
    const double n = count + b.count, delta = b.mean - mean;
    const double share = n > 0 ? b.count / n : 0.0;
    mean += delta * share;
    m2 += b.m2 + delta * delta * count * share;
    count = n;
  }
  // From sums of distances and squared distances from a centre near the mean. What the centre misses is put
  // right.
  static CT_INLINE Moments around(double n, double centre, double sum, double squares) {
    const double d = sum / n;
    return {n, centre + d, most_of(0.0, squares - sum * d)};
  }
  // NaN stays.
  static CT_INLINE double most_of(double a, double b) { return b < a ? a : b; }
};

template <class T>
struct VarReducer {
  using In = T;
  using Lane = acc_t<T>;
  using Total = Moments;

  struct SumOp {
    using In = T;
    using Lane = acc_t<T>;
    static CT_INLINE Lane load(T x) { return convert<Lane>(x); }
    static CT_INLINE Lane combine(Lane a, Lane b) { return a + b; }
  };

  static void empty(void* totals, int64_t n) {
    for (int64_t j = 0; j < n; ++j) static_cast<Moments*>(totals)[j] = {0, 0, 0};
  }
  static void row(const ReduceArgs&, const void* data, int64_t n, int64_t, void* total) {
    const T* p = static_cast<const T*>(data);
    const Lane centre = combine_row<SumOp>(p, n) / static_cast<Lane>(n);
    constexpr int kLanes = 128 / sizeof(Lane);
    Lane sums[kLanes] = {}, squares[kLanes] = {};
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      for (int j = 0; j < kLanes; ++j) {
        const Lane d = convert<Lane>(p[i + j]) - centre;
        sums[j] += d;
        squares[j] += d * d;
      }
    }
    for (int j = 0; j < static_cast<int>(n - i); ++j) {
      const Lane d = convert<Lane>(p[i + j]) - centre;
      sums[j] += d;
      squares[j] += d * d;
    }
    double sum = 0, square = 0;
    for (int j = 0; j < kLanes; ++j) {
      sum += sums[j];
      square += squares[j];
    }
    static_cast<Moments*>(total)->join(Moments::around(static_cast<double>(n), centre, sum, square));
  }
  // As many columns as kBand registers hold: their sums stay in registers, and the rows in the L1.
  template <int kBand>
  static void band(const T* p, int64_t rows, int64_t stride, Moments* total) {
    constexpr int64_t lanes = kLanes<Lane>;
    typename Simd<Lane>::Vector centre[kBand] = {}, sums[kBand] = {}, squares[kBand] = {};
    for (int64_t i = 0; i < rows; ++i) {
#pragma GCC unroll 4
      for (int k = 0; k < kBand; ++k) centre[k] += load_vector(p + i * stride + k * lanes);
    }
    for (int k = 0; k < kBand; ++k) centre[k] *= Lane(1) / static_cast<Lane>(rows);
    for (int64_t i = 0; i < rows; ++i) {
#pragma GCC unroll 4
      for (int k = 0; k < kBand; ++k) {
        const auto d = load_vector(p + i * stride + k * lanes) - centre[k];
        sums[k] += d;
        squares[k] += d * d;
      }
    }
    for (int k = 0; k < kBand; ++k) {
      for (int64_t l = 0; l < lanes; ++l) {
        total[k * lanes + l].join(
            Moments::around(static_cast<double>(rows), centre[k][l], sums[k][l], squares[k][l]));
      }
    }
  }
  static void columns(const ReduceArgs&, const void* data, int64_t rows, int64_t stride, int64_t cols,
                      int64_t, void* totals) {
    const T* p = static_cast<const T*>(data);
    auto* total = static_cast<Moments*>(totals);
    int64_t j = 0;
    for (; j + 4 * kLanes<Lane> <= cols; j += 4 * kLanes<Lane>) band<4>(p + j, rows, stride, total + j);
    for (; j + kLanes<Lane> <= cols; j += kLanes<Lane>) band<1>(p + j, rows, stride, total + j);
    const Lane scale = Lane(1) / static_cast<Lane>(rows);
    for (; j < cols; ++j) {
      Lane centre = 0, sum = 0, squares = 0;
      for (int64_t i = 0; i < rows; ++i) centre += convert<Lane>(p[i * stride + j]);
      centre *= scale;
      for (int64_t i = 0; i < rows; ++i) {
        const Lane d = convert<Lane>(p[i * stride + j]) - centre;
        sum += d;
        squares += d * d;
      }
      total[j].join(Moments::around(static_cast<double>(rows), centre, sum, squares));
    }
  }
  static void join(void* a, const void* b, int64_t n) {
    for (int64_t j = 0; j < n; ++j) {
      const auto& from = static_cast<const Moments*>(b)[j];
      if (from.count > 0) static_cast<Moments*>(a)[j].join(from);
    }
  }
  template <class Out, bool kRoot>
  static void write(const ReduceArgs& args, const void* totals, int64_t n, int64_t at, int64_t out_stride) {
    auto* spread = static_cast<Out*>(args.out[0]);
    auto* mean = static_cast<Out*>(args.out[1]);
    for (int64_t j = 0; j < n; ++j) {
      const auto& m = static_cast<const Moments*>(totals)[j];
      const double var = m.m2 / Moments::most_of(0.0, m.count - args.param);
      if (spread) spread[at + j * out_stride] = convert<Out>(kRoot ? __builtin_sqrt(var) : var);
      if (mean) mean[at + j * out_stride] = convert<Out>(m.mean);
    }
  }
};

// ---- log-sum-exp
// ----------------------------------------------------------------------------------------------------------

struct ScaledSum {
  double max, sum;  // stands for sum * e^max

  CT_INLINE void join(const ScaledSum& b) {
    if (b.max > max || b.max != b.max) {
      sum = sum == 0 ? b.sum : b.sum + sum * __builtin_exp(max - b.max);
      max = b.max;
    } else {
      sum += b.max == max ? b.sum : b.sum * __builtin_exp(b.max - max);
    }
  }
};

template <class T>
struct LogSumExpReducer {
  using In = T;
  using Lane = acc_t<T>;
  using Total = ScaledSum;

  struct MaxOp {
    using In = T;
    using Lane = acc_t<T>;
    static CT_INLINE Lane load(T x) { return convert<Lane>(x); }
    static CT_INLINE Lane combine(Lane a, Lane b) { return extreme<true>(a, b); }
  };
  // Infinite values are not shifted: e^(inf - inf) is no number.
  static CT_INLINE Lane finite_or_zero(Lane x) { return x - x == 0 ? x : 0; }

  static void empty(void* totals, int64_t n) {
    for (int64_t j = 0; j < n; ++j) static_cast<ScaledSum*>(totals)[j] = {-__builtin_inf(), 0};
  }
  static void row(const ReduceArgs&, const void* data, int64_t n, int64_t, void* total) {
    const T* p = static_cast<const T*>(data);
    const Lane centre = finite_or_zero(combine_row<MaxOp>(p, n));
    constexpr int kLanes = 128 / sizeof(Lane);
    Lane sums[kLanes] = {};
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      for (int j = 0; j < kLanes; ++j) sums[j] += math::exp(convert<Lane>(p[i + j]) - centre);
    }
    for (int j = 0; j < static_cast<int>(n - i); ++j) sums[j] += math::exp(convert<Lane>(p[i + j]) - centre);
    double sum = 0;
    for (int j = 0; j < kLanes; ++j) sum += sums[j];
    add(*static_cast<ScaledSum*>(total), centre, sum);
  }
  static void columns(const ReduceArgs&, const void* data, int64_t rows, int64_t stride, int64_t cols,
                      int64_t, void* totals) {
    const T* CT_RESTRICT p = static_cast<const T*>(data);
    Lane centre[kMaxCols], sums[kMaxCols];
    combine_columns<MaxOp>(p, rows, stride, cols, centre);
    for (int64_t j = 0; j < cols; ++j) {
      centre[j] = finite_or_zero(centre[j]);
      sums[j] = 0;
    }
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < cols; ++j) sums[j] += math::exp(convert<Lane>(p[i * stride + j]) - centre[j]);
    }
    for (int64_t j = 0; j < cols; ++j) add(static_cast<ScaledSum*>(totals)[j], centre[j], sums[j]);
  }
  // A block of nothing but -inf has the sum 0 around 0, and must not raise the maximum; one with inf has it
  // as its maximum.
  static CT_INLINE void add(ScaledSum& t, double centre, double sum) {
    if (sum == __builtin_inf()) return t.join({sum, 1});
    if (sum != 0) t.join({centre, sum});
  }
  static void join(void* a, const void* b, int64_t n) {
    for (int64_t j = 0; j < n; ++j) {
      const auto& from = static_cast<const ScaledSum*>(b)[j];
      add(static_cast<ScaledSum*>(a)[j], from.max, from.sum);
    }
  }
  template <class Out>
  static void write(const ReduceArgs& args, const void* totals, int64_t n, int64_t at, int64_t out_stride) {
    auto* out = static_cast<Out*>(args.out[0]) + at;
    for (int64_t j = 0; j < n; ++j) {
      const auto& t = static_cast<const ScaledSum*>(totals)[j];
      out[j * out_stride] = convert<Out>(t.max + __builtin_log(t.sum));
    }
  }
};

template <class... Ts>
void fill_types(ReduceTable& table, TypeList<Ts...>) {
  ((entry<Ts>(table, Reduce::var) =
        make_reducer<Ts, VarReducer<acc_t<Ts>>>(&VarReducer<acc_t<Ts>>::template write<Ts, false>),
    entry<Ts>(table, Reduce::std) =
        make_reducer<Ts, VarReducer<acc_t<Ts>>>(&VarReducer<acc_t<Ts>>::template write<Ts, true>),
    entry<Ts>(table, Reduce::logsumexp) =
        make_reducer<Ts, LogSumExpReducer<acc_t<Ts>>>(&LogSumExpReducer<acc_t<Ts>>::template write<Ts>)),
   ...);
}

}  // namespace

void fill_reduce_moments(ReduceTable& table) { fill_types(table, Floats{}); }

}  // namespace ctorch::CT_ISA
