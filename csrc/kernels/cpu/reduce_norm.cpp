// Vector norms: sums of powers of absolute values, and their greatest and least.
#include "kernels/cpu/reduce_lanes.h"

#include <cmath>

namespace ctorch::CT_ISA {
namespace {

template <class T>
struct RealPart {
  using type = T;
};
template <class T>
struct RealPart<Cplx<T>> {
  using type = T;
};
// The type of |x|: float for the half types.
template <class T>
using magnitude_t = typename RealPart<value_t<T>>::type;

template <class T>
CT_INLINE T magnitude(T x) {
  return x < 0 ? -x : x;
}
CT_INLINE float magnitude(float x) { return __builtin_fabsf(x); }
CT_INLINE double magnitude(double x) { return __builtin_fabs(x); }
CT_INLINE float magnitude(Cplx<float> x) {
  return static_cast<float>(__builtin_sqrt(double{x.re} * x.re + double{x.im} * x.im));
}
CT_INLINE double magnitude(Cplx<double> x) { return ::hypot(x.re, x.im); }

template <class T>
CT_INLINE T squared(T x) {
  return x * x;
}
template <class T>
CT_INLINE T squared(Cplx<T> x) {
  return x.re * x.re + x.im * x.im;
}

template <class T>
struct NormBase {
  using In = element_t<T>;
  using Lane = magnitude_t<T>;
  using Total = double;
  static CT_INLINE Lane combine(Lane a, Lane b) { return a + b; }
  static CT_INLINE Total total(Lane x) { return x; }
  static CT_INLINE Total empty() { return 0; }
  static CT_INLINE Total join(Total a, Total b) { return a + b; }
};
template <class T>
struct Norm1Op : NormBase<T> {
  static CT_INLINE magnitude_t<T> load(element_t<T> x) { return magnitude(convert<value_t<T>>(x)); }
};
template <class T>
struct Norm2Op : NormBase<T> {
  static CT_INLINE magnitude_t<T> load(element_t<T> x) { return squared(convert<value_t<T>>(x)); }
};
template <class T, bool kMax>
struct NormInfOp : Norm1Op<T> {
  using Lane = magnitude_t<T>;
  using Total = Lane;
  static CT_INLINE Lane combine(Lane a, Lane b) { return extreme<kMax>(a, b); }
  static CT_INLINE Total total(Lane x) { return x; }
  static CT_INLINE Total empty() { return kMax ? 0 : __builtin_inf(); }
  static CT_INLINE Total join(Total a, Total b) { return combine(a, b); }
};

// Any other p: a call of pow per element dominates, so one loop serves.
template <class T>
struct NormPReducer {
  using In = element_t<T>;
  using Total = double;
  static CT_INLINE double term(In x, double p) { return __builtin_pow(magnitude(convert<value_t<T>>(x)), p); }
  static void empty(void* totals, int64_t n) {
    for (int64_t j = 0; j < n; ++j) static_cast<double*>(totals)[j] = 0;
  }
  static void row(const ReduceArgs& args, const void* p, int64_t n, int64_t, void* total) {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += term(static_cast<const In*>(p)[i], args.param);
    *static_cast<double*>(total) += sum;
  }
  static void columns(const ReduceArgs& args, const void* p, int64_t rows, int64_t stride, int64_t cols,
                      int64_t, void* totals) {
    for (int64_t i = 0; i < rows; ++i) {
      const In* r = static_cast<const In*>(p) + i * stride;
      for (int64_t j = 0; j < cols; ++j) static_cast<double*>(totals)[j] += term(r[j], args.param);
    }
  }
  static void join(void* a, const void* b, int64_t n) {
    for (int64_t j = 0; j < n; ++j) static_cast<double*>(a)[j] += static_cast<const double*>(b)[j];
  }
};

template <class T>
using out_t = std::conditional_t<is_complex_v<T>, magnitude_t<T>, element_t<T>>;
template <class T>
struct Plain {
  using Out = out_t<T>;
  static CT_INLINE Out result(const ReduceArgs&, double x) { return convert<Out>(x); }
};
template <class T>
struct Extreme {
  using Out = out_t<T>;
  static CT_INLINE Out result(const ReduceArgs&, magnitude_t<T> x) { return convert<Out>(x); }
};
template <class T>
struct Root {
  using Out = out_t<T>;
  static CT_INLINE Out result(const ReduceArgs&, double x) { return convert<Out>(__builtin_sqrt(x)); }
};
template <class T>
struct RootP {
  using Out = out_t<T>;
  static CT_INLINE Out result(const ReduceArgs& args, double x) {
    return convert<Out>(__builtin_pow(x, 1 / args.param));
  }
};

template <class... Ts>
void fill_norms(ReduceTable& table, TypeList<Ts...>) {
  ((entry<Ts>(table, Reduce::norm1) = lane_reducer<Ts, Norm1Op<acc_t<Ts>>, Plain<Ts>>(),
    entry<Ts>(table, Reduce::norm2) = lane_reducer<Ts, Norm2Op<acc_t<Ts>>, Root<Ts>>(),
    entry<Ts>(table, Reduce::norm_inf) = lane_reducer<Ts, NormInfOp<acc_t<Ts>, true>, Extreme<Ts>>(),
    entry<Ts>(table, Reduce::norm_minus_inf) = lane_reducer<Ts, NormInfOp<acc_t<Ts>, false>, Extreme<Ts>>(),
    entry<Ts>(table, Reduce::norm_p) =
        make_reducer<Ts, NormPReducer<acc_t<Ts>>>(&write_results<double, RootP<Ts>>)),
   ...);
}

}  // namespace

void fill_reduce_norm(ReduceTable& table) { fill_norms(table, FloatsAndComplexes{}); }

}  // namespace ctorch::CT_ISA
