// Row norms read a row three times while it lies in L1 or L2: its mean, its variance about that mean, the
// result; group norms do the same with a group. The channel kernels are single passes over memory.
#include "kernels/norm.h"

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/cpu/gemm_pack.h"
#include "kernels/cpu/lane_row.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/stream.h"

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
        for (int j = 0; j < kRowLanes; ++j) s[j] += widen(p[j]);
      });
      total += s.sum();
    }
    return total;
  }
  // Sums of x - centre and of its square.
  static CT_INLINE void distances(const T* x, int64_t n, V centre, double& sum, double& squares) {
    for (int64_t i = 0; i < n; i += kSumRun) {
      Lanes<V> s(0), q(0);
      const int64_t run = least(kSumRun, n - i), whole = run / kRowLanes * kRowLanes;
      for (int64_t k = 0; k < whole; k += kRowLanes) {
        for (int j = 0; j < kRowLanes; ++j) {
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

  CT_INLINE RowStatistics(acc_t<T> m, acc_t<T> r) : mean(m), rstd(r) {}
  // Run by run, each read once, but the first. Runs are joined as in reduce_moments.cpp.
  CT_INLINE RowStatistics(const T* x, int64_t n, double eps, bool centre) {
    using V = acc_t<T>;
    double whole_mean = 0, whole_m2 = 0;
    for (int64_t start = 0; start < n; start += kSumRun) {
      const int64_t run = least(kSumRun, n - start);
      const double count = static_cast<double>(run), share = count / static_cast<double>(start + run);
      // Of a later run, the mean so far is near enough: where it is far off, what that costs is little beside
      // the distance between the runs, which counts into the whole.
      const V near = !centre ? V(0) : static_cast<V>(start ? whole_mean : Row<T>::sum(x, run) / count);
      double sum = 0, squares = 0;
      Row<T>::distances(x + start, run, near, sum, squares);
      // What the rounded mean misses is put right, in the mean and in the variance.
      const double miss = centre ? sum / count : 0.0, delta = centre ? near + miss - whole_mean : 0.0;
      whole_mean += delta * share;
      whole_m2 += squares - sum * miss + delta * delta * static_cast<double>(start) * share;
    }
    mean = static_cast<V>(whole_mean);
    rstd = static_cast<V>(1 / __builtin_sqrt(whole_m2 / static_cast<double>(n) + eps));
  }
};

// 16 short rows side by side: transposed, so that element i of all of them is one row of lanes. Folding the
// lanes of each row would cost more than the sums.
template <class V>
struct ShortRows {
  static constexpr int64_t kSide = kRowOfLanes, kLongest = 64;
  using Lane = LaneRow<V>;
  Lane mean, rstd;

  static CT_INLINE bool serve(int64_t n) { return n <= kLongest; }
  static CT_INLINE void load(V* to, const V* x, int64_t n) { pack_panel(to, kSide, kSide, n, x, n, 1); }
  static CT_INLINE void store(V* x, const V* from, int64_t n) {
    for (int64_t i = 0; i < n; i += kLanes<V>)
      pack_rows_along_k<V>(x + i, n, least(kLanes<V>, n - i), kSide, from + i * kSide, kSide);
  }

  CT_INLINE ShortRows(const V* x, int64_t n, double eps, bool centre) {
    const Lane share = Lane::all(1 / static_cast<V>(n));
    mean = Lane::all(0);
    for (int64_t i = 0; centre && i < n; ++i) mean = mean + Lane::load(x + i * kSide);
    mean = mean * share;
    Lane sum = Lane::all(0), squares = Lane::all(0);
    for (int64_t i = 0; i < n; ++i) {
      const Lane d = Lane::load(x + i * kSide) - mean;
      sum = sum + d;
      squares = squares + d * d;
    }
    const Lane miss = centre ? sum * share : Lane::all(0);
    mean = mean + miss;
    V var[kSide];
    (squares * share - miss * miss).store(var);
    for (int l = 0; l < kSide; ++l)
      var[l] = static_cast<V>(1 / __builtin_sqrt(static_cast<double>(var[l]) + eps));
    rstd = Lane::load(var);
  }
  // The statistics of rows [row, row + 16) that came with the gradient, or else their own.
  CT_INLINE ShortRows(const V* x, int64_t n, const RowNormBackwardArgs& a, int64_t row) {
    if (a.rstd) {
      mean = a.centre ? Lane::load(static_cast<const V*>(a.mean) + row) : Lane::all(0);
      rstd = Lane::load(static_cast<const V*>(a.rstd) + row);
    } else {
      *this = ShortRows(x, n, a.eps, a.centre);
    }
  }
};

// A row norm of short rows, as many as fill blocks of 16.
template <class V>
void short_rows(const RowNormArgs& a) {
  using Short = ShortRows<V>;
  using Lane = typename Short::Lane;
  constexpr int64_t side = Short::kSide;
  const V* w = static_cast<const V*>(a.weight);
  const V* b = static_cast<const V*>(a.bias);
  const int64_t n = a.n;
  parallel_for(0, a.rows / side, most(1, kLeastWork / (side * n)), [&](int64_t from, int64_t to) {
    alignas(64) V x[Short::kLongest * side];
    for (int64_t r = from * side; r < to * side; r += side) {
      Short::load(x, static_cast<const V*>(a.x) + r * n, n);
      const Short s(x, n, a.eps, a.centre);
      for (int64_t i = 0; i < n; ++i) {
        Lane y = (Lane::load(x + i * side) - s.mean) * s.rstd;
        if (w) y = y * Lane::all(w[i]);
        if (b) y = y + Lane::all(b[i]);
        y.store(x + i * side);
      }
      Short::store(static_cast<V*>(a.y) + r * n, x, n);
      if (a.mean) s.mean.store(static_cast<V*>(a.mean) + r);
      if (a.rstd) s.rstd.store(static_cast<V*>(a.rstd) + r);
    }
  });
}
// Its gradient for rows [from, to), a multiple of 16 of them; sums over the rows are added to dw and db.
template <class V>
void short_rows_backward(const RowNormBackwardArgs& a, int64_t from, int64_t to, V* dw, V* db) {
  using Short = ShortRows<V>;
  using Lane = typename Short::Lane;
  constexpr int64_t side = Short::kSide;
  alignas(64) V x[Short::kLongest * side], g[Short::kLongest * side], sum_gh[Short::kLongest * side],
      sum_g[Short::kLongest * side];
  const int64_t n = a.n;
  const V* w = static_cast<const V*>(a.weight);
  for (int64_t i = 0; i < n * side; ++i) sum_gh[i] = sum_g[i] = 0;
  for (int64_t r = from; r < to; r += side) {
    Short::load(x, static_cast<const V*>(a.x) + r * n, n);
    Short::load(g, static_cast<const V*>(a.grad) + r * n, n);
    const Short s(x, n, a, r);
    Lane sum_d = Lane::all(0), sum_dh = Lane::all(0);
    for (int64_t at = 0; at < n * side; at += side) {
      const Lane h = (Lane::load(x + at) - s.mean) * s.rstd, grad = Lane::load(g + at),
                 d = w ? grad * Lane::all(w[at / side]) : grad;
      (Lane::load(sum_gh + at) + grad * h).store(sum_gh + at);
      (Lane::load(sum_g + at) + grad).store(sum_g + at);
      sum_d = sum_d + d;
      sum_dh = sum_dh + d * h;
      h.store(x + at);
      d.store(g + at);
    }
    if (!a.dx) continue;
    const Lane share = Lane::all(1 / static_cast<V>(n)), slope = sum_dh * share,
               shift = a.centre ? sum_d * share : Lane::all(0);
    for (int64_t at = 0; at < n * side; at += side)
      (s.rstd * (Lane::load(g + at) - shift - Lane::load(x + at) * slope)).store(g + at);
    Short::store(static_cast<V*>(a.dx) + r * n, g, n);
  }
  for (int64_t i = 0; dw && i < n; ++i) {
    for (int l = 0; l < side; ++l) {
      dw[i] += sum_gh[i * side + l];
      db[i] += sum_g[i * side + l];
    }
  }
}

template <class T>
void rows(const RowNormArgs& a) {
  const T* x = static_cast<const T*>(a.x);
  const T* w = static_cast<const T*>(a.weight);
  const T* b = static_cast<const T*>(a.bias);
  int64_t done = 0;
  if constexpr (std::is_same_v<T, acc_t<T>>) {
    if (ShortRows<T>::serve(a.n)) {
      short_rows<T>(a);
      done = a.rows / ShortRows<T>::kSide * ShortRows<T>::kSide;
    }
  }
  parallel_for(done, a.rows, most(1, kLeastWork / a.n), [&](int64_t from, int64_t to) {
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
      int64_t r = a.rows * piece / pieces;
      const int64_t end = a.rows * (piece + 1) / pieces;
      if constexpr (std::is_same_v<T, V>) {
        constexpr int64_t side = ShortRows<V>::kSide;
        if (ShortRows<V>::serve(n)) {
          const int64_t whole = (end - r) / side * side;
          short_rows_backward<V>(a, r, r + whole, dw, db);
          r += whole;
        }
      }
      for (; r < end; ++r) {
        const T* CT_RESTRICT x = static_cast<const T*>(a.x) + r * n;
        const T* CT_RESTRICT g = static_cast<const T*>(a.grad) + r * n;
        const RowStatistics<T> s =
            a.rstd ? RowStatistics<T>(a.centre ? widen(static_cast<const T*>(a.mean)[r]) : V(0),
                                      widen(static_cast<const T*>(a.rstd)[r]))
                   : RowStatistics<T>(x, n, a.eps, a.centre);
        const V mean = s.mean, rstd = s.rstd;
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

// y[i] = value(i); past the caches by way of runs that end at lines of theirs.
template <class T, class Value>
CT_INLINE void write_line(T* CT_RESTRICT y, int64_t n, bool past_caches, Value value) {
  constexpr int64_t size = sizeof(T), run = 1024 / size;
  if (!past_caches || n < run) {
    for (int64_t i = 0; i < n; ++i) y[i] = narrow<T>(value(i));
    return;
  }
  alignas(64) T results[run];
  for (int64_t i = 0, count; i < n; i += count) {
    count = least(n - i, run - static_cast<int64_t>(reinterpret_cast<uintptr_t>(y + i) % 64) / size);
    for (int64_t k = 0; k < count; ++k) results[k] = narrow<T>(value(i + k));
    stream(y + i, results, count * size);
  }
}

// line(offset, coefficient, length) for every (sample, channel) where inner > 1, and for every sample as a
// whole where it is 1; there the coefficients run along with the elements, and `along` is called instead.
template <class Line, class Along>
CT_INLINE void for_channels(const ChannelArgs& a, Line line, Along along) {
  if (a.inner == 1) {
    parallel_for(0, a.samples, most(1, kLeastWork / a.channels), [&](int64_t from, int64_t to) {
      for (int64_t s = from; s < to; ++s)
        along(s * a.channels, a.per_sample ? s / a.repeat * a.channels : 0, a.channels);
      if (a.stream) stream_end();
    });
    return;
  }
  parallel_for(0, a.samples * a.channels, most(1, kLeastWork / a.inner), [&](int64_t from, int64_t to) {
    for (int64_t l = from; l < to; ++l) line(l * a.inner, a.per_sample ? l : l % a.channels, a.inner);
    if (a.stream) stream_end();
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
        write_line(y + at, n, a.stream, [=](int64_t i) { return widen(p[i]) * m + b; });
      },
      [&](int64_t at, int64_t c, int64_t n) {
        const T* CT_RESTRICT p = x + at;
        write_line(y + at, n, a.stream, [=](int64_t i) { return widen(p[i]) * scale[c + i] + shift[c + i]; });
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
        write_line(y + at, n, a.stream,
                   [=](int64_t i) { return widen(d[i]) * m + (widen(p[i]) - centre) * k + b; });
      },
      [&](int64_t at, int64_t c, int64_t n) {
        const T* CT_RESTRICT p = x + at;
        const T* CT_RESTRICT d = g + at;
        write_line(y + at, n, a.stream, [=](int64_t i) {
          return widen(d[i]) * scale[c + i] + (widen(p[i]) - mean[c + i]) * slope[c + i] + shift[c + i];
        });
      });
}

template <class T>
CT_INLINE void line_sums(const T* CT_RESTRICT x, const T* CT_RESTRICT g, int64_t n, acc_t<T> centre,
                         double& sum, double& sum_x) {
  using V = acc_t<T>;
  for (int64_t start = 0; start < n; start += kSumRun) {
    Lanes<V> s(0), sx(0);
    const int64_t end = least(n, start + kSumRun), whole = start + (end - start) / kRowLanes * kRowLanes;
    for (int64_t i = start; i < whole; i += kRowLanes) {
      for (int j = 0; j < kRowLanes; ++j) {
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

// Of (samples, channels), per channel, or with per_sample per channel and `repeat` consecutive rows: blocks
// of 32 rows in the elements' own precision, their sums in double.
template <class T>
void column_sums(const ChannelArgs& a) {
  using V = acc_t<T>;
  constexpr int64_t kBand = 512, kBlock = 32;
  const int64_t channels = a.channels, rows = a.per_sample ? a.repeat : a.samples, sets = a.samples / rows;
  const int64_t pieces = most(1, least((kTasks + sets - 1) / sets, rows * channels / kLeastWork));
  Scratch scratch(static_cast<size_t>(sets * pieces * 2 * channels) * sizeof(double));
  double* parts = scratch.as<double>();
  const V* mean = static_cast<const V*>(a.mean);
  parallel_for(0, sets * pieces, 1, [&](int64_t from, int64_t to) {
    for (int64_t p = from; p < to; ++p) {
      const int64_t set = p / pieces, piece = p % pieces, end = set * rows + rows * (piece + 1) / pieces;
      double* part = parts + p * 2 * channels;
      for (int64_t c = 0; c < 2 * channels; ++c) part[c] = 0;
      const V* centre = mean + (a.per_sample ? set * channels : 0);
      for (int64_t r = set * rows + rows * piece / pieces; r < end; r += kBlock) {
        for (int64_t first = 0; first < channels; first += kBand) {
          V s[kBand], sx[kBand];
          const int64_t band = least(kBand, channels - first);
          for (int64_t c = 0; c < band; ++c) s[c] = sx[c] = 0;
          for (int64_t i = r; i < least(end, r + kBlock); ++i) {
            const T* CT_RESTRICT x = static_cast<const T*>(a.x) + i * channels + first;
            const T* CT_RESTRICT g = static_cast<const T*>(a.grad) + i * channels + first;
            for (int64_t c = 0; c < band; ++c) {
              s[c] += widen(g[c]);
              sx[c] += widen(g[c]) * (widen(x[c]) - centre[first + c]);
            }
          }
          for (int64_t c = 0; c < band; ++c) {
            part[first + c] += s[c];
            part[channels + first + c] += sx[c];
          }
        }
      }
    }
  });
  for (int64_t set = 0; set < sets; ++set) {
    double* sum = a.sum_grad + set * channels;
    double* sum_x = a.sum_grad_x + set * channels;
    for (int64_t c = 0; c < channels; ++c) sum[c] = sum_x[c] = 0;
    for (int64_t p = set * pieces; p < (set + 1) * pieces; ++p) {
      for (int64_t c = 0; c < channels; ++c) {
        sum[c] += parts[p * 2 * channels + c];
        sum_x[c] += parts[p * 2 * channels + channels + c];
      }
    }
  }
}

template <class T>
void sums(const ChannelArgs& a) {
  using V = acc_t<T>;
  const T* x = static_cast<const T*>(a.x);
  const T* g = static_cast<const T*>(a.grad);
  const V* mean = static_cast<const V*>(a.mean);
  if (a.inner > 1) {
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
  column_sums<T>(a);
}

// ---- groups
// --------------------------------------------------------------------------------------------------

// Of samples x groups in row-major memory; a group lies in one piece, and mostly in the L2.
template <class T>
void groups(const GroupNormArgs& a) {
  using V = acc_t<T>;
  const int64_t n = a.per_group * a.inner, channels = a.groups * a.per_group;
  const int64_t lines = a.samples * a.groups;
  parallel_for(0, lines, most(1, kLeastWork / n), [&](int64_t from, int64_t to) {
    for (int64_t line = from; line < to; ++line) {
      const T* CT_RESTRICT x = static_cast<const T*>(a.x) + line * n;
      T* CT_RESTRICT y = static_cast<T*>(a.y) + line * n;
      const RowStatistics<T> s(x, n, a.eps, true);
      a.mean[line] = s.mean;
      a.rstd[line] = s.rstd;
      for (int64_t k = 0; k < a.per_group; ++k, x += a.inner, y += a.inner) {
        const int64_t c = line * a.per_group % channels + k;
        const V scale = static_cast<V>(a.weight[c] * s.rstd), shift = static_cast<V>(a.bias[c]);
        write_line(y, a.inner, a.stream, [=](int64_t i) { return (widen(x[i]) - s.mean) * scale + shift; });
      }
    }
    if (a.stream) stream_end();
  });
}

// With h = (x - mean) rstd: dx = rstd (grad w - mean(grad w) - h mean(grad w h)), means over the group. Reads
// both operands from memory once: all that follows finds them in the L2.
template <class T>
void groups_backward(const GroupNormArgs& a) {
  using V = acc_t<T>;
  const int64_t n = a.per_group * a.inner, channels = a.groups * a.per_group;
  const int64_t lines = a.samples * a.groups;
  parallel_for(0, lines, most(1, kLeastWork / n), [&](int64_t from, int64_t to) {
    for (int64_t line = from; line < to; ++line) {
      const T* CT_RESTRICT x = static_cast<const T*>(a.x) + line * n;
      const T* CT_RESTRICT g = static_cast<const T*>(a.grad) + line * n;
      T* CT_RESTRICT y = static_cast<T*>(a.y) + line * n;
      const RowStatistics<T> s =
          a.mean ? RowStatistics<T>(static_cast<V>(a.mean[line]), static_cast<V>(a.rstd[line]))
                 : RowStatistics<T>(x, n, a.eps, true);
      const double* w = a.weight + line * a.per_group % channels;
      double weighted = 0, weighted_x = 0;
      for (int64_t k = 0; k < a.per_group; ++k) {
        double sum = 0, sum_x = 0;
        line_sums(x + k * a.inner, g + k * a.inner, a.inner, s.mean, sum, sum_x);
        weighted += w[k] * sum;
        weighted_x += w[k] * sum_x;
        a.sum_grad[line * a.per_group + k] = sum;
        a.sum_grad_h[line * a.per_group + k] = sum_x * s.rstd;
      }
      const double r = s.rstd, count = static_cast<double>(n);
      const V slope = static_cast<V>(-weighted_x * r * r * r / count),
              shift = static_cast<V>(-weighted * r / count);
      for (int64_t k = 0; k < a.per_group; ++k, x += a.inner, g += a.inner, y += a.inner) {
        const V scale = static_cast<V>(w[k] * r);
        write_line(y, a.inner, a.stream,
                   [=](int64_t i) { return widen(g[i]) * scale + (widen(x[i]) - s.mean) * slope + shift; });
      }
    }
    if (a.stream) stream_end();
  });
}

template <class... Ts>
void fill_types(NormTable& table, TypeList<Ts...>) {
  ((table.rows[static_cast<int>(dtype_of<Ts>)] = &rows<Ts>,
    table.rows_backward[static_cast<int>(dtype_of<Ts>)] = &rows_backward<Ts>,
    table.affine[static_cast<int>(dtype_of<Ts>)] = &affine<Ts>,
    table.affine_backward[static_cast<int>(dtype_of<Ts>)] = &affine_backward<Ts>,
    table.sums[static_cast<int>(dtype_of<Ts>)] = &sums<Ts>,
    table.groups[static_cast<int>(dtype_of<Ts>)] = &groups<Ts>,
    table.groups_backward[static_cast<int>(dtype_of<Ts>)] = &groups_backward<Ts>),
   ...);
}

}  // namespace

void fill_norm(NormTable& table) { fill_types(table, Floats{}); }

}  // namespace ctorch::CT_ISA
