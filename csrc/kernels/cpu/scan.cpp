// Scans. Over a row (inner == 1) a running sum is a chain of dependent additions, 4 cycles each: so four
// quarters of a block run side by side, and are then raised by what comes before them. Long rows are cut into
// pieces of one size, whose totals are found first.
#include "kernels/scan.h"

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/cpu/vec_math.h"

namespace ctorch::CT_ISA {
namespace {

constexpr int64_t kLeastWork = 16384;  // elements that are worth handing to a thread
constexpr int64_t kBlock = 1024;       // elements of a row scanned at a time: 8 KB of doubles
constexpr int64_t kPiece = 65536;      // elements of a long row that make a task

constexpr CT_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr CT_INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

template <class T>
struct Cplx {
  T re, im;
};
// The element as the kernels see it, and what it is accumulated in: PyTorch's choice, double for float.
template <class T>
struct Scanned {
  using Element = T;
  using Acc =
      std::conditional_t<is_half_v<T>, float, std::conditional_t<std::is_same_v<T, float>, double, T>>;
};
template <>
struct Scanned<complex64_t> {
  using Element = Cplx<float>;
  using Acc = Cplx<double>;
};
template <>
struct Scanned<complex128_t> {
  using Element = Cplx<double>;
  using Acc = Cplx<double>;
};

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

struct Plus {
  template <class A>
  static CT_INLINE A join(A a, A b) {
    return static_cast<A>(a + b);
  }
  template <class A>
  static CT_INLINE Cplx<A> join(Cplx<A> a, Cplx<A> b) {
    return {a.re + b.re, a.im + b.im};
  }
  template <class A>
  static CT_INLINE A identity() {
    return A{};
  }
};
struct Times {
  template <class A>
  static CT_INLINE A join(A a, A b) {
    return static_cast<A>(a * b);
  }
  template <class A>
  static CT_INLINE Cplx<A> join(Cplx<A> a, Cplx<A> b) {
    return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
  }
  template <class A>
  static CT_INLINE A identity() {
    if constexpr (requires(A a) { a.re; }) {
      return {1, 0};
    } else {
      return 1;
    }
  }
};
struct LogPlus {
  template <class A>
  static CT_INLINE A join(A a, A b) {
    const A high = a > b ? a : b, low = a > b ? b : a;
    if (a != a || b != b || high - high != 0) return a != a ? a : b != b ? b : high;  // NaN, or infinite
    return high + static_cast<A>(__builtin_log1p(__builtin_exp(double{low} - double{high})));
  }
  // log(e^a + e^b) = high + log(1 + e^(low - high)), with the greater real part as `high`.
  static CT_INLINE Cplx<double> join(Cplx<double> a, Cplx<double> b) {
    const bool first = a.re > b.re;
    const Cplx<double> high = first ? a : b, low = first ? b : a;
    if (low.re == -__builtin_inf()) return high;
    const double size = __builtin_exp(low.re - high.re), angle = low.im - high.im;
    const double re = 1 + size * __builtin_cos(angle), im = size * __builtin_sin(angle);
    return {high.re + __builtin_log(__builtin_sqrt(re * re + im * im)), high.im + __builtin_atan2(im, re)};
  }
  template <class A>
  static CT_INLINE A identity() {
    if constexpr (requires(A a) { a.re; }) {
      return {-__builtin_inf(), 0};
    } else {
      return -__builtin_inf();
    }
  }
};

template <class T, class Op>
struct Scan {
  using E = typename Scanned<T>::Element;
  using A = typename Scanned<T>::Acc;

  static CT_INLINE A total(const E* p, int64_t n) {
    A s[8];
    for (auto& lane : s) lane = Op::template identity<A>();
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
      for (int j = 0; j < 8; ++j) s[j] = Op::join(s[j], convert<A>(p[i + j]));
    }
    for (; i < n; ++i) s[0] = Op::join(s[0], convert<A>(p[i]));
    for (int h = 4; h > 0; h /= 2) {
      for (int j = 0; j < h; ++j) s[j] = Op::join(s[j], s[j + h]);
    }
    return s[0];
  }
  // Scans p[0 .. n) after `carry`, and returns the carry for what follows.
  static A row(const E* p, E* out, int64_t n, A carry) {
    A local[kBlock];
    constexpr int64_t kQuarter = kBlock / 4;
    int64_t i = 0;
    for (; i + kBlock <= n; i += kBlock) {
      A s[4];
      for (auto& lane : s) lane = Op::template identity<A>();
      for (int64_t k = 0; k < kQuarter; ++k) {
        for (int q = 0; q < 4; ++q) {
          s[q] = Op::join(s[q], convert<A>(p[i + q * kQuarter + k]));
          local[q * kQuarter + k] = s[q];
        }
      }
      for (int q = 0; q < 4; ++q) {
        for (int64_t k = 0; k < kQuarter; ++k) {
          out[i + q * kQuarter + k] = convert<E>(Op::join(carry, local[q * kQuarter + k]));
        }
        carry = Op::join(carry, s[q]);
      }
    }
    for (; i < n; ++i) {
      carry = Op::join(carry, convert<A>(p[i]));
      out[i] = convert<E>(carry);
    }
    return carry;
  }

  static void rows(const ScanArgs& a) {
    const E* in = static_cast<const E*>(a.in);
    E* out = static_cast<E*>(a.out);
    const int64_t pieces = (a.n + kPiece - 1) / kPiece;
    if (pieces == 1) {
      return parallel_for(0, a.outer, most(1, kLeastWork / a.n), [&](int64_t from, int64_t to) {
        for (int64_t o = from; o < to; ++o) row(in + o * a.n, out + o * a.n, a.n, Op::template identity<A>());
      });
    }
    Scratch scratch(static_cast<size_t>(a.outer * pieces) * sizeof(A));
    A* carry = scratch.as<A>();
    auto for_pieces = [&](auto body) {
      parallel_for(0, a.outer * pieces, 1, [&](int64_t from, int64_t to) {
        for (int64_t t = from; t < to; ++t) {
          const int64_t start = t % pieces * kPiece;
          body(t, t / pieces * a.n + start, least(kPiece, a.n - start));
        }
      });
    };
    for_pieces([&](int64_t t, int64_t at, int64_t n) { carry[t] = total(in + at, n); });
    for (int64_t o = 0; o < a.outer; ++o) {
      A before = Op::template identity<A>();
      for (int64_t p = 0; p < pieces; ++p) {
        const A own = carry[o * pieces + p];
        carry[o * pieces + p] = before;
        before = Op::join(before, own);
      }
    }
    for_pieces([&](int64_t t, int64_t at, int64_t n) { row(in + at, out + at, n, carry[t]); });
  }

  static void columns(const ScanArgs& a) {
    constexpr int64_t kBand = 256;
    const int64_t bands = (a.inner + kBand - 1) / kBand;
    parallel_for(0, a.outer * bands, most(1, kLeastWork / (a.n * least(a.inner, kBand))),
                 [&](int64_t from, int64_t to) {
                   A s[kBand];
                   for (int64_t t = from; t < to; ++t) {
                     const int64_t first = t % bands * kBand, cols = least(kBand, a.inner - first);
                     const int64_t at = t / bands * a.n * a.inner + first;
                     for (int64_t j = 0; j < cols; ++j) s[j] = Op::template identity<A>();
                     for (int64_t i = 0; i < a.n; ++i) {
                       const E* p = static_cast<const E*>(a.in) + at + i * a.inner;
                       E* out = static_cast<E*>(a.out) + at + i * a.inner;
#pragma GCC ivdep
                       for (int64_t j = 0; j < cols; ++j) {
                         s[j] = Op::join(s[j], convert<A>(p[j]));
                         out[j] = convert<E>(s[j]);
                       }
                     }
                   }
                 });
  }
  static void run(const ScanArgs& a) { a.inner == 1 ? rows(a) : columns(a); }
};

// NaN, once met, stays the extreme.
template <class T, bool kMax>
void extremes(const ScanArgs& a) {
  using V = acc_t<T>;
  const T* in = static_cast<const T*>(a.in);
  T* out = static_cast<T*>(a.out);
  parallel_for(0, a.outer * a.inner, most(1, kLeastWork / a.n), [&](int64_t from, int64_t to) {
    for (int64_t l = from; l < to; ++l) {
      const int64_t at = l / a.inner * a.n * a.inner + l % a.inner;
      V best = static_cast<V>(in[at]);
      int64_t where = 0;
      for (int64_t i = 0; i < a.n; ++i) {
        const T element = in[at + i * a.inner];
        const V x = static_cast<V>(element);
        if (x != x || (best == best && (kMax ? x >= best : x <= best))) {
          best = x;
          where = i;
        }
        out[at + i * a.inner] = convert<T>(best);
        a.indices[at + i * a.inner] = where;
      }
    }
  });
}

template <class... Ts>
void fill_arithmetic(ScanTable& t, TypeList<Ts...>) {
  ((t.cumsum[static_cast<int>(dtype_of<Ts>)] = &Scan<Ts, Plus>::run,
    t.cumprod[static_cast<int>(dtype_of<Ts>)] = &Scan<Ts, Times>::run),
   ...);
}
template <class... Ts>
void fill_extremes(ScanTable& t, TypeList<Ts...>) {
  ((t.cummax[static_cast<int>(dtype_of<Ts>)] = &extremes<Ts, true>,
    t.cummin[static_cast<int>(dtype_of<Ts>)] = &extremes<Ts, false>),
   ...);
}
template <class... Ts>
void fill_log(ScanTable& t, TypeList<Ts...>) {
  ((t.logcumsumexp[static_cast<int>(dtype_of<Ts>)] = &Scan<Ts, LogPlus>::run), ...);
}

}  // namespace

void fill_scan(ScanTable& table) {
  fill_arithmetic(table, Numbers{});
  fill_extremes(table, OrderedTypes{});
  fill_log(table, FloatsAndComplexes{});
}

}  // namespace ctorch::CT_ISA
