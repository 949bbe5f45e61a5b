// Norms of rows. Short rows are computed sixteen side by side.
#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/cpu/lane_row.h"
#include "kernels/cpu/norm_row.h"
#include "kernels/cpu/turn.h"

namespace ctorch::CT_ISA {
namespace {

template <class V>
struct RowStatistics {
  V mean, rstd;

  CT_INLINE RowStatistics(const V* x, int64_t n, double eps, bool centre) {
    const Statistics<V> s(Pieces<V>{x, 1, n, n}, centre);
    mean = static_cast<V>(s.mean);
    rstd = s.rstd(eps);
  }
  // y may be x.
  CT_INLINE void write(const V* x, int64_t n, const V* CT_RESTRICT w, const V* CT_RESTRICT b, V* y) const {
    if (w && b) {
#pragma GCC ivdep
      for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - mean) * rstd * w[i] + b[i];
    } else if (w) {
#pragma GCC ivdep
      for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - mean) * rstd * w[i];
    } else if (b) {
#pragma GCC ivdep
      for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - mean) * rstd + b[i];
    } else {
#pragma GCC ivdep
      for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - mean) * rstd;
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
  static CT_INLINE void load(V* to, const V* x, int64_t n) { turn_rows(x, n, kSide, n, to); }
  static CT_INLINE void store(V* x, const V* from, int64_t n) { turn_columns(from, kSide, n, x); }

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

// The row norm of short rows [0, rows), a multiple of 16 of them.
template <class V>
CT_NOINLINE void short_rows(const RowNormArgs& a, int64_t rows) {
  using Short = ShortRows<V>;
  using Lane = typename Short::Lane;
  constexpr int64_t side = Short::kSide;
  const V* w = static_cast<const V*>(a.weight);
  const V* b = static_cast<const V*>(a.bias);
  const int64_t n = a.n;
  alignas(64) V x[Short::kLongest * side];
  for (int64_t r = 0; r < rows; r += side) {
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
}
// Its gradient; sums over the rows are added to dw and db.
template <class V>
CT_NOINLINE void short_rows_backward(const RowNormBackwardArgs& a, int64_t rows, V* dw, V* db) {
  using Short = ShortRows<V>;
  using Lane = typename Short::Lane;
  constexpr int64_t side = Short::kSide;
  alignas(64) V x[Short::kLongest * side], g[Short::kLongest * side], sum_gh[Short::kLongest * side],
      sum_g[Short::kLongest * side];
  const int64_t n = a.n;
  const V* w = static_cast<const V*>(a.weight);
  for (int64_t i = 0; i < n * side; ++i) sum_gh[i] = sum_g[i] = 0;
  for (int64_t r = 0; r < rows; r += side) {
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

// Rows in turn: as many as a copy of them as floats fits L1 with room for all else, and blocks of 16 short
// ones.
constexpr int64_t kCopied = 2048;
template <class V>
CT_INLINE int64_t rows_in_turn(int64_t n) {
  constexpr int64_t side = ShortRows<V>::kSide;
  return ShortRows<V>::serve(n) ? kCopied / n / side * side : most(1, kCopied / n);
}

// Rows are computed as V; x and y may be the same memory.
template <class V>
CT_NOINLINE void normalize_rows(const RowNormArgs& a) {
  constexpr int64_t side = ShortRows<V>::kSide;
  const int64_t n = a.n, whole = ShortRows<V>::serve(n) ? a.rows / side * side : 0;
  if (whole) short_rows<V>(a, whole);
  for (int64_t r = whole; r < a.rows; ++r) {
    const V* x = static_cast<const V*>(a.x) + r * n;
    const RowStatistics<V> s(x, n, a.eps, a.centre);
    s.write(x, n, static_cast<const V*>(a.weight), static_cast<const V*>(a.bias),
            static_cast<V*>(a.y) + r * n);
    if (a.mean) static_cast<V*>(a.mean)[r] = s.mean;
    if (a.rstd) static_cast<V*>(a.rstd)[r] = s.rstd;
  }
}

template <class T>
CT_INLINE const T* row_at(const void* x, int64_t at) {
  return x ? static_cast<const T*>(x) + at : nullptr;
}
template <class T>
CT_INLINE T* row_at(void* x, int64_t at) {
  return x ? static_cast<T*>(x) + at : nullptr;
}
// A parameter of n elements as numbers; null if there is none.
template <class T>
CT_INLINE const acc_t<T>* parameter(const void* x, int64_t n, acc_t<T>* copy) {
  return x ? numbers(static_cast<const T*>(x), n, copy) : nullptr;
}

template <class T>
void rows(const RowNormArgs& a) {
  using V = acc_t<T>;
  const int64_t n = a.n, turn = rows_in_turn<V>(n);
  const Scratch parameters(copy_bytes<T>(2 * n));
  RowNormArgs common = a;
  common.weight = parameter<T>(a.weight, n, parameters.as<V>());
  common.bias = parameter<T>(a.bias, n, parameters.as<V>() + n);
  parallel_for(0, (a.rows + turn - 1) / turn, most(1, kLeastWork / (turn * n)),
               [&](int64_t from, int64_t to) {
                 const Scratch scratch(copy_bytes<T>(turn * (n + 2)));
                 const int64_t end = least(a.rows, to * turn);
                 for (int64_t r = from * turn; r < end;) {
                   RowNormArgs part = common;
                   part.rows = is_half_v<T> ? least(turn, end - r) : end - r;
                   if constexpr (is_half_v<T>) {
                     V* copy = scratch.as<V>();
                     part.x = numbers(row_at<T>(a.x, r * n), part.rows * n, copy);
                     part.y = copy;
                     if (a.mean) part.mean = copy + turn * n;
                     if (a.rstd) part.rstd = copy + turn * (n + 1);
                     normalize_rows<V>(part);
                     narrow_row(copy, row_at<T>(a.y, r * n), part.rows * n);
                     if (a.mean) narrow_row(copy + turn * n, row_at<T>(a.mean, r), part.rows);
                     if (a.rstd) narrow_row(copy + turn * (n + 1), row_at<T>(a.rstd, r), part.rows);
                   } else {
                     part.x = row_at<T>(a.x, r * n);
                     part.y = row_at<T>(a.y, r * n);
                     part.mean = row_at<T>(a.mean, r);
                     part.rstd = row_at<T>(a.rstd, r);
                     normalize_rows<V>(part);
                   }
                   r += part.rows;
                 }
               });
}

// With h = (x - mean) rstd and d = grad weight:  dx = rstd (d - mean(d) - h mean(d h)), dweight = sum grad h,
// dbias = sum grad. The gradient of a row, of x, to dx, which may be grad.
template <class V>
CT_INLINE void gradient_of_row(const V* CT_RESTRICT x, const V* g, const V* CT_RESTRICT w, int64_t n, V mean,
                               V rstd, bool centre, V* dx) {
  double sum_d = 0, sum_dh = 0;
  for (int64_t start = 0; start < n; start += kSumRun) {
    V sd = 0, sdh = 0;
    const int64_t end = least(n, start + kSumRun);
    if (w) {
#pragma omp simd reduction(+ : sd, sdh)
      for (int64_t i = start; i < end; ++i) {
        const V d = g[i] * w[i];
        sd += d;
        sdh += d * (x[i] - mean);
      }
    } else {
#pragma omp simd reduction(+ : sd, sdh)
      for (int64_t i = start; i < end; ++i) {
        const V d = g[i];
        sd += d;
        sdh += d * (x[i] - mean);
      }
    }
    sum_d += sd;
    sum_dh += sdh;
  }
  const V shift = centre ? static_cast<V>(sum_d / static_cast<double>(n)) : V(0);
  const V slope = static_cast<V>(sum_dh * rstd * rstd / static_cast<double>(n));
  if (w) {
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) dx[i] = rstd * (g[i] * w[i] - shift - (x[i] - mean) * slope);
  } else {
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) dx[i] = rstd * (g[i] - shift - (x[i] - mean) * slope);
  }
}

// The gradients of rows of V; sums over the rows are added to dw and db, unless those are null.
template <class V>
CT_NOINLINE void rows_gradient(const RowNormBackwardArgs& a, V* CT_RESTRICT dw, V* CT_RESTRICT db) {
  constexpr int64_t side = ShortRows<V>::kSide;
  const int64_t n = a.n, whole = ShortRows<V>::serve(n) ? a.rows / side * side : 0;
  if (whole) short_rows_backward<V>(a, whole, dw, db);
  for (int64_t r = whole; r < a.rows; ++r) {
    const V* CT_RESTRICT x = static_cast<const V*>(a.x) + r * n;
    const V* g = static_cast<const V*>(a.grad) + r * n;
    V mean = 0, rstd;
    if (a.rstd) {
      mean = a.centre ? static_cast<const V*>(a.mean)[r] : V(0);
      rstd = static_cast<const V*>(a.rstd)[r];
    } else {
      const RowStatistics<V> s(x, n, a.eps, a.centre);
      mean = s.mean;
      rstd = s.rstd;
    }
    if (dw) {
#pragma GCC ivdep
      for (int64_t i = 0; i < n; ++i) {
        dw[i] += g[i] * ((x[i] - mean) * rstd);
        db[i] += g[i];
      }
    }
    if (a.dx)
      gradient_of_row(x, g, static_cast<const V*>(a.weight), n, mean, rstd, a.centre,
                      static_cast<V*>(a.dx) + r * n);
  }
}

// Rows [from, to) of a, some at a time; `weight` are numbers.
template <class T>
CT_INLINE void rows_gradient(const RowNormBackwardArgs& a, int64_t from, int64_t to, const acc_t<T>* weight,
                             acc_t<T>* dw, acc_t<T>* db) {
  using V = acc_t<T>;
  const int64_t n = a.n, turn = is_half_v<T> ? rows_in_turn<V>(n) : to - from;
  const Scratch scratch(copy_bytes<T>(turn * (2 * n + 2)));
  for (int64_t r = from; r < to; r += turn) {
    RowNormBackwardArgs part = a;
    part.rows = least(turn, to - r);
    V *x = scratch.as<V>(), *g = x + turn * n, *statistics = g + turn * n;
    part.x = numbers(row_at<T>(a.x, r * n), part.rows * n, x);
    part.grad = numbers(row_at<T>(a.grad, r * n), part.rows * n, g);
    part.mean = parameter<T>(row_at<T>(a.mean, r), part.rows, statistics);
    part.rstd = parameter<T>(row_at<T>(a.rstd, r), part.rows, statistics + turn);
    part.weight = weight;
    if constexpr (is_half_v<T>) {
      if (a.dx) part.dx = g;
      rows_gradient<V>(part, dw, db);
      if (a.dx) narrow_row(g, row_at<T>(a.dx, r * n), part.rows * n);
    } else {
      part.dx = row_at<T>(a.dx, r * n);
      rows_gradient<V>(part, dw, db);
    }
  }
}

template <class T>
void rows_backward(const RowNormBackwardArgs& a) {
  using V = acc_t<T>;
  const int64_t n = a.n, pieces = most(1, least(kTasks, a.rows * n / kLeastWork));
  const bool sums = a.dweight || a.dbias;
  const Scratch scratch(sums ? static_cast<size_t>(pieces * 2 * n) * sizeof(V) : 1), copy(copy_bytes<T>(n));
  const V* weight = parameter<T>(a.weight, n, copy.as<V>());
  parallel_for(0, pieces, 1, [&](int64_t from, int64_t to) {
    for (int64_t piece = from; piece < to; ++piece) {
      V* dw = sums ? scratch.as<V>() + piece * 2 * n : nullptr;
      V* db = sums ? dw + n : nullptr;
      for (int64_t i = 0; sums && i < 2 * n; ++i) dw[i] = 0;
      rows_gradient<T>(a, a.rows * piece / pieces, a.rows * (piece + 1) / pieces, weight, dw, db);
    }
  });
  if (!sums) return;
  V* total = scratch.as<V>();
  for (int64_t piece = 1; piece < pieces; ++piece) {
    const V* part = total + piece * 2 * n;
    for (int64_t i = 0; i < 2 * n; ++i) total[i] += part[i];
  }
  for (int64_t i = 0; a.dweight && i < n; ++i) static_cast<T*>(a.dweight)[i] = static_cast<T>(total[i]);
  for (int64_t i = 0; a.dbias && i < n; ++i) static_cast<T*>(a.dbias)[i] = static_cast<T>(total[n + i]);
}

template <class... Ts>
void fill_types(NormTable& table, TypeList<Ts...>) {
  ((table.rows[static_cast<int>(dtype_of<Ts>)] = &rows<Ts>,
    table.rows_backward[static_cast<int>(dtype_of<Ts>)] = &rows_backward<Ts>),
   ...);
}

}  // namespace

void fill_norm(NormTable& table) {
  fill_types(table, Floats{});
  fill_norm_channels(table);
  fill_norm_groups(table);
}

}  // namespace ctorch::CT_ISA
