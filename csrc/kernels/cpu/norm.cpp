// Row norms read a row three times while it lies in L1 or L2: its mean, its variance about that mean, the
// result. The channel kernels are single passes over memory.
#include "kernels/norm.h"

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/cpu/rows.h"

namespace ctorch::CT_ISA {
namespace {

constexpr int64_t kLeastWork = 16384;  // elements that are worth handing to a thread
constexpr int64_t kSumRun = 8192;      // elements whose sum is kept in the lanes' own precision
constexpr int64_t kTasks = 64;         // parts into which sums over rows are cut, for any number of threads

constexpr CT_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr CT_INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

template <class T>
struct Row {
  using V = acc_t<T>;

  static CT_INLINE double sum(const T* x, int64_t n) {
    double total = 0;
    for (int64_t i = 0; i < n; i += kSumRun) {
      Lanes<V> s(0);
      read_lanes(x + i, least(kSumRun, n - i), 0, [&](const T* p) __attribute__((always_inline)) {
        for (int j = 0; j < kLanes; ++j) s[j] += widen(p[j]);
      });
      total += s.sum();
    }
    return total;
  }
  // Sums of x - centre and of its square.
  static CT_INLINE void distances(const T* x, int64_t n, V centre, double& sum, double& squares) {
    for (int64_t i = 0; i < n; i += kSumRun) {
      Lanes<V> s(0), q(0);
      const int64_t run = least(kSumRun, n - i), whole = run / kLanes * kLanes;
      for (int64_t k = 0; k < whole; k += kLanes) {
        for (int j = 0; j < kLanes; ++j) {
          const V d = widen(x[i + k + j]) - centre;
          s[j] += d;
          q[j] += d * d;
        }
      }
      for (int64_t k = whole; k < run; ++k) {
        const V d = widen(x[i + k]) - centre;
        s[static_cast<int>(k - whole)] += d;
        q[static_cast<int>(k - whole)] += d * d;
      }
      sum += s.sum();
      squares += q.sum();
    }
  }
  static CT_INLINE void write(const T* CT_RESTRICT x, int64_t n, V mean, V rstd, const T* CT_RESTRICT w,
                              const T* CT_RESTRICT b, T* CT_RESTRICT y) {
    if (w && b) {
      for (int64_t i = 0; i < n; ++i)
        y[i] = narrow<T>((widen(x[i]) - mean) * rstd * widen(w[i]) + widen(b[i]));
    } else if (w) {
      for (int64_t i = 0; i < n; ++i) y[i] = narrow<T>((widen(x[i]) - mean) * rstd * widen(w[i]));
    } else if (b) {
      for (int64_t i = 0; i < n; ++i) y[i] = narrow<T>((widen(x[i]) - mean) * rstd + widen(b[i]));
    } else {
      for (int64_t i = 0; i < n; ++i) y[i] = narrow<T>((widen(x[i]) - mean) * rstd);
    }
  }
};

template <class T>
struct RowStatistics {
  acc_t<T> mean, rstd;

  CT_INLINE RowStatistics(const T* x, int64_t n, double eps, bool centre) {
    using V = acc_t<T>;
    const double count = static_cast<double>(n);
    mean = centre ? static_cast<V>(Row<T>::sum(x, n) / count) : V(0);
    double sum = 0, squares = 0;
    Row<T>::distances(x, n, mean, sum, squares);
    // What the rounded mean misses is put right, in the mean and in the variance.
    const double miss = centre ? sum / count : 0.0;
    mean = static_cast<V>(mean + miss);
    rstd = static_cast<V>(1 / __builtin_sqrt(squares / count - miss * miss + eps));
  }
};

template <class T>
void rows(const RowNormArgs& a) {
  const T* x = static_cast<const T*>(a.x);
  const T* w = static_cast<const T*>(a.weight);
  const T* b = static_cast<const T*>(a.bias);
  parallel_for(0, a.rows, most(1, kLeastWork / a.n), [&](int64_t from, int64_t to) {
    for (int64_t r = from; r < to; ++r) {
      const T* p = x + r * a.n;
      const RowStatistics<T> s(p, a.n, a.eps, a.centre);
      Row<T>::write(p, a.n, s.mean, s.rstd, w, b, static_cast<T*>(a.y) + r * a.n);
      if (a.mean) static_cast<T*>(a.mean)[r] = narrow<T>(s.mean);
      if (a.rstd) static_cast<T*>(a.rstd)[r] = narrow<T>(s.rstd);
    }
  });
}

// With h = (x - mean) rstd and d = grad weight:  dx = rstd (d - mean(d) - h mean(d h)), dweight = sum grad h,
// dbias = sum grad.
template <class T>
void rows_backward(const RowNormBackwardArgs& a) {
  using V = acc_t<T>;
  const int64_t n = a.n, pieces = most(1, least(kTasks, a.rows * n / kLeastWork));
  const bool sums = a.dweight || a.dbias;
  Scratch scratch(sums ? static_cast<size_t>(pieces * 2 * n) * sizeof(V) : 1);
  const T* w = static_cast<const T*>(a.weight);
  parallel_for(0, pieces, 1, [&](int64_t from, int64_t to) {
    for (int64_t piece = from; piece < to; ++piece) {
      V* CT_RESTRICT dw = sums ? scratch.as<V>() + piece * 2 * n : nullptr;
      V* CT_RESTRICT db = sums ? dw + n : nullptr;
      for (int64_t i = 0; sums && i < 2 * n; ++i) dw[i] = 0;
      for (int64_t r = a.rows * piece / pieces; r < a.rows * (piece + 1) / pieces; ++r) {
        const T* CT_RESTRICT x = static_cast<const T*>(a.x) + r * n;
        const T* CT_RESTRICT g = static_cast<const T*>(a.grad) + r * n;
        V mean = 0, rstd;
        if (a.rstd) {
          mean = a.centre ? widen(static_cast<const T*>(a.mean)[r]) : V(0);
          rstd = widen(static_cast<const T*>(a.rstd)[r]);
        } else {
          const RowStatistics<T> s(x, n, a.eps, a.centre);
          mean = s.mean;
          rstd = s.rstd;
        }
        if (sums) {
          for (int64_t i = 0; i < n; ++i) {
            dw[i] += widen(g[i]) * ((widen(x[i]) - mean) * rstd);
            db[i] += widen(g[i]);
          }
        }
        if (!a.dx) continue;
        double sum_d = 0, sum_dh = 0;
        for (int64_t start = 0; start < n; start += kSumRun) {
          V sd = 0, sdh = 0;
          const int64_t end = least(n, start + kSumRun);
          if (w) {
#pragma omp simd reduction(+ : sd, sdh)
            for (int64_t i = start; i < end; ++i) {
              const V d = widen(g[i]) * widen(w[i]);
              sd += d;
              sdh += d * (widen(x[i]) - mean);
            }
          } else {
#pragma omp simd reduction(+ : sd, sdh)
            for (int64_t i = start; i < end; ++i) {
              const V d = widen(g[i]);
              sd += d;
              sdh += d * (widen(x[i]) - mean);
            }
          }
          sum_d += sd;
          sum_dh += sdh;
        }
        const V shift = a.centre ? static_cast<V>(sum_d / static_cast<double>(n)) : V(0);
        const V slope = static_cast<V>(sum_dh * rstd * rstd / static_cast<double>(n));
        T* CT_RESTRICT dx = static_cast<T*>(a.dx) + r * n;
        if (w) {
          for (int64_t i = 0; i < n; ++i) {
            dx[i] = narrow<T>(rstd * (widen(g[i]) * widen(w[i]) - shift - (widen(x[i]) - mean) * slope));
          }
        } else {
          for (int64_t i = 0; i < n; ++i)
            dx[i] = narrow<T>(rstd * (widen(g[i]) - shift - (widen(x[i]) - mean) * slope));
        }
      }
    }
  });
  if (!sums) return;
  V* total = scratch.as<V>();
  for (int64_t piece = 1; piece < pieces; ++piece) {
    const V* part = total + piece * 2 * n;
    for (int64_t i = 0; i < 2 * n; ++i) total[i] += part[i];
  }
  for (int64_t i = 0; a.dweight && i < n; ++i) static_cast<T*>(a.dweight)[i] = narrow<T>(total[i]);
  for (int64_t i = 0; a.dbias && i < n; ++i) static_cast<T*>(a.dbias)[i] = narrow<T>(total[n + i]);
}

// line(offset, coefficient, length) for every (sample, channel) where inner > 1, and for every sample as a
// whole where it is 1; there the coefficients run along with the elements, and `along` is called instead.
template <class Line, class Along>
CT_INLINE void for_channels(const ChannelArgs& a, Line line, Along along) {
  if (a.inner == 1) {
    parallel_for(0, a.samples, most(1, kLeastWork / a.channels), [&](int64_t from, int64_t to) {
      for (int64_t s = from; s < to; ++s)
        along(s * a.channels, a.per_sample ? s * a.channels : 0, a.channels);
    });
    return;
  }
  parallel_for(0, a.samples * a.channels, most(1, kLeastWork / a.inner), [&](int64_t from, int64_t to) {
    for (int64_t l = from; l < to; ++l) line(l * a.inner, a.per_sample ? l : l % a.channels, a.inner);
  });
}

template <class T>
void affine(const ChannelArgs& a) {
  using V = acc_t<T>;
  const T* x = static_cast<const T*>(a.x);
  T* y = static_cast<T*>(a.y);
  const V* scale = static_cast<const V*>(a.scale);
  const V* shift = static_cast<const V*>(a.shift);
  for_channels(
      a,
      [&](int64_t at, int64_t c, int64_t n) {
        const V m = scale[c], b = shift[c];
        const T* CT_RESTRICT p = x + at;
        T* CT_RESTRICT q = y + at;
        for (int64_t i = 0; i < n; ++i) q[i] = narrow<T>(widen(p[i]) * m + b);
      },
      [&](int64_t at, int64_t c, int64_t n) {
        const T* CT_RESTRICT p = x + at;
        T* CT_RESTRICT q = y + at;
        for (int64_t i = 0; i < n; ++i) q[i] = narrow<T>(widen(p[i]) * scale[c + i] + shift[c + i]);
      });
}

template <class T>
void affine_backward(const ChannelArgs& a) {
  using V = acc_t<T>;
  const T* x = static_cast<const T*>(a.x);
  const T* g = static_cast<const T*>(a.grad);
  T* y = static_cast<T*>(a.y);
  const V* mean = static_cast<const V*>(a.mean);
  const V* scale = static_cast<const V*>(a.scale);
  const V* slope = static_cast<const V*>(a.slope);
  const V* shift = static_cast<const V*>(a.shift);
  for_channels(
      a,
      [&](int64_t at, int64_t c, int64_t n) {
        const V m = scale[c], k = slope[c], b = shift[c], centre = mean[c];
        const T* CT_RESTRICT p = x + at;
        const T* CT_RESTRICT d = g + at;
        T* CT_RESTRICT q = y + at;
        for (int64_t i = 0; i < n; ++i) q[i] = narrow<T>(widen(d[i]) * m + (widen(p[i]) - centre) * k + b);
      },
      [&](int64_t at, int64_t c, int64_t n) {
        const T* CT_RESTRICT p = x + at;
        const T* CT_RESTRICT d = g + at;
        T* CT_RESTRICT q = y + at;
        for (int64_t i = 0; i < n; ++i) {
          q[i] = narrow<T>(widen(d[i]) * scale[c + i] + (widen(p[i]) - mean[c + i]) * slope[c + i] +
                           shift[c + i]);
        }
      });
}

template <class T>
CT_INLINE void line_sums(const T* CT_RESTRICT x, const T* CT_RESTRICT g, int64_t n, acc_t<T> centre,
                         double& sum, double& sum_x) {
  using V = acc_t<T>;
  for (int64_t start = 0; start < n; start += kSumRun) {
    Lanes<V> s(0), sx(0);
    const int64_t end = least(n, start + kSumRun), whole = start + (end - start) / kLanes * kLanes;
    for (int64_t i = start; i < whole; i += kLanes) {
      for (int j = 0; j < kLanes; ++j) {
        const V d = widen(g[i + j]);
        s[j] += d;
        sx[j] += d * (widen(x[i + j]) - centre);
      }
    }
    for (int64_t i = whole; i < end; ++i) {
      const V d = widen(g[i]);
      s[static_cast<int>(i - whole)] += d;
      sx[static_cast<int>(i - whole)] += d * (widen(x[i]) - centre);
    }
    sum += s.sum();
    sum_x += sx.sum();
  }
}

template <class T>
void sums(const ChannelArgs& a) {
  using V = acc_t<T>;
  const T* x = static_cast<const T*>(a.x);
  const T* g = static_cast<const T*>(a.grad);
  const V* mean = static_cast<const V*>(a.mean);
  if (a.inner > 1 || a.per_sample) {
    const int64_t lines = a.per_sample ? a.samples * a.channels : a.channels;
    const int64_t work = a.per_sample ? a.inner : a.inner * a.samples;
    parallel_for(0, lines, most(1, kLeastWork / work), [&](int64_t from, int64_t to) {
      for (int64_t l = from; l < to; ++l) {
        double sum = 0, sum_x = 0;
        if (a.per_sample) {
          line_sums(x + l * a.inner, g + l * a.inner, a.inner, mean[l], sum, sum_x);
        } else {
          for (int64_t s = 0; s < a.samples; ++s) {
            const int64_t at = (s * a.channels + l) * a.inner;
            line_sums(x + at, g + at, a.inner, mean[l], sum, sum_x);
          }
        }
        a.sum_grad[l] = sum;
        a.sum_grad_x[l] = sum_x;
      }
    });
    return;
  }
  // (samples, channels): bands of channels, summed over the samples in double.
  constexpr int64_t kBand = 128;
  parallel_for(0, (a.channels + kBand - 1) / kBand, most(1, kLeastWork / (kBand * a.samples)),
               [&](int64_t from, int64_t to) {
                 const int64_t first = from * kBand, last = least(a.channels, to * kBand);
                 for (int64_t c = first; c < last; ++c) a.sum_grad[c] = a.sum_grad_x[c] = 0;
                 for (int64_t s = 0; s < a.samples; ++s) {
                   const T* CT_RESTRICT p = x + s * a.channels;
                   const T* CT_RESTRICT d = g + s * a.channels;
                   double* CT_RESTRICT sum = a.sum_grad;
                   double* CT_RESTRICT sum_x = a.sum_grad_x;
                   for (int64_t c = first; c < last; ++c) {
                     sum[c] += widen(d[c]);
                     sum_x[c] += widen(d[c]) * (widen(p[c]) - mean[c]);
                   }
                 }
               });
}

template <class... Ts>
void fill_types(NormTable& table, TypeList<Ts...>) {
  ((table.rows[static_cast<int>(dtype_of<Ts>)] = &rows<Ts>,
    table.rows_backward[static_cast<int>(dtype_of<Ts>)] = &rows_backward<Ts>,
    table.affine[static_cast<int>(dtype_of<Ts>)] = &affine<Ts>,
    table.affine_backward[static_cast<int>(dtype_of<Ts>)] = &affine_backward<Ts>,
    table.sums[static_cast<int>(dtype_of<Ts>)] = &sums<Ts>),
   ...);
}

}  // namespace

void fill_norm(NormTable& table) { fill_types(table, Floats{}); }

}  // namespace ctorch::CT_ISA
