// Formulas of three arguments.
#pragma once

#include "kernels/functors/complex.h"
#include "kernels/functors/meta.h"

namespace ctorch::functors {

struct Bits128 {  // stands for complex128 where bits are moved
  uint64_t low, high;
};

struct Where : Ternary {
  static constexpr auto name = "where";
  static constexpr bool bits = true;
  static constexpr bool first_is_bool = true;
  static constexpr unsigned masks[] = {0, 2, 4, 2 | 4};
  using Types = Unsigned;  // and Bits128
  template <class T>
  CT_FORMULA T operator()(bool c, T a, T b) const {
    return c ? a : b;
  }
};
struct Lerp : Ternary {
  static constexpr auto name = "lerp";
  static constexpr unsigned masks[] = {0, 4};
  using ComplexTypes = Complexes;
  template <class T>
  CT_FORMULA T operator()(T a, T b, T w) const {
    if constexpr (is_complex_v<T>) {
      return std::norm(w) < 0.25 ? a + cx::mul(w, b - a) : b - cx::mul(b - a, T(1) - w);
    } else {  // from the nearer end, so that the ends come out exactly
      T d = b - a;
      return math::abs(w) < T(0.5) ? a + w * d : b - d * (T(1) - w);
    }
  }
};
struct Addcmul : Ternary {
  static constexpr auto name = "addcmul";
  static constexpr Halves halves = Halves::direct;
  static constexpr int params = 1;
  static constexpr bool sign_free = true;
  static constexpr unsigned masks[] = {8};
  using Types = SignFree;
  using ComplexTypes = Complexes;
  template <class T>
  CT_FORMULA T operator()(T x, T a, T b, T value) const {
    if constexpr (is_complex_v<T>)
      return x + cx::mul(cx::mul(value, a), b);
    else if constexpr (std::is_floating_point_v<T>)
      return x + value * a * b;
    else
      return static_cast<T>(x + static_cast<T>(static_cast<uint64_t>(value) * a * b));
  }
};
struct Addcdiv : Ternary {
  static constexpr auto name = "addcdiv";
  static constexpr int params = 1;
  static constexpr unsigned masks[] = {8};
  using ComplexTypes = Complexes;
  template <class T>
  CT_FORMULA T operator()(T x, T a, T b, T value) const {
    if constexpr (is_complex_v<T>)
      return x + cx::mul(value, a) / b;
    else
      return x + value * a / b;
  }
};
struct Clamp : Ternary {  // nan stays; the upper bound wins where the bounds cross
  static constexpr auto name = "clamp";
  static constexpr Halves halves = Halves::chosen;
  static constexpr unsigned masks[] = {0, 2 | 4};
  using Types = RealTypes;
  template <class T>
  CT_FORMULA T operator()(T x, T low, T high) const {
    const T y = x < low || is_nan(low) ? low : x;
    return y > high || is_nan(high) ? high : y;
  }
};

using OtherTernary = TypeList<Where, Lerp, Addcmul, Addcdiv, Clamp>;

}  // namespace ctorch::functors
