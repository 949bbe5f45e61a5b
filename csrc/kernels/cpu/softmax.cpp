// Softmax: y = e^(x - max) / sum e^(x - max). A row lies in L1 or L2 while it is read three times; where the
// map runs over an outer dim, bands of columns take the place of rows.
#include "kernels/softmax.h"

#include "core/parallel.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/vec_math.h"

namespace ctorch::CT_ISA {
namespace {

constexpr int64_t kLeastWork = 8192;  // elements, of about 1 ns each, that are worth handing to a thread
constexpr int64_t kSumRun = 8192;     // elements whose sum is kept in the lanes' own precision
constexpr int64_t kBand =
    256;  // columns of a band: narrower ones, which would fit the L2 whole, lose more to the pages touched

constexpr CT_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr CT_INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

// Rows of half types of these lengths are computed in a float copy: e^(x - max) once, and each element
// converted once, by a loop of nothing else, which for float16 has instructions that loops of more have not.
// The copy fits L1; shorter rows would lose more to the calls and the ends of the loops.
constexpr int64_t kLeastCopied = 256, kMostCopied = 4096;

template <class T, class Run>
CT_INLINE bool run_in_floats(const T* x, T* y, int64_t n, Run run) {
  if constexpr (is_half_v<T>) {
    if (n >= kLeastCopied && n <= kMostCopied) {
      alignas(64) float row[kMostCopied];
      widen_row(x, row, n);
      run(row);
      narrow_row(row, y, n);
      return true;
    }
  }
  return false;
}

template <class T>
struct SoftmaxRow {
  using V = acc_t<T>;
  // Half types would lose digits if e^(x - max) were stored in them, and compute it twice.
  static constexpr bool kStore = !is_half_v<T>;

  static CT_INLINE V max_of(const T* x, int64_t n) {
    Lanes<V> best(-__builtin_inf());
    read_lanes(x, n, -__builtin_inf(), [&](const T* p) __attribute__((always_inline)) {
      for (int j = 0; j < kRowLanes; ++j) best[j] = Lanes<V>::greater(best[j], widen(p[j]));
    });
    return best.max();
  }
  static CT_INLINE double sum_exp(const T* x, int64_t n, V max) {
    double total = 0;
    for (int64_t i = 0; i < n; i += kSumRun) {
      Lanes<V> sum(0);
      read_lanes(x + i, least(kSumRun, n - i), -__builtin_inf(),
                 [&](const T* p) __attribute__((always_inline)) {
                   for (int j = 0; j < kRowLanes; ++j) sum[j] += exp_below_zero(widen(p[j]) - max);
                 });
      total += sum.sum();
    }
    return total;
  }

  static CT_NOINLINE void softmax(const T* x, T* y, int64_t n) {
    if (run_in_floats(x, y, n, [&](float* row) { SoftmaxRow<float>::softmax(row, row, n); })) return;
    const V max = max_of(x, n);
    if constexpr (kStore) {
      double total = 0;
      for (int64_t i = 0; i < n; i += kSumRun) {
        Lanes<V> sum(0);
        map_lanes(x + i, y + i, least(kSumRun, n - i), -__builtin_inf(),
                  [&](const T* p, T* q) __attribute__((always_inline)) {
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
    } else {
      const V scale = static_cast<V>(1 / sum_exp(x, n, max));
      map_lanes(x, y, n, -__builtin_inf(), [&](const T* p, T* q) __attribute__((always_inline)) {
        for (int j = 0; j < kRowLanes; ++j) q[j] = narrow<T>(exp_below_zero(widen(p[j]) - max) * scale);
      });
    }
  }
  static CT_NOINLINE void log_softmax(const T* x, T* y, int64_t n) {
    // The exponential is computed once anyway, and bfloat16 costs little to convert.
    if constexpr (std::is_same_v<T, Half>)
      if (run_in_floats(x, y, n, [&](float* row) { SoftmaxRow<float>::log_softmax(row, row, n); })) return;
    const V max = max_of(x, n);
    const V log_sum = static_cast<V>(__builtin_log(sum_exp(x, n, max)));
    for (int64_t i = 0; i < n; ++i) y[i] = narrow<T>(widen(x[i]) - max - log_sum);
  }
  static CT_NOINLINE void softmax_backward(const T* y, const T* g, T* out, int64_t n) {
    double total = 0;
    for (int64_t i = 0; i < n; i += kSumRun) {
      Lanes<V> sum(0);
      read_lanes2(y + i, g + i, least(kSumRun, n - i),
                  [&](const T* p, const T* q) __attribute__((always_inline)) {
                    for (int j = 0; j < kRowLanes; ++j) sum[j] += widen(p[j]) * widen(q[j]);
                  });
      total += sum.sum();
    }
    const V dot = static_cast<V>(total);
    for (int64_t i = 0; i < n; ++i) out[i] = narrow<T>((widen(g[i]) - dot) * widen(y[i]));
  }
  static CT_NOINLINE void log_softmax_backward(const T* y, const T* g, T* out, int64_t n) {
    double total = 0;
    for (int64_t i = 0; i < n; i += kSumRun) {
      Lanes<V> sum(0);
      read_lanes(g + i, least(kSumRun, n - i), 0, [&](const T* p) __attribute__((always_inline)) {
        for (int j = 0; j < kRowLanes; ++j) sum[j] += widen(p[j]);
      });
      total += sum.sum();
    }
    const V sum = static_cast<V>(total);
    const int64_t whole = n / kRowLanes * kRowLanes;
    auto run = [&](const T* p, const T* q, T* r) __attribute__((always_inline)) {
      for (int j = 0; j < kRowLanes; ++j) r[j] = narrow<T>(widen(q[j]) - exp_below_zero(widen(p[j])) * sum);
    };
    for (int64_t i = 0; i < whole; i += kRowLanes) run(y + i, g + i, out + i);
    if (whole == n) return;
    T py[kRowLanes] = {}, pg[kRowLanes] = {}, pr[kRowLanes];
    const size_t bytes = static_cast<size_t>(n - whole) * sizeof(T);
    std::memcpy(py, y + whole, bytes);
    std::memcpy(pg, g + whole, bytes);
    run(py, pg, pr);
    std::memcpy(out + whole, pr, bytes);
  }
};

// x, y, g: a band of `cols` columns of (n, inner) matrices.
template <class T>
struct SoftmaxBand {
  using V = acc_t<T>;

  static CT_INLINE void max_of(const T* CT_RESTRICT x, int64_t n, int64_t inner, int64_t cols,
                               V* CT_RESTRICT max) {
    for (int64_t j = 0; j < cols; ++j) max[j] = widen(x[j]);
    for (int64_t i = 1; i < n; ++i) {
      for (int64_t j = 0; j < cols; ++j) max[j] = Lanes<V>::greater(max[j], widen(x[i * inner + j]));
    }
  }
  static CT_INLINE void sum_exp(const T* CT_RESTRICT x, int64_t n, int64_t inner, int64_t cols,
                                const V* CT_RESTRICT max, V* CT_RESTRICT sum) {
    for (int64_t j = 0; j < cols; ++j) sum[j] = 0;
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < cols; ++j) sum[j] += exp_below_zero(widen(x[i * inner + j]) - max[j]);
    }
  }
  static CT_NOINLINE void softmax(const T* CT_RESTRICT x, T* CT_RESTRICT y, int64_t n, int64_t inner,
                                  int64_t cols) {
    V max[kBand], sum[kBand];
    max_of(x, n, inner, cols, max);
    if constexpr (SoftmaxRow<T>::kStore) {
      for (int64_t j = 0; j < cols; ++j) sum[j] = 0;
      for (int64_t i = 0; i < n; ++i) {
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
    } else {
      sum_exp(x, n, inner, cols, max, sum);
      for (int64_t j = 0; j < cols; ++j) sum[j] = 1 / sum[j];
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 0; j < cols; ++j) {
          y[i * inner + j] = narrow<T>(exp_below_zero(widen(x[i * inner + j]) - max[j]) * sum[j]);
        }
      }
    }
  }
  static CT_NOINLINE void log_softmax(const T* CT_RESTRICT x, T* CT_RESTRICT y, int64_t n, int64_t inner,
                                      int64_t cols) {
    V max[kBand], sum[kBand];
    max_of(x, n, inner, cols, max);
    sum_exp(x, n, inner, cols, max, sum);
    for (int64_t j = 0; j < cols; ++j) sum[j] = math::log(sum[j]);
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < cols; ++j)
        y[i * inner + j] = narrow<T>(widen(x[i * inner + j]) - max[j] - sum[j]);
    }
  }
  static CT_NOINLINE void softmax_backward(const T* CT_RESTRICT y, const T* CT_RESTRICT g, T* CT_RESTRICT out,
                                           int64_t n, int64_t inner, int64_t cols) {
    V dot[kBand];
    for (int64_t j = 0; j < cols; ++j) dot[j] = 0;
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < cols; ++j) dot[j] += widen(y[i * inner + j]) * widen(g[i * inner + j]);
    }
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < cols; ++j) {
        out[i * inner + j] = narrow<T>((widen(g[i * inner + j]) - dot[j]) * widen(y[i * inner + j]));
      }
    }
  }
  static CT_NOINLINE void log_softmax_backward(const T* CT_RESTRICT y, const T* CT_RESTRICT g,
                                               T* CT_RESTRICT out, int64_t n, int64_t inner, int64_t cols) {
    V sum[kBand];
    for (int64_t j = 0; j < cols; ++j) sum[j] = 0;
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < cols; ++j) sum[j] += widen(g[i * inner + j]);
    }
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < cols; ++j) {
        out[i * inner + j] =
            narrow<T>(widen(g[i * inner + j]) - exp_below_zero(widen(y[i * inner + j])) * sum[j]);
      }
    }
  }
};

// row(offset) for every row, or band(offset, columns) for every band.
template <class Row, class Band>
CT_INLINE void for_lines(const SoftmaxArgs& a, Row row, Band band) {
  if (a.inner == 1) {
    auto rows = [&](int64_t from, int64_t to) {
      for (int64_t o = from; o < to; ++o) row(o * a.n);
    };
    if (a.outer * a.n <= kLeastWork) return rows(0, a.outer);
    return parallel_for(0, a.outer, most(1, kLeastWork / a.n), rows);
  }
  const int64_t bands = (a.inner + kBand - 1) / kBand;
  parallel_for(0, a.outer * bands, most(1, kLeastWork / (a.n * least(a.inner, kBand))),
               [&](int64_t from, int64_t to) {
                 for (int64_t t = from; t < to; ++t) {
                   const int64_t first = t % bands * kBand;
                   band(t / bands * a.n * a.inner + first, least(kBand, a.inner - first));
                 }
               });
}

template <class T, bool kLog>
void forward(const SoftmaxArgs& a) {
  const T* x = static_cast<const T*>(a.in);
  T* y = static_cast<T*>(a.out);
  for_lines(
      a,
      [&](int64_t at) {
        kLog ? SoftmaxRow<T>::log_softmax(x + at, y + at, a.n) : SoftmaxRow<T>::softmax(x + at, y + at, a.n);
      },
      [&](int64_t at, int64_t cols) {
        kLog ? SoftmaxBand<T>::log_softmax(x + at, y + at, a.n, a.inner, cols)
             : SoftmaxBand<T>::softmax(x + at, y + at, a.n, a.inner, cols);
      });
}
template <class T, bool kLog>
void backward(const SoftmaxArgs& a) {
  const T* y = static_cast<const T*>(a.in);
  const T* g = static_cast<const T*>(a.grad);
  T* out = static_cast<T*>(a.out);
  for_lines(
      a,
      [&](int64_t at) {
        kLog ? SoftmaxRow<T>::log_softmax_backward(y + at, g + at, out + at, a.n)
             : SoftmaxRow<T>::softmax_backward(y + at, g + at, out + at, a.n);
      },
      [&](int64_t at, int64_t cols) {
        kLog ? SoftmaxBand<T>::log_softmax_backward(y + at, g + at, out + at, a.n, a.inner, cols)
             : SoftmaxBand<T>::softmax_backward(y + at, g + at, out + at, a.n, a.inner, cols);
      });
}

template <class... Ts>
void fill_types(SoftmaxTable& table, TypeList<Ts...>) {
  ((table.softmax[static_cast<int>(dtype_of<Ts>)] = &forward<Ts, false>,
    table.log_softmax[static_cast<int>(dtype_of<Ts>)] = &forward<Ts, true>,
    table.softmax_backward[static_cast<int>(dtype_of<Ts>)] = &backward<Ts, false>,
    table.log_softmax_backward[static_cast<int>(dtype_of<Ts>)] = &backward<Ts, true>),
   ...);
}

}  // namespace

void fill_softmax(SoftmaxTable& table) { fill_types(table, Floats{}); }

}  // namespace ctorch::CT_ISA
