// What a functor says of itself. A functor is a struct with one branch-free formula, a template operator();
// these bases give the rest, which a functor may override:
//
//   name, doc     of the operation
//   inputs        how many tensors it takes; `params` more arguments follow that are one number each
//   Types         in which C++ types kernels are compiled. Half types compute in float and never appear;
//   complex ones are
//                 taken from ComplexTypes
//   halves        kernels that read and write half types themselves, see Halves
//   half_bits     from the bits of an element of half type to those of the result, where nothing is computed
//   promote       from the inputs' common dtype to that of the computation
//   result        the dtype of the result: of the computation, bool, or its real part
//   sign_free     kernels for unsigned integers serve the signed ones
//   commutative   the kernels for a number behind a tensor serve the one in front too
//   byte_bool     the kernel for uint8 serves bool, stored as 0 and 1
//   bits          nothing is computed: the kernel for unsigned integers of the size serves every dtype
//   wide_numbers  with half tensors, a number takes part as a float and is not rounded to the half type first
//   scalar<T>     the formula calls functions or branches: one element at a time
//   masks         which inputs may be one element per row in a compiled variant (parameters always are)
#pragma once

#include "core/dtype.h"
#include "kernels/cpu/vec_math.h"

namespace ctorch {

enum class Promote : uint8_t {
  same,      // computes in the common dtype
  to_float,  // integers and bool become the default dtype
  logical,   // every input becomes bool
};
enum class Result : uint8_t { same, boolean, real };
// Half types are converted to float buffers, computed with there and converted back: three and more times the
// work of an addition. Frequent functors of few instructions have kernels that convert in registers; for all
// functors such kernels would add half a megabyte.
enum class Halves : uint8_t {
  buffered,  // no kernels of their own
  direct,    // which may have a formula `coarse`, precise enough before the result is rounded
  chosen,    // direct, and a result is an operand or its negative or 0: it needs no rounding
};

namespace functors {

using Empty = TypeList<>;
using Unsigned = TypeList<uint8_t, uint16_t, uint32_t, uint64_t>;
using SignFree = Join<Unsigned, FullFloats>;
using RealTypes = Join<Integers, FullFloats>;

struct Base {
  static constexpr auto doc = "";
  static constexpr int params = 0;
  using Types = FullFloats;
  using ComplexTypes = Empty;
  static constexpr Promote promote = Promote::same;
  static constexpr Result result = Result::same;
  static constexpr bool sign_free = false;
  static constexpr bool commutative = false;
  static constexpr bool byte_bool = false;
  static constexpr bool bits = false;
  static constexpr bool wide_numbers = false;
  static constexpr Halves halves = Halves::buffered;
  static constexpr bool first_is_bool = false;  // input 0 is bool, whatever the others are
  template <class T>
  static constexpr bool scalar = false;
};
struct Unary : Base {
  static constexpr int inputs = 1;
  static constexpr unsigned masks[] = {0};
};
struct Binary : Base {
  static constexpr int inputs = 2;
  static constexpr unsigned masks[] = {0, 2, 1};
};
struct Ternary : Base {
  static constexpr int inputs = 3;
  static constexpr unsigned masks[] = {0};
};

// Floating functions: with formulas of ours in both types; or, in double, from the C library.
struct VectorUnary : Unary {
  static constexpr Promote promote = Promote::to_float;
};
struct DirectUnary : VectorUnary {
  static constexpr Halves halves = Halves::direct;
};
struct VectorBinary : Binary {
  static constexpr Promote promote = Promote::to_float;
};
struct FloatUnary : Unary {
  static constexpr Promote promote = Promote::to_float;
  template <class T>
  static constexpr bool scalar = std::is_same_v<T, double>;
};
struct FloatBinary : Binary {
  static constexpr Promote promote = Promote::to_float;
  template <class T>
  static constexpr bool scalar = std::is_same_v<T, double>;
};

template <class T>
inline constexpr bool is_int_v = std::is_integral_v<T> && !std::is_same_v<T, bool>;
template <class T>
inline constexpr bool is_signed_int_v = is_int_v<T> && std::is_signed_v<T>;
template <class T>
CT_FORMULA bool is_nan(T x) {
  if constexpr (std::is_floating_point_v<T>)
    return x != x;
  else
    return false;
}

}  // namespace functors
}  // namespace ctorch
