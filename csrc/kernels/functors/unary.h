// Formulas of one argument.
#pragma once

#include "kernels/functors/complex.h"
#include "kernels/functors/meta.h"
#include "kernels/functors/special.h"

namespace ctorch::functors {

// ---- sign and rounding
// -------------------------------------------------------------------------------------------------

struct Abs : Unary {
  static constexpr auto name = "abs";
  CT_FORMULA static uint16_t half_bits(uint16_t x) { return x & 0x7fffu; }
  static constexpr auto doc = "Absolute value; of complex numbers the magnitude.";
  static constexpr Result result = Result::real;
  using Types = RealTypes;
  using ComplexTypes = Complexes;
  template <class T>
  CT_FORMULA auto operator()(T x) const {
    if constexpr (is_complex_v<T>)
      return cx::abs(x);
    else if constexpr (std::is_floating_point_v<T>)
      return math::abs(x);
    else if constexpr (std::is_signed_v<T>) {
      using U = std::make_unsigned_t<T>;
      return static_cast<T>(x < 0 ? U(0) - static_cast<U>(x) : static_cast<U>(x));
    } else
      return x;
  }
};
struct Neg : Unary {
  static constexpr auto name = "neg";
  CT_FORMULA static uint16_t half_bits(uint16_t x) { return x ^ 0x8000u; }
  static constexpr auto doc = "-input.";
  static constexpr bool sign_free = true;
  using Types = SignFree;
  using ComplexTypes = Complexes;
  template <class T>
  CT_FORMULA T operator()(T x) const {
    return static_cast<T>(-x);
  }
};
struct Sign : Unary {
  static constexpr auto name = "sign";
  static constexpr auto doc = "-1, 0 or 1 by the sign of input.";
  static constexpr bool byte_bool = true;
  using Types = RealTypes;
  template <class T>
  CT_FORMULA T operator()(T x) const {
    return static_cast<T>(static_cast<T>(x > T(0)) - static_cast<T>(x < T(0)));
  }
};
struct Sgn : Unary {
  static constexpr auto name = "sgn";
  static constexpr auto doc = "sign(), and for complex numbers input / |input| (0 for 0).";
  static constexpr bool byte_bool = true;
  using Types = RealTypes;
  using ComplexTypes = Complexes;
  template <class T>
  CT_FORMULA T operator()(T x) const {
    if constexpr (is_complex_v<T>) {
      auto a = cx::abs(x);
      return a == 0 ? T(0) : T(x.real() / a, x.imag() / a);
    } else {
      return Sign()(x);
    }
  }
};
struct Floor : Unary {
  static constexpr auto name = "floor";
  static constexpr auto doc = "The largest integer that is not above input.";
  template <class T>
  CT_FORMULA T operator()(T x) const {
    return math::floor(x);
  }
};
struct Ceil : Unary {
  static constexpr auto name = "ceil";
  static constexpr auto doc = "The smallest integer that is not below input.";
  template <class T>
  CT_FORMULA T operator()(T x) const {
    return math::ceil(x);
  }
};
struct Round : Unary {
  static constexpr auto name = "round";
  static constexpr auto doc = "The nearest integer, halves to even; or with so many decimals.";
  template <class T>
  CT_FORMULA T operator()(T x) const {
    return math::rint(x);
  }
};
struct RoundScaled : Unary {  // scale = 10^|decimals|
  static constexpr auto name = "round_decimals";
  static constexpr int params = 2;
  static constexpr unsigned masks[] = {6};
  template <class T>
  CT_FORMULA T operator()(T x, T scale, T negative) const {
    T up = math::rint(x * scale) / scale, down = math::rint(x / scale) * scale;
    return negative != T(0) ? down : up;
  }
};
struct Trunc : Unary {
  static constexpr auto name = "trunc";
  static constexpr auto doc = "input without its fractional part.";
  template <class T>
  CT_FORMULA T operator()(T x) const {
    return math::trunc(x);
  }
};
struct Frac : Unary {
  static constexpr auto name = "frac";
  static constexpr auto doc = "The fractional part, with the sign of input.";
  template <class T>
  CT_FORMULA T operator()(T x) const {
    return x - math::trunc(x);
  }
};
struct BitwiseNot : Unary {
  static constexpr auto name = "bitwise_not";
  static constexpr auto doc = "All bits inverted; logical not for bool.";
  static constexpr bool sign_free = true;
  using Types = Join<Bools, Unsigned>;
  template <class T>
  CT_FORMULA T operator()(T x) const {
    if constexpr (std::is_same_v<T, bool>)
      return !x;
    else
      return static_cast<T>(~x);
  }
};
struct ConjPhysical : Unary {
  static constexpr auto name = "conj_physical";
  static constexpr auto doc = "The complex conjugate, in new memory.";
  using Types = Empty;
  using ComplexTypes = Complexes;
  template <class T>
  CT_FORMULA T operator()(T x) const {
    return T(x.real(), -x.imag());
  }
};
struct Angle : Unary {
  static constexpr auto name = "angle";
  static constexpr auto doc = "The argument of complex numbers; 0 or pi for real ones.";
  static constexpr Promote promote = Promote::to_float;
  static constexpr Result result = Result::real;
  using ComplexTypes = Complexes;
  template <class T>
  CT_FORMULA auto operator()(T x) const {
    if constexpr (is_complex_v<T>)
      return cx::arg(x);
    else
      return x != x ? x : x < T(0) ? static_cast<T>(math::kPi) : T(0);
  }
};

// ---- powers, exponentials, logarithms
// ----------------------------------------------------------------------------------

struct Reciprocal : Unary {
  static constexpr auto name = "reciprocal";
  static constexpr auto doc = "1 / input.";
  static constexpr Promote promote = Promote::to_float;
  using ComplexTypes = Complexes;
  template <class T>
  CT_FORMULA T operator()(T x) const {
    if constexpr (is_complex_v<T>)
      return cx::div(T(1), x);
    else
      return T(1) / x;
  }
};
struct Sqrt : Unary {
  static constexpr auto name = "sqrt";
  static constexpr Halves halves = Halves::direct;
  static constexpr auto doc = "The square root; nan for negative numbers.";
  static constexpr Promote promote = Promote::to_float;
  using ComplexTypes = Complexes;
  template <class T>
  CT_FORMULA T operator()(T x) const {
    if constexpr (is_complex_v<T>)
      return cx::sqrt(x);
    else
      return math::sqrt(x);
  }
};
struct Rsqrt : Unary {
  static constexpr auto name = "rsqrt";
  static constexpr Halves halves = Halves::direct;
  static constexpr auto doc = "1 / sqrt(input).";
  static constexpr Promote promote = Promote::to_float;
  using ComplexTypes = Complexes;
  template <class T>
  CT_FORMULA T operator()(T x) const {
    return Reciprocal()(Sqrt()(x));
  }
};

// A functor over a function of vec_math.h: real, and real with a complex twin in complex.h.
#define CT_REAL_FUNCTION(Name, fn, Doc)  \
  struct Name : FloatUnary {             \
    static constexpr auto name = #fn;    \
    static constexpr auto doc = Doc;     \
    template <class T>                   \
    CT_FORMULA T operator()(T x) const { \
      return math::fn(x);                \
    }                                    \
  };
#define CT_FUNCTION(Name, fn, Base, Doc) \
  struct Name : Base {                   \
    static constexpr auto name = #fn;    \
    static constexpr auto doc = Doc;     \
    using ComplexTypes = Complexes;      \
    template <class T>                   \
    CT_FORMULA T operator()(T x) const { \
      if constexpr (is_complex_v<T>)     \
        return cx::fn(x);                \
      else                               \
        return math::fn(x);              \
    }                                    \
  };
CT_FUNCTION(Exp, exp, DirectUnary, "e to the power input.")
CT_FUNCTION(Exp2, exp2, FloatUnary, "2 to the power input.")
CT_FUNCTION(Expm1, expm1, VectorUnary, "e^input - 1, accurate for small input.")
CT_FUNCTION(Log, log, VectorUnary, "The natural logarithm.")
CT_FUNCTION(Log2, log2, FloatUnary, "The logarithm to base 2.")
CT_FUNCTION(Log10, log10, FloatUnary, "The logarithm to base 10.")
CT_FUNCTION(Log1p, log1p, VectorUnary, "log(1 + input), accurate for small input.")
CT_FUNCTION(Asin, asin, FloatUnary, "The arc sine.")
CT_FUNCTION(Acos, acos, FloatUnary, "The arc cosine.")
CT_FUNCTION(Atan, atan, FloatUnary, "The arc tangent.")
CT_FUNCTION(Sinh, sinh, FloatUnary, "The hyperbolic sine.")
CT_FUNCTION(Cosh, cosh, FloatUnary, "The hyperbolic cosine.")
CT_FUNCTION(Tanh, tanh, VectorUnary, "The hyperbolic tangent.")
CT_FUNCTION(Asinh, asinh, FloatUnary, "The inverse hyperbolic sine.")
CT_FUNCTION(Acosh, acosh, FloatUnary, "The inverse hyperbolic cosine.")
CT_FUNCTION(Atanh, atanh, FloatUnary, "The inverse hyperbolic tangent.")
CT_FUNCTION(Sigmoid, sigmoid, DirectUnary, "1 / (1 + e^-input).")
CT_REAL_FUNCTION(Erf, erf, "The error function.")
CT_REAL_FUNCTION(Erfc, erfc, "1 - erf(input), accurate where that is small.")

// Beyond math::kTrigLimit the loops call `exact` instead.
#define CT_TRIG_FUNCTION(Name, fn, Doc)                                               \
  struct Name : FloatUnary {                                                          \
    static constexpr auto name = #fn;                                                 \
    static constexpr auto doc = Doc;                                                  \
    static constexpr Halves halves = Halves::direct;                                  \
    using ComplexTypes = Complexes;                                                   \
    template <class T>                                                                \
    CT_FORMULA T operator()(T x) const {                                              \
      if constexpr (is_complex_v<T>)                                                  \
        return cx::fn(x);                                                             \
      else                                                                            \
        return math::fn(x);                                                           \
    }                                                                                 \
    CT_FORMULA static float coarse(float x) { return math::fn##_coarse(x); }          \
    CT_FORMULA static bool easy(float x) { return math::abs(x) <= math::kTrigLimit; } \
    CT_FORMULA static float exact(float x) { return __builtin_##fn##f(x); }           \
  };
CT_TRIG_FUNCTION(Sin, sin, "The sine.")
CT_TRIG_FUNCTION(Cos, cos, "The cosine.")
CT_TRIG_FUNCTION(Tan, tan, "The tangent.")
#undef CT_TRIG_FUNCTION
#undef CT_FUNCTION
#undef CT_REAL_FUNCTION

// Rare functions, one element at a time, in double.
template <class F>
struct SpecialUnary : Unary {
  static constexpr Promote promote = Promote::to_float;
  template <class T>
  static constexpr bool scalar = true;
  template <class T>
  CT_FORMULA T operator()(T x) const {
    return static_cast<T>(F::compute(static_cast<double>(x)));
  }
};
struct Lgamma : SpecialUnary<Lgamma> {
  static constexpr auto name = "lgamma";
  static constexpr auto doc = "The logarithm of the absolute value of the gamma function.";
  CT_FORMULA static double compute(double x) { return __builtin_lgamma(x); }
};
struct Digamma : SpecialUnary<Digamma> {
  static constexpr auto name = "digamma";
  static constexpr auto doc = "The derivative of lgamma().";
  CT_FORMULA static double compute(double x) { return special::digamma(x); }
};
struct Polygamma : Unary {
  static constexpr auto name = "polygamma";
  static constexpr int params = 1;
  static constexpr unsigned masks[] = {2};
  static constexpr Promote promote = Promote::to_float;
  template <class T>
  static constexpr bool scalar = true;
  template <class T>
  CT_FORMULA T operator()(T x, T n) const {
    return static_cast<T>(special::polygamma(static_cast<double>(n), static_cast<double>(x)));
  }
};
struct Erfinv : SpecialUnary<Erfinv> {
  static constexpr auto name = "erfinv";
  static constexpr auto doc = "The inverse of erf().";
  CT_FORMULA static double compute(double x) { return special::erfinv(x); }
};

struct Logit : VectorUnary {  // input is clamped to [eps, 1 - eps] where eps >= 0
  static constexpr auto name = "logit";
  static constexpr int params = 1;
  static constexpr unsigned masks[] = {2};
  template <class T>
  CT_FORMULA T operator()(T x, T eps) const {
    T low = eps >= T(0) ? eps : x, high = eps >= T(0) ? T(1) - eps : x;
    x = x < low ? low : x;
    x = x > high ? high : x;
    return math::log(x / (T(1) - x));
  }
};
struct Deg2rad : Unary {
  static constexpr auto name = "deg2rad";
  static constexpr auto doc = "Degrees to radians.";
  static constexpr Promote promote = Promote::to_float;
  template <class T>
  CT_FORMULA T operator()(T x) const {
    return x * static_cast<T>(math::kPi / 180);
  }
};
struct Rad2deg : Unary {
  static constexpr auto name = "rad2deg";
  static constexpr auto doc = "Radians to degrees.";
  static constexpr Promote promote = Promote::to_float;
  template <class T>
  CT_FORMULA T operator()(T x) const {
    return x * static_cast<T>(180 / math::kPi);
  }
};

// ---- questions
// ---------------------------------------------------------------------------------------------------------

struct Isnan : Unary {
  static constexpr auto name = "isnan";
  static constexpr auto doc = "Whether elements are nan.";
  static constexpr Result result = Result::boolean;
  using ComplexTypes = Complexes;
  template <class T>
  CT_FORMULA bool operator()(T x) const {
    return x != x;
  }
};
struct Isinf : Unary {
  static constexpr auto name = "isinf";
  static constexpr auto doc = "Whether elements are infinite.";
  static constexpr Result result = Result::boolean;
  using ComplexTypes = Complexes;
  template <class T>
  CT_FORMULA bool operator()(T x) const {
    if constexpr (is_complex_v<T>)
      return (*this)(x.real()) || (*this)(x.imag());
    else
      return math::abs(x) == std::numeric_limits<T>::infinity();
  }
};
struct Isfinite : Unary {
  static constexpr auto name = "isfinite";
  static constexpr auto doc = "Whether elements are neither infinite nor nan.";
  static constexpr Result result = Result::boolean;
  using ComplexTypes = Complexes;
  template <class T>
  CT_FORMULA bool operator()(T x) const {
    if constexpr (is_complex_v<T>)
      return (*this)(x.real()) && (*this)(x.imag());
    else
      return math::abs(x) < std::numeric_limits<T>::infinity();
  }
};
struct Isposinf : Unary {
  static constexpr auto name = "isposinf";
  static constexpr auto doc = "Whether elements are positive infinity.";
  static constexpr Result result = Result::boolean;
  template <class T>
  CT_FORMULA bool operator()(T x) const {
    return x == std::numeric_limits<T>::infinity();
  }
};
struct Isneginf : Unary {
  static constexpr auto name = "isneginf";
  static constexpr auto doc = "Whether elements are negative infinity.";
  static constexpr Result result = Result::boolean;
  template <class T>
  CT_FORMULA bool operator()(T x) const {
    return x == -std::numeric_limits<T>::infinity();
  }
};
struct Signbit : Unary {
  static constexpr auto name = "signbit";
  static constexpr auto doc = "Whether the sign is negative, that of -0.0 included.";
  static constexpr Result result = Result::boolean;
  using Types = RealTypes;
  template <class T>
  CT_FORMULA bool operator()(T x) const {
    if constexpr (std::is_floating_point_v<T>)
      return math::signbit(x);
    else
      return x < T(0);
  }
};
struct LogicalNot : Unary {
  static constexpr auto name = "logical_not";
  static constexpr auto doc = "Whether elements are zero.";
  static constexpr Promote promote = Promote::logical;
  static constexpr Result result = Result::boolean;
  using Types = Bools;
  template <class T>
  CT_FORMULA bool operator()(T x) const {
    return !x;
  }
};
struct NanToNum : Unary {
  static constexpr auto name = "nan_to_num";
  static constexpr int params = 3;
  static constexpr unsigned masks[] = {14};
  using ComplexTypes = Complexes;
  template <class T>
  CT_FORMULA T operator()(T x, T nan, T high, T low) const {
    if constexpr (is_complex_v<T>) {
      return T((*this)(x.real(), nan.real(), high.real(), low.real()),
               (*this)(x.imag(), nan.real(), high.real(), low.real()));
    } else {
      x = x == std::numeric_limits<T>::infinity() ? high : x;
      x = x == -std::numeric_limits<T>::infinity() ? low : x;
      return x != x ? nan : x;
    }
  }
};

// Operations that are no more than their functor: the C++ functions, tables and bindings come from these
// lists.
using PlainUnary =
    TypeList<Abs, Sign, Sgn, Frac, BitwiseNot, Angle, Reciprocal, Sqrt, Rsqrt, Exp, Exp2, Expm1, Log, Log2,
             Log10, Log1p, Asin, Acos, Atan, Sinh, Cosh, Tanh, Asinh, Acosh, Atanh, Sigmoid, Erf, Erfc, Sin,
             Cos, Tan, Lgamma, Digamma, Erfinv, Deg2rad, Rad2deg, LogicalNot>;
// Those that leave integers as they are, and those that answer the same for all integers.
using RoundingUnary = TypeList<Floor, Ceil, Round, Trunc>;
using QuestionUnary = TypeList<Isnan, Isinf, Isfinite, Isposinf, Isneginf, Signbit>;
using OtherUnary = TypeList<Neg, Polygamma, RoundScaled, ConjPhysical, Logit, NanToNum>;

}  // namespace ctorch::functors
