// Formulas of two arguments. Integer divisors are not 0: the operations check that first.
#pragma once

#include "kernels/functors/complex.h"
#include "kernels/functors/meta.h"
#include "kernels/functors/unary.h"

namespace ctorch::functors {

// ---- arithmetic
// --------------------------------------------------------------------------------------------------------

struct Add : Binary {
  static constexpr bool commutative = true;
  static constexpr bool wide_numbers = true;
  static constexpr Halves halves = Halves::direct;
  static constexpr auto name = "add";
  static constexpr bool sign_free = true;
  using Types = Join<Bools, SignFree>;
  using ComplexTypes = Complexes;
  template <class T>
  CT_FORMULA T operator()(T a, T b) const {
    if constexpr (std::is_same_v<T, bool>)
      return a || b;
    else
      return static_cast<T>(a + b);
  }
};
struct AddScaled : Binary {  // a + alpha b
  static constexpr bool wide_numbers = true;
  static constexpr Halves halves = Halves::direct;
  static constexpr auto name = "add";
  static constexpr int params = 1;
  static constexpr bool sign_free = true;
  static constexpr unsigned masks[] = {4};
  using Types = Join<Bools, SignFree>;
  using ComplexTypes = Complexes;
  template <class T>
  CT_FORMULA T operator()(T a, T b, T alpha) const {
    if constexpr (std::is_same_v<T, bool>)
      return a || (b && alpha);
    else if constexpr (is_complex_v<T>)
      return a + cx::mul(alpha, b);
    else if constexpr (std::is_floating_point_v<T>)
      return math::fma(alpha, b, a);
    else {
      using Wide = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;  // int would overflow
      return static_cast<T>(a + static_cast<T>(static_cast<Wide>(alpha) * b));
    }
  }
};
struct Sub : Binary {
  static constexpr bool wide_numbers = true;
  static constexpr Halves halves = Halves::direct;
  static constexpr auto name = "sub";
  static constexpr bool sign_free = true;
  using Types = SignFree;
  using ComplexTypes = Complexes;
  template <class T>
  CT_FORMULA T operator()(T a, T b) const {
    return static_cast<T>(a - b);
  }
};
struct Mul : Binary {
  static constexpr bool commutative = true;
  static constexpr bool wide_numbers = true;
  static constexpr Halves halves = Halves::direct;
  static constexpr auto name = "mul";
  static constexpr bool sign_free = true;
  static constexpr bool byte_bool = true;
  using Types = SignFree;
  using ComplexTypes = Complexes;
  template <class T>
  CT_FORMULA T operator()(T a, T b) const {
    if constexpr (is_complex_v<T>)
      return cx::mul(a, b);
    else if constexpr (std::is_same_v<T, uint16_t>)
      return static_cast<T>(uint32_t{a} * b);  // int would overflow
    else
      return static_cast<T>(a * b);
  }
};
struct Div : Binary {
  static constexpr bool wide_numbers = true;
  static constexpr Halves halves = Halves::direct;
  static constexpr auto name = "div";
  static constexpr Promote promote = Promote::to_float;
  using ComplexTypes = Complexes;
  template <class T>
  CT_FORMULA T operator()(T a, T b) const {
    if constexpr (is_complex_v<T>)
      return cx::div(a, b);
    else
      return a / b;
  }
};

// Integer division and float remainders. The float quotient in double is exact enough while it is below 2^28.
template <class T>
CT_FORMULA T int_div(T a, T b) {
  if constexpr (std::is_signed_v<T>) {
    if (b == T(-1))
      return static_cast<T>(std::make_unsigned_t<T>(0) - static_cast<std::make_unsigned_t<T>>(a));
  }
  return static_cast<T>(a / b);
}
template <class T>
CT_FORMULA T int_mod(T a, T b) {
  if constexpr (std::is_signed_v<T>) {
    if (b == T(-1)) return 0;
  }
  return static_cast<T>(a % b);
}
CT_FORMULA bool easy_quotient(float a, float b) {
  return math::abs(a) < 0x1p28f * math::abs(b) && math::abs(b) < math::kInf;
}
CT_FORMULA float float_mod(float a, float b) {
  double ad = a, bd = b, q = math::trunc(ad / bd);
  double r = ad - q * bd;  // exact: q has 28 bits, b 24
  // The quotient may have been rounded up to an integer.
  r = ad >= 0 ? (r < 0 ? r + math::abs(bd) : r) : (r > 0 ? r - math::abs(bd) : r);
  return math::copysign(static_cast<float>(r), a);
}
CT_FORMULA double float_mod(double a, double b) { return __builtin_fmod(a, b); }

struct Fmod : Binary {
  static constexpr auto name = "fmod";
  static constexpr auto doc =
      "The remainder of the division that rounds towards zero: it has the sign of input.";
  using Types = RealTypes;
  template <class T>
  static constexpr bool scalar = !std::is_same_v<T, float>;
  template <class T>
  CT_FORMULA T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>)
      return int_mod(a, b);
    else
      return float_mod(a, b);
  }
  CT_FORMULA static bool easy(float a, float b) { return easy_quotient(a, b); }
  CT_FORMULA static float exact(float a, float b) { return __builtin_fmodf(a, b); }
};
struct Remainder : Binary {
  static constexpr auto name = "remainder";
  static constexpr auto doc =
      "The remainder of the division that rounds down: it has the sign of other, as Python's %.";
  using Types = RealTypes;
  template <class T>
  static constexpr bool scalar = !std::is_same_v<T, float>;
  template <class T>
  CT_FORMULA static T adjust(T r, T b) {
    return r != T(0) && (r < T(0)) != (b < T(0)) ? static_cast<T>(r + b) : r;
  }
  template <class T>
  CT_FORMULA T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>)
      return adjust(int_mod(a, b), b);
    else
      return adjust(float_mod(a, b), b);
  }
  CT_FORMULA static bool easy(float a, float b) { return easy_quotient(a, b); }
  CT_FORMULA static float exact(float a, float b) { return adjust(__builtin_fmodf(a, b), b); }
};
struct DivTrunc : Binary {
  static constexpr bool wide_numbers = true;
  static constexpr auto name = "div";
  using Types = RealTypes;
  template <class T>
  static constexpr bool scalar = !std::is_same_v<T, float>;
  template <class T>
  CT_FORMULA T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>)
      return int_div(a, b);
    else
      return math::trunc(a / b);
  }
};
struct DivFloor : Binary {
  static constexpr bool wide_numbers = true;
  static constexpr auto name = "div";
  using Types = RealTypes;
  template <class T>
  static constexpr bool scalar = !std::is_same_v<T, float>;
  template <class T>
  CT_FORMULA static T from_mod(T a, T b, T mod) {
    T div = (a - mod) / b;
    div = mod != T(0) && (b < T(0)) != (mod < T(0)) ? div - T(1) : div;
    T floored = math::floor(div);
    floored = div - floored > T(0.5) ? floored + T(1) : floored;
    T quotient = a / b;
    floored = div == T(0) ? math::copysign(T(0), quotient) : floored;
    return b == T(0) ? quotient : floored;
  }
  template <class T>
  CT_FORMULA T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>) {
      T q = int_div(a, b);
      if constexpr (std::is_signed_v<T>) {
        if ((a < 0) != (b < 0) && int_mod(a, b) != 0) q = static_cast<T>(q - 1);
      }
      return q;
    } else {
      return from_mod(a, b, float_mod(a, b));
    }
  }
  CT_FORMULA static bool easy(float a, float b) { return easy_quotient(a, b); }
  CT_FORMULA static float exact(float a, float b) { return from_mod(a, b, __builtin_fmodf(a, b)); }
};

struct Pow : Binary {
  static constexpr auto name = "pow";
  using Types = RealTypes;
  using ComplexTypes = Complexes;
  template <class T>
  static constexpr bool scalar = !std::is_same_v<T, float>;
  template <class T>
  CT_FORMULA T operator()(T a, T b) const {
    if constexpr (is_complex_v<T>) {
      return cx::pow(a, b);
    } else if constexpr (std::is_integral_v<T>) {
      using U = std::conditional_t<sizeof(T) < 4, uint32_t, std::make_unsigned_t<T>>;
      if constexpr (std::is_signed_v<T>) {
        if (b < 0) return a == 1 ? T(1) : a == -1 ? (b % 2 ? T(-1) : T(1)) : T(0);
      }
      U base = static_cast<U>(a), result = 1;
      for (U e = static_cast<U>(b); e; e >>= 1) {
        if (e & 1) result *= base;
        base *= base;
      }
      return static_cast<T>(result);
    } else {
      return math::pow(a, b);
    }
  }
};

// ---- extremes
// ----------------------------------------------------------------------------------------------------------

struct Maximum : Binary {
  static constexpr auto name = "maximum";
  static constexpr Halves halves = Halves::chosen;
  static constexpr auto doc = "The larger of two elements; nan if one is.";
  static constexpr bool commutative = true;
  static constexpr bool byte_bool = true;
  using Types = RealTypes;
  template <class T>
  CT_FORMULA T operator()(T a, T b) const {
    return is_nan(a) || a > b ? a : b;
  }
};
struct Minimum : Binary {
  static constexpr auto name = "minimum";
  static constexpr Halves halves = Halves::chosen;
  static constexpr auto doc = "The smaller of two elements; nan if one is.";
  static constexpr bool commutative = true;
  static constexpr bool byte_bool = true;
  using Types = RealTypes;
  template <class T>
  CT_FORMULA T operator()(T a, T b) const {
    return is_nan(a) || a < b ? a : b;
  }
};
struct Fmax : Binary {
  static constexpr auto name = "fmax";
  static constexpr auto doc = "The larger of two elements; the other one if one is nan.";
  static constexpr bool commutative = true;
  static constexpr bool byte_bool = true;
  using Types = RealTypes;
  template <class T>
  CT_FORMULA T operator()(T a, T b) const {
    return is_nan(b) || a > b ? a : b;
  }
};
struct Fmin : Binary {
  static constexpr auto name = "fmin";
  static constexpr auto doc = "The smaller of two elements; the other one if one is nan.";
  static constexpr bool commutative = true;
  static constexpr bool byte_bool = true;
  using Types = RealTypes;
  template <class T>
  CT_FORMULA T operator()(T a, T b) const {
    return is_nan(b) || a < b ? a : b;
  }
};

// ---- floating functions
// ------------------------------------------------------------------------------------------------

struct Atan2 : FloatBinary {
  static constexpr auto name = "atan2";
  static constexpr auto doc = "The angle of the point (other, input), in (-pi, pi].";
  template <class T>
  CT_FORMULA T operator()(T a, T b) const {
    return math::atan2(a, b);
  }
};
struct Hypot : FloatBinary {
  static constexpr auto name = "hypot";
  static constexpr auto doc = "sqrt(input^2 + other^2), without overflow.";
  static constexpr Promote promote = Promote::same;
  template <class T>
  CT_FORMULA T operator()(T a, T b) const {
    return math::hypot(a, b);
  }
};
struct Copysign : Binary {
  static constexpr auto name = "copysign";
  static constexpr auto doc = "The magnitude of input with the sign of other.";
  static constexpr Promote promote = Promote::to_float;
  template <class T>
  CT_FORMULA T operator()(T a, T b) const {
    return math::copysign(a, b);
  }
};
struct Nextafter : Binary {
  static constexpr auto name = "nextafter";
  static constexpr auto doc = "The floating number next to input in the direction of other.";
  template <class T>
  static constexpr bool scalar = true;
  template <class T>
  CT_FORMULA T operator()(T a, T b) const {
    if constexpr (std::is_same_v<T, float>)
      return __builtin_nextafterf(a, b);
    else
      return __builtin_nextafter(a, b);
  }
};
struct Logaddexp : VectorBinary {
  static constexpr auto name = "logaddexp";
  static constexpr auto doc = "log(e^input + e^other), without overflow.";
  static constexpr bool commutative = true;
  static constexpr Promote promote = Promote::same;
  using ComplexTypes = Complexes;
  template <class T>
  CT_FORMULA T operator()(T a, T b) const {
    if constexpr (is_complex_v<T>) {
      T high = a.real() > b.real() ? a : b, low = a.real() > b.real() ? b : a;
      return high == low && std::isinf(high.real()) ? high : high + cx::log1p(cx::exp(low - high));
    } else {
      T high = a > b ? a : b, far = math::abs(a - b);
      T y = high + math::log1p(math::exp(-far));
      y = a == b && math::abs(a) == std::numeric_limits<T>::infinity() ? a : y;
      return a != a ? a : y;
    }
  }
};
struct Logaddexp2 : FloatBinary {
  static constexpr auto name = "logaddexp2";
  static constexpr auto doc = "log2(2^input + 2^other), without overflow.";
  static constexpr bool commutative = true;
  static constexpr Promote promote = Promote::same;
  template <class T>
  CT_FORMULA T operator()(T a, T b) const {
    T high = a > b ? a : b, far = math::abs(a - b);
    T y = high + math::log1p(math::exp2(-far)) * static_cast<T>(1 / math::kLn2);
    y = a == b && math::abs(a) == std::numeric_limits<T>::infinity() ? a : y;
    return a != a ? a : y;
  }
};
struct Xlogy : VectorBinary {
  static constexpr auto name = "xlogy";
  static constexpr auto doc = "input * log(other), which is 0 where input is.";
  template <class T>
  CT_FORMULA T operator()(T a, T b) const {
    T y = a * math::log(b);
    y = a == T(0) ? T(0) : y;
    return b != b ? b : y;
  }
};
struct Heaviside : Binary {
  static constexpr auto name = "heaviside";
  static constexpr bool byte_bool = true;
  using Types = RealTypes;
  template <class T>
  CT_FORMULA T operator()(T a, T b) const {
    return a == T(0) ? b : static_cast<T>(a > T(0) ? 1 : 0);
  }
};

// ---- integers and bits
// -------------------------------------------------------------------------------------------------

template <class T>
CT_FORMULA T gcd(T a, T b) {
  a = Abs()(a);
  b = Abs()(b);
  while (b != 0) {
    T r = int_mod(a, b);
    a = b;
    b = r;
  }
  return a;
}
struct Gcd : Binary {
  static constexpr auto name = "gcd";
  static constexpr auto doc = "The greatest common divisor of integers.";
  static constexpr bool commutative = true;
  using Types = Integers;
  template <class T>
  static constexpr bool scalar = true;
  template <class T>
  CT_FORMULA T operator()(T a, T b) const {
    return gcd(a, b);
  }
};
struct Lcm : Binary {
  static constexpr auto name = "lcm";
  static constexpr auto doc = "The least common multiple of integers.";
  static constexpr bool commutative = true;
  using Types = Integers;
  template <class T>
  static constexpr bool scalar = true;
  template <class T>
  CT_FORMULA T operator()(T a, T b) const {
    T g = gcd(a, b);
    using U = std::make_unsigned_t<T>;
    return g == 0 ? T(0)
                  : Abs()(static_cast<T>(static_cast<uint64_t>(static_cast<U>(a / g)) * static_cast<U>(b)));
  }
};
struct Bitwise : Binary {
  static constexpr bool commutative = true;
  static constexpr bool sign_free = true;
  static constexpr bool byte_bool = true;
  using Types = Unsigned;
};
struct BitwiseAnd : Bitwise {
  static constexpr auto name = "bitwise_and";
  static constexpr auto doc = "Bits set in both; logical and for bool.";
  template <class T>
  CT_FORMULA T operator()(T a, T b) const {
    return a & b;
  }
};
struct BitwiseOr : Bitwise {
  static constexpr auto name = "bitwise_or";
  static constexpr auto doc = "Bits set in one or both; logical or for bool.";
  template <class T>
  CT_FORMULA T operator()(T a, T b) const {
    return a | b;
  }
};
struct BitwiseXor : Bitwise {
  static constexpr auto name = "bitwise_xor";
  static constexpr auto doc = "Bits set in one but not both; logical xor for bool.";
  template <class T>
  CT_FORMULA T operator()(T a, T b) const {
    return a ^ b;
  }
};
// Shifts by less than 0 or by the width and more shift everything out, as PyTorch has it.
template <class T>
inline constexpr auto kBits = static_cast<std::make_unsigned_t<T>>(sizeof(T) * 8);
struct LeftShift : Binary {
  static constexpr auto name = "bitwise_left_shift";
  static constexpr auto doc = "input * 2^other, by shifting bits.";
  using Types = Integers;
  template <class T>
  CT_FORMULA T operator()(T a, T b) const {
    using U = std::make_unsigned_t<T>;
    U shift = static_cast<U>(b);
    return shift >= kBits<T> ? T(0) : static_cast<T>(static_cast<U>(a) << (shift & (kBits<T> - 1)));
  }
};
struct RightShift : Binary {
  static constexpr auto name = "bitwise_right_shift";
  static constexpr auto doc = "input / 2^other rounded down, by shifting bits.";
  using Types = Integers;
  template <class T>
  CT_FORMULA T operator()(T a, T b) const {
    using U = std::make_unsigned_t<T>;
    U shift = static_cast<U>(b);
    if constexpr (std::is_signed_v<T>)
      return static_cast<T>(a >> (shift >= kBits<T> ? kBits<T> - 1 : shift));
    else
      return shift >= kBits<T> ? T(0) : static_cast<T>(a >> (shift & (kBits<T> - 1)));
  }
};

// ---- comparisons and logic
// ---------------------------------------------------------------------------------------------

struct Compare : Binary {
  static constexpr Result result = Result::boolean;
  static constexpr bool byte_bool = true;
  using Types = RealTypes;
};
struct Eq : Compare {
  static constexpr auto name = "eq";
  static constexpr auto doc = "input == other, element by element.";
  static constexpr bool commutative = true;
  static constexpr bool sign_free = true;
  using Types = SignFree;
  using ComplexTypes = Complexes;
  template <class T>
  CT_FORMULA bool operator()(T a, T b) const {
    return a == b;
  }
};
struct Ne : Compare {
  static constexpr auto name = "ne";
  static constexpr auto doc = "input != other, element by element.";
  static constexpr bool commutative = true;
  static constexpr bool sign_free = true;
  using Types = SignFree;
  using ComplexTypes = Complexes;
  template <class T>
  CT_FORMULA bool operator()(T a, T b) const {
    return a != b;
  }
};
struct Lt : Compare {
  static constexpr auto name = "lt";
  static constexpr auto doc = "input < other, element by element.";
  template <class T>
  CT_FORMULA bool operator()(T a, T b) const {
    return a < b;
  }
};
struct Le : Compare {
  static constexpr auto name = "le";
  static constexpr auto doc = "input <= other, element by element.";
  template <class T>
  CT_FORMULA bool operator()(T a, T b) const {
    return a <= b;
  }
};
struct Gt : Compare {
  static constexpr auto name = "gt";
  static constexpr auto doc = "input > other, element by element.";
  template <class T>
  CT_FORMULA bool operator()(T a, T b) const {
    return a > b;
  }
};
struct Ge : Compare {
  static constexpr auto name = "ge";
  static constexpr auto doc = "input >= other, element by element.";
  template <class T>
  CT_FORMULA bool operator()(T a, T b) const {
    return a >= b;
  }
};
struct Logical : Binary {
  static constexpr bool commutative = true;
  static constexpr Promote promote = Promote::logical;
  static constexpr Result result = Result::boolean;
  using Types = Bools;
};
struct LogicalAnd : Logical {
  static constexpr auto name = "logical_and";
  static constexpr auto doc = "Whether both elements are nonzero.";
  template <class T>
  CT_FORMULA bool operator()(T a, T b) const {
    return a & b;
  }
};
struct LogicalOr : Logical {
  static constexpr auto name = "logical_or";
  static constexpr auto doc = "Whether one of the elements is nonzero.";
  template <class T>
  CT_FORMULA bool operator()(T a, T b) const {
    return a | b;
  }
};
struct LogicalXor : Logical {
  static constexpr auto name = "logical_xor";
  static constexpr auto doc = "Whether exactly one of the elements is nonzero.";
  template <class T>
  CT_FORMULA bool operator()(T a, T b) const {
    return a != b;
  }
};
struct Isclose : Binary {  // |a - b| <= atol + |rtol b|, in the dtype of the inputs for floats
  static constexpr auto name = "isclose";
  static constexpr int params = 3;
  static constexpr Result result = Result::boolean;
  static constexpr unsigned masks[] = {4 | 8 | 16};
  using ComplexTypes = Complexes;
  template <class T>
  CT_FORMULA bool operator()(T a, T b, T rtol, T atol, T equal_nan) const {
    if constexpr (is_complex_v<T>) {
      bool close = a == b || (std::isfinite(a.real()) && std::isfinite(a.imag()) &&
                              cx::abs(a - b) <= atol.real() + std::abs(rtol.real() * cx::abs(b)) &&
                              std::isfinite(cx::abs(b)));
      return close || (equal_nan != T(0) && a != a && b != b);
    } else {
      T allowed = atol + math::abs(rtol * b), error = math::abs(a - b);
      bool finite = error < std::numeric_limits<T>::infinity();
      return (a == b) | (finite & (error <= allowed)) | ((equal_nan != T(0)) & (a != a) & (b != b));
    }
  }
};

// Operations that are no more than their functor, on two tensors; and those that take numbers too.
using PlainBinary = TypeList<Maximum, Minimum, Fmax, Fmin, Atan2, Hypot, Nextafter, Logaddexp, Logaddexp2,
                             Gcd, Lcm, LogicalAnd, LogicalOr, LogicalXor>;
using NumberBinary = TypeList<Copysign, Eq, Ne, Lt, Le, Gt, Ge>;
using OtherBinary = TypeList<Add, AddScaled, Sub, Mul, Div, DivTrunc, DivFloor, Fmod, Remainder, Pow, Xlogy,
                             Heaviside, BitwiseAnd, BitwiseOr, BitwiseXor, LeftShift, RightShift, Isclose>;

}  // namespace ctorch::functors
