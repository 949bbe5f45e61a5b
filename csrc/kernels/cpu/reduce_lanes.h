// What reducers are made of: arithmetic that serves real and complex elements alike (half types come as
// floats, see Reducer::widen), and the reducer of operations that are one associative formula, by which each
// element is loaded and values are combined.
//
// Such an Op has: In (the element), Lane (what elements are combined in), Total, Out, all static, and
//   load(x) -> Lane;  combine(Lane, Lane) -> Lane;  total(Lane) -> Total;  empty() -> Total;  join(Total,
//   Total) -> Total;
// A block is combined in Lanes, of which many run side by side; blocks are joined as Totals, which may be
// wider. With float lanes and double totals a sum has the error of about 32 + 6 roundings in the worst case,
// however long the input.
#pragma once

#include "core/half.h"
#include "core/macros.h"
#include "kernels/cpu/rows.h"
#include "kernels/reduce.h"

namespace ctorch::CT_ISA {

// One source file each.
void fill_reduce_sum(ReduceTable& table);
void fill_reduce_order(ReduceTable& table);
void fill_reduce_norm(ReduceTable& table);
void fill_reduce_moments(ReduceTable& table);
void fill_reduce_short(ReduceTable& table);  // after fill_reduce_sum

namespace {

inline constexpr int64_t kBlock = 8192;  // 32 KB of floats: what a reducer may read twice from L1
inline constexpr int64_t kBlockRows =
    32;  // rows combined in the element's own precision before they are joined to totals
inline constexpr int64_t kMaxCols =
    1024;  // their totals stay in L1, and 4 KB of a row at a time suit the prefetcher

constexpr CT_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr CT_INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

// Complex numbers as the kernels see them: std::complex would leave weak functions behind.
template <class T>
struct Cplx {
  T re, im;
};
template <class T>
struct Element {
  using type = T;
};
template <>
struct Element<complex64_t> {
  using type = Cplx<float>;
};
template <>
struct Element<complex128_t> {
  using type = Cplx<double>;
};
template <class T>
using element_t = typename Element<T>::type;

// What elements of T are computed in: float for the half types, Cplx for complex ones.
template <class T>
using value_t = element_t<acc_t<T>>;

// The greater or lesser of two, NaN if one is. Two plain choices, which the compiler turns into vector
// instructions; one with a compound condition it does not.
template <bool kMax, class T>
CT_INLINE T extreme(T a, T b) {
  const T chosen = (kMax ? a > b : a < b) ? a : b;  // b if either is NaN
  if constexpr (std::is_floating_point_v<T>) return a != a ? a : chosen;
  return chosen;
}

template <class T>
CT_INLINE T plus(T a, T b) {
  return a + b;
}
template <class T>
CT_INLINE Cplx<T> plus(Cplx<T> a, Cplx<T> b) {
  return {a.re + b.re, a.im + b.im};
}
template <class T>
CT_INLINE T times(T a, T b) {
  return a * b;
}
template <class T>
CT_INLINE Cplx<T> times(Cplx<T> a, Cplx<T> b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

// Lossless or rounding conversion between element, value and wider types.
template <class To, class From>
CT_INLINE To convert(From x) {
  if constexpr (is_half_v<To>) {
    return To(static_cast<float>(x));
  } else {
    return static_cast<To>(x);
  }
}
template <class To, class T>
CT_INLINE To convert(Cplx<T> x) {
  using Part = decltype(To::re);
  return {static_cast<Part>(x.re), static_cast<Part>(x.im)};
}

// double for floating values, Cplx<double> for complex ones, int64 for the rest.
template <class T>
struct Wide {
  using type = int64_t;
};
template <>
struct Wide<float> {
  using type = double;
};
template <>
struct Wide<double> {
  using type = double;
};
template <class T>
struct Wide<Cplx<T>> {
  using type = Cplx<double>;
};
template <class T>
using wide_t = typename Wide<value_t<T>>::type;

// The lanes of sums and products: the value type of floating elements, int64 for integers.
template <class T>
using lane_t = std::conditional_t<is_float_v<T> || is_complex_v<T>, value_t<T>, int64_t>;

// p[0 .. n), n >= L, combined in L lanes, which are then folded.
template <int L, class Op>
CT_INLINE typename Op::Lane combine_lanes(const typename Op::In* p, int64_t n) {
  typename Op::Lane acc[L];
  for (int j = 0; j < L; ++j) acc[j] = Op::load(p[j]);
  int64_t i = L;
  for (; i + L <= n; i += L) {
    for (int j = 0; j < L; ++j) acc[j] = Op::combine(acc[j], Op::load(p[i + j]));
  }
  for (int j = 0; j < static_cast<int>(n - i); ++j) acc[j] = Op::combine(acc[j], Op::load(p[i + j]));
#pragma GCC unroll 8
  for (int h = L / 2; h > 0; h /= 2) {
    for (int j = 0; j < h; ++j) acc[j] = Op::combine(acc[j], acc[j + h]);
  }
  return acc[0];
}

template <class Op>
CT_INLINE typename Op::Lane combine_row(const typename Op::In* p, int64_t n) {
  // 256 bytes of lanes: four 64-byte registers, enough to hide the latency of an addition.
  constexpr int kLanes = static_cast<int>(most(8, 256 / static_cast<int64_t>(sizeof(typename Op::Lane))));
  if (n >= kLanes) return combine_lanes<kLanes, Op>(p, n);
  if constexpr (kLanes > 8) {
    if (n >= 8) return combine_lanes<8, Op>(p, n);
  }
  typename Op::Lane acc = Op::load(p[0]);
  for (int64_t i = 1; i < n; ++i) acc = Op::combine(acc, Op::load(p[i]));
  return acc;
}

// acc[j] = the combination of p[i * stride + j] over i < rows.
template <class Op>
CT_INLINE void combine_columns(const typename Op::In* CT_RESTRICT p, int64_t rows, int64_t stride,
                               int64_t cols, typename Op::Lane* CT_RESTRICT acc) {
  for (int64_t j = 0; j < cols; ++j) acc[j] = Op::load(p[j]);
  int64_t i = 1;
  for (; i + 4 <= rows; i += 4) {
    const auto* r0 = p + i * stride;
    const auto *r1 = r0 + stride, *r2 = r1 + stride, *r3 = r2 + stride;
    for (int64_t j = 0; j < cols; ++j) {
      const auto a = Op::load(r0[j]), b = Op::load(r1[j]), c = Op::load(r2[j]), d = Op::load(r3[j]),
                 before = acc[j];
      acc[j] = Op::combine(before, Op::combine(Op::combine(a, b), Op::combine(c, d)));
    }
  }
  for (; i < rows; ++i) {
    const auto* r = p + i * stride;
    for (int64_t j = 0; j < cols; ++j) acc[j] = Op::combine(acc[j], Op::load(r[j]));
  }
}

// The functions of a reducer, but for `write`, which differs between operations that share the rest.
template <class Op>
struct LaneReducer {
  using In = typename Op::In;
  using Lane = typename Op::Lane;
  using Total = typename Op::Total;

  static void empty(void* totals, int64_t n) {
    for (int64_t j = 0; j < n; ++j) static_cast<Total*>(totals)[j] = Op::empty();
  }
  static void row(const ReduceArgs&, const void* p, int64_t n, int64_t, void* total) {
    auto* t = static_cast<Total*>(total);
    *t = Op::join(*t, Op::total(combine_row<Op>(static_cast<const In*>(p), n)));
  }
  static void columns(const ReduceArgs&, const void* p, int64_t rows, int64_t stride, int64_t cols, int64_t,
                      void* totals) {
    Lane acc[kMaxCols];
    combine_columns<Op>(static_cast<const In*>(p), rows, stride, cols, acc);
    for (int64_t j = 0; j < cols; ++j) {
      auto& t = static_cast<Total*>(totals)[j];
      t = Op::join(t, Op::total(acc[j]));
    }
  }
  static void join(void* a, const void* b, int64_t n) {
    for (int64_t j = 0; j < n; ++j) {
      auto& t = static_cast<Total*>(a)[j];
      t = Op::join(t, static_cast<const Total*>(b)[j]);
    }
  }
};

// Writes Finish::result(args, total), of type Finish::Out.
template <class Total, class Finish>
void write_results(const ReduceArgs& args, const void* totals, int64_t n, int64_t at, int64_t out_stride) {
  auto* out = static_cast<typename Finish::Out*>(args.out[0]) + at;
  for (int64_t j = 0; j < n; ++j)
    out[j * out_stride] = Finish::result(args, static_cast<const Total*>(totals)[j]);
}

template <class T>
void widen_elements(const void* from, float* to, int64_t n) {
  widen_row(static_cast<const T*>(from), to, n);
}

// Of T, by the functions of R, which for half types is a reducer of floats.
template <class T, class R>
CT_INLINE Reducer make_reducer(decltype(Reducer::write) write, bool indexed = false) {
  Reducer r{.in_size = sizeof(typename R::In),
            .total_size = sizeof(typename R::Total),
            .indexed = indexed,
            .empty = &R::empty,
            .row = &R::row,
            .columns = &R::columns,
            .join = &R::join,
            .write = write};
  if constexpr (is_half_v<T>) {
    r.in_size = sizeof(T);
    r.widen = &widen_elements<T>;
  }
  return r;
}
template <class T, class Op, class Finish>
CT_INLINE Reducer lane_reducer() {
  return make_reducer<T, LaneReducer<Op>>(&write_results<typename Op::Total, Finish>);
}

template <class T>
CT_INLINE Reducer& entry(ReduceTable& table, Reduce kind) {
  return table.reducers[static_cast<int>(kind)][static_cast<int>(dtype_of<T>)];
}

}  // namespace
}  // namespace ctorch::CT_ISA
