// Softmax: y = e^(x - max) / sum e^(x - max). A row lies in L1 or L2 while it is read three times; where the
// map runs over an outer dim, bands of columns take the place of rows.
#include "kernels/softmax.h"

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/turn.h"
#include "kernels/cpu/vec_math.h"

namespace ctorch::CT_ISA {
namespace {

constexpr int64_t kLeastWork = 8192;  // elements, of about 1 ns each, that are worth handing to a thread
constexpr int64_t kSumRun = 8192;     // elements whose sum is kept in the lanes' own precision
constexpr int64_t kBand =
    256;  // columns of a band: narrower ones, which would fit the L2 whole, lose more to the pages touched

constexpr CT_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr CT_INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

// What is written, y or out, may lie where an operand does: x or g.
template <class V>
struct SoftmaxRow {
  static CT_INLINE V max_of(const V* x, int64_t n) {
    Lanes<V> best(-__builtin_inf());
    read_lanes(x, n, -__builtin_inf(), [&](const V* p) __attribute__((always_inline)) {
      for (int j = 0; j < kRowLanes; ++j) best[j] = Lanes<V>::greater(best[j], p[j]);
    });
    return best.max();
  }
  static CT_INLINE double sum_exp(const V* x, int64_t n, V max) {
    double total = 0;
    for (int64_t i = 0; i < n; i += kSumRun) {
      Lanes<V> sum(0);
      read_lanes(x + i, least(kSumRun, n - i), -__builtin_inf(),
                 [&](const V* p) __attribute__((always_inline)) {
                   for (int j = 0; j < kRowLanes; ++j) sum[j] += exp_below_zero(p[j] - max);
                 });
      total += sum.sum();
    }
    return total;
  }

  static CT_NOINLINE void softmax(const V* x, V* y, int64_t n) {
    const V max = max_of(x, n);
    double total = 0;
    for (int64_t i = 0; i < n; i += kSumRun) {
      Lanes<V> sum(0);
      map_lanes(x + i, y + i, least(kSumRun, n - i), -__builtin_inf(),
                [&](const V* p, V* q) __attribute__((always_inline)) {
#pragma GCC ivdep
                  for (int j = 0; j < kRowLanes; ++j) {
                    const V e = exp_below_zero(p[j] - max);
                    q[j] = e;
                    sum[j] += e;
                  }
                });
      total += sum.sum();
    }
    const V scale = static_cast<V>(1 / total);
    for (int64_t i = 0; i < n; ++i) y[i] *= scale;
  }
  static CT_NOINLINE void log_softmax(const V* x, V* y, int64_t n) {
    const V max = max_of(x, n);
    const V log_sum = static_cast<V>(__builtin_log(sum_exp(x, n, max)));
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) y[i] = x[i] - max - log_sum;
  }
  static CT_NOINLINE void softmax_backward(const V* y, const V* g, V* out, int64_t n) {
    double total = 0;
    for (int64_t i = 0; i < n; i += kSumRun) {
      Lanes<V> sum(0);
      read_lanes2(y + i, g + i, least(kSumRun, n - i),
                  [&](const V* p, const V* q) __attribute__((always_inline)) {
                    for (int j = 0; j < kRowLanes; ++j) sum[j] += p[j] * q[j];
                  });
      total += sum.sum();
    }
    const V dot = static_cast<V>(total);
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) out[i] = (g[i] - dot) * y[i];
  }
  static CT_NOINLINE void log_softmax_backward(const V* y, const V* g, V* out, int64_t n) {
    double total = 0;
    for (int64_t i = 0; i < n; i += kSumRun) {
      Lanes<V> sum(0);
      read_lanes(g + i, least(kSumRun, n - i), 0, [&](const V* p) __attribute__((always_inline)) {
        for (int j = 0; j < kRowLanes; ++j) sum[j] += p[j];
      });
      total += sum.sum();
    }
    const V sum = static_cast<V>(total);
    const int64_t whole = n / kRowLanes * kRowLanes;
    auto run = [&](const V* p, const V* q, V* r) __attribute__((always_inline)) {
#pragma GCC ivdep
      for (int j = 0; j < kRowLanes; ++j) r[j] = q[j] - exp_below_zero(p[j]) * sum;
    };
    for (int64_t i = 0; i < whole; i += kRowLanes) run(y + i, g + i, out + i);
    if (whole == n) return;
    V py[kRowLanes] = {}, pg[kRowLanes] = {}, pr[kRowLanes];
    const size_t bytes = static_cast<size_t>(n - whole) * sizeof(V);
    std::memcpy(py, y + whole, bytes);
    std::memcpy(pg, g + whole, bytes);
    run(py, pg, pr);
    std::memcpy(out + whole, pr, bytes);
  }
};

// x, y, g: a band of `cols` columns of (n, inner) matrices.
template <class V>
struct SoftmaxBand {
  static CT_INLINE void max_of(const V* CT_RESTRICT x, int64_t n, int64_t inner, int64_t cols,
                               V* CT_RESTRICT max) {
    for (int64_t j = 0; j < cols; ++j) max[j] = x[j];
    for (int64_t i = 1; i < n; ++i) {
      for (int64_t j = 0; j < cols; ++j) max[j] = Lanes<V>::greater(max[j], x[i * inner + j]);
    }
  }
  static CT_INLINE void sum_exp(const V* CT_RESTRICT x, int64_t n, int64_t inner, int64_t cols,
                                const V* CT_RESTRICT max, V* CT_RESTRICT sum) {
    for (int64_t j = 0; j < cols; ++j) sum[j] = 0;
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < cols; ++j) sum[j] += exp_below_zero(x[i * inner + j] - max[j]);
    }
  }
  static CT_NOINLINE void softmax(const V* x, V* y, int64_t n, int64_t inner, int64_t cols) {
    V max[kBand], sum[kBand];
    max_of(x, n, inner, cols, max);
    for (int64_t j = 0; j < cols; ++j) sum[j] = 0;
    for (int64_t i = 0; i < n; ++i) {
#pragma GCC ivdep
      for (int64_t j = 0; j < cols; ++j) {
        const V e = exp_below_zero(x[i * inner + j] - max[j]);
        y[i * inner + j] = e;
        sum[j] += e;
      }
    }
    for (int64_t j = 0; j < cols; ++j) sum[j] = 1 / sum[j];
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < cols; ++j) y[i * inner + j] *= sum[j];
    }
  }
  static CT_NOINLINE void log_softmax(const V* x, V* y, int64_t n, int64_t inner, int64_t cols) {
    V max[kBand], sum[kBand];
    max_of(x, n, inner, cols, max);
    sum_exp(x, n, inner, cols, max, sum);
    for (int64_t j = 0; j < cols; ++j) sum[j] = math::log(sum[j]);
    for (int64_t i = 0; i < n; ++i) {
#pragma GCC ivdep
      for (int64_t j = 0; j < cols; ++j) y[i * inner + j] = x[i * inner + j] - max[j] - sum[j];
    }
  }
  static CT_NOINLINE void softmax_backward(const V* y, const V* g, V* out, int64_t n, int64_t inner,
                                           int64_t cols) {
    V dot[kBand];
    for (int64_t j = 0; j < cols; ++j) dot[j] = 0;
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < cols; ++j) dot[j] += y[i * inner + j] * g[i * inner + j];
    }
    for (int64_t i = 0; i < n; ++i) {
#pragma GCC ivdep
      for (int64_t j = 0; j < cols; ++j) out[i * inner + j] = (g[i * inner + j] - dot[j]) * y[i * inner + j];
    }
  }
  static CT_NOINLINE void log_softmax_backward(const V* y, const V* g, V* out, int64_t n, int64_t inner,
                                               int64_t cols) {
    V sum[kBand];
    for (int64_t j = 0; j < cols; ++j) sum[j] = 0;
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < cols; ++j) sum[j] += g[i * inner + j];
    }
    for (int64_t i = 0; i < n; ++i) {
#pragma GCC ivdep
      for (int64_t j = 0; j < cols; ++j)
        out[i * inner + j] = g[i * inner + j] - exp_below_zero(y[i * inner + j]) * sum[j];
    }
  }
};

// One of the four, of a row or a band of V: in is x or y.
template <class V, bool kLog, bool kBackward>
CT_INLINE void run_row(const V* in, const V* g, V* out, int64_t n) {
  using Row = SoftmaxRow<V>;
  if constexpr (kBackward)
    kLog ? Row::log_softmax_backward(in, g, out, n) : Row::softmax_backward(in, g, out, n);
  else
    kLog ? Row::log_softmax(in, out, n) : Row::softmax(in, out, n);
}
template <class V, bool kLog, bool kBackward>
CT_INLINE void run_band(const V* in, const V* g, V* out, int64_t n, int64_t inner, int64_t cols) {
  using Band = SoftmaxBand<V>;
  if constexpr (kBackward)
    kLog ? Band::log_softmax_backward(in, g, out, n, inner, cols)
         : Band::softmax_backward(in, g, out, n, inner, cols);
  else
    kLog ? Band::log_softmax(in, out, n, inner, cols) : Band::softmax(in, out, n, inner, cols);
}

// Short rows are turned to columns of a band: of those that are whole lanes only the shortest, and of the
// gradient, which has two operands to turn and no power to compute, none.
constexpr CT_INLINE bool turns(int64_t rows, int64_t n, bool backward) {
  const bool whole = n % kRowLanes == 0;
  return rows >= 8 && (backward ? n < 48 && !whole : n <= kTurned || (n <= kLongestTurned && !whole));
}

// out may be g, or without g in.
template <class V, bool kLog, bool kBackward>
CT_NOINLINE void run_rows(const V* in, const V* g, V* out, int64_t rows, int64_t n) {
  if (!turns(rows, n, kBackward)) {
    for (int64_t i = 0; i < rows * n; i += n)
      run_row<V, kLog, kBackward>(in + i, kBackward ? g + i : nullptr, out + i, n);
    return;
  }
  alignas(64) V x[kTurnedElements], turned_g[kBackward ? kTurnedElements : 1];
  const int64_t turn = rows_to_turn(n);
  for (int64_t r = 0; r < rows; r += turn) {
    const int64_t count = least(turn, rows - r), cols = turned_width<V>(count);
    turn_rows(in + r * n, n, count, n, x);
    if (kBackward) turn_rows(g + r * n, n, count, n, turned_g);
    V* result = kBackward ? turned_g : x;
    run_band<V, kLog, kBackward>(x, result, result, n, cols, cols);
    turn_columns(result, count, n, out + r * n);
  }
}

// Rows of half types are computed in a copy as floats: e^(x - max) once and with all digits, and each element
// converted once, by a loop of nothing else, which for float16 has instructions that loops of more have not.
// A copy of both operands fits L1, unless a row alone is longer.
constexpr int64_t kCopied = 2048;
// A band is as narrow as makes its copy, of each operand, fit half of an L2; below a cache line much is lost.
constexpr int64_t kCopiedBand = 1 << 16, kNarrowest = 32;

template <class T, bool kLog, bool kBackward>
void over_rows(const SoftmaxArgs& a) {
  using V = acc_t<T>;
  const int64_t n = a.n;
  const T* in = static_cast<const T*>(a.in);
  const T* g = static_cast<const T*>(a.grad);
  T* out = static_cast<T*>(a.out);
  auto rows = [&](int64_t from, int64_t to) {
    if constexpr (is_half_v<T>) {
      const int64_t turn = most(1, kCopied / n);
      const Scratch scratch(static_cast<size_t>(turn * n * 2) * sizeof(float));
      float *x = scratch.as<float>(), *result = kBackward ? x + turn * n : x;
      for (int64_t o = from; o < to; o += turn) {
        const int64_t at = o * n, count = least(turn, to - o) * n;
        widen_row(in + at, x, count);
        if (kBackward) widen_row(g + at, result, count);
        run_rows<V, kLog, kBackward>(x, result, result, count / n, n);
        narrow_row(result, out + at, count);
      }
    } else {
      const int64_t at = from * n;
      run_rows<V, kLog, kBackward>(in + at, kBackward ? g + at : nullptr, out + at, to - from, n);
    }
  };
  if (a.outer * n <= kLeastWork) return rows(0, a.outer);
  parallel_for(0, a.outer, most(1, kLeastWork / n), rows);
}

template <class T, bool kLog, bool kBackward>
void over_bands(const SoftmaxArgs& a) {
  using V = acc_t<T>;
  const int64_t n = a.n, inner = a.inner;
  const int64_t widest = is_half_v<T> ? least(kBand, most(kNarrowest, kCopiedBand / n)) : kBand;
  const int64_t width = least(inner, widest);
  const int64_t bands = (inner + width - 1) / width;
  const T* in = static_cast<const T*>(a.in);
  const T* g = static_cast<const T*>(a.grad);
  T* out = static_cast<T*>(a.out);
  parallel_for(0, a.outer * bands, most(1, kLeastWork / (n * width)), [&](int64_t from, int64_t to) {
    const Scratch scratch(is_half_v<T> ? static_cast<size_t>(n * width * 2) * sizeof(float) : 1);
    for (int64_t t = from; t < to; ++t) {
      const int64_t first = t % bands * width, at = t / bands * n * inner + first,
                    cols = least(width, inner - first);
      if constexpr (is_half_v<T>) {
        float *x = scratch.as<float>(), *result = kBackward ? x + n * cols : x;
        const int64_t rows = cols == inner ? 1 : n, run = n * cols / rows;  // a whole matrix is one row
        for (int64_t i = 0; i < rows; ++i) {
          widen_row(in + at + i * inner, x + i * run, run);
          if (kBackward) widen_row(g + at + i * inner, result + i * run, run);
        }
        run_band<V, kLog, kBackward>(x, result, result, n, cols, cols);
        for (int64_t i = 0; i < rows; ++i) narrow_row(result + i * run, out + at + i * inner, run);
      } else {
        run_band<V, kLog, kBackward>(in + at, kBackward ? g + at : nullptr, out + at, n, inner, cols);
      }
    }
  });
}

template <class T, bool kLog, bool kBackward>
void softmax(const SoftmaxArgs& a) {
  a.inner == 1 ? over_rows<T, kLog, kBackward>(a) : over_bands<T, kLog, kBackward>(a);
}

template <class... Ts>
void fill_types(SoftmaxTable& table, TypeList<Ts...>) {
  ((table.softmax[static_cast<int>(dtype_of<Ts>)] = &softmax<Ts, false, false>,
    table.log_softmax[static_cast<int>(dtype_of<Ts>)] = &softmax<Ts, true, false>,
    table.softmax_backward[static_cast<int>(dtype_of<Ts>)] = &softmax<Ts, false, true>,
    table.log_softmax_backward[static_cast<int>(dtype_of<Ts>)] = &softmax<Ts, true, true>),
   ...);
}

}  // namespace

void fill_softmax(SoftmaxTable& table) { fill_types(table, Floats{}); }

}  // namespace ctorch::CT_ISA
