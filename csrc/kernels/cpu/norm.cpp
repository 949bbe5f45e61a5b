// Row norms read a row three times while it lies in L1 or L2: its mean, its variance about that mean, the
// result. The channel kernels are single passes over memory.
#include "kernels/norm.h"

#include "core/scratch.h"
#include "kernels/cpu/gemm_pack.h"
#include "kernels/cpu/lane_row.h"
#include "kernels/cpu/norm_parts.h"

namespace ctorch::CT_ISA {

void fill_norm_groups(NormTable& table);

namespace {

constexpr int64_t kTasks = 64;  // parts into which sums over rows are cut, for any number of threads

template <class T>
struct Row {
  using V = acc_t<T>;
  V mean, rstd;

  CT_INLINE Row(V m, V r) : mean(m), rstd(r) {}
  CT_INLINE Row(const T* x, int64_t n, double eps, bool centre) {
    const Statistics<T> s(Pieces<T>{x, 1, n, n}, centre);
    mean = static_cast<V>(s.mean);
    rstd = s.rstd(eps);
  }
  CT_INLINE void write(const T* CT_RESTRICT x, int64_t n, const T* CT_RESTRICT w, const T* CT_RESTRICT b,
                       T* CT_RESTRICT y) const {
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
      const Row<T> s(p, a.n, a.eps, a.centre);
      s.write(p, a.n, w, b, static_cast<T*>(a.y) + r * a.n);
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
        const Row<T> s = a.rstd ? Row<T>(a.centre ? widen(static_cast<const T*>(a.mean)[r]) : V(0),
                                         widen(static_cast<const T*>(a.rstd)[r]))
                                : Row<T>(x, n, a.eps, a.centre);
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

void fill_norm(NormTable& table) {
  fill_types(table, Floats{});
  fill_norm_groups(table);
}

}  // namespace ctorch::CT_ISA
