// Element types: the enumeration, the C++ type of each, promotion, and visit_dtype(), which goes from one to
// the other.
#pragma once

#include <complex>
#include <cstdint>
#include <ostream>
#include <type_traits>

#include "core/error.h"
#include "core/half.h"

namespace ctorch {

enum class DType : int8_t {
  uint8,
  int8,
  int16,
  int32,
  int64,
  float16,
  float32,
  float64,
  complex64,
  complex128,
  boolean,
  bfloat16,
  uint16,
  uint32,
  uint64,
};
inline constexpr int kNumDTypes = 15;

using complex64_t = std::complex<float>;
using complex128_t = std::complex<double>;

template <class... Ts>
struct TypeList {
  static constexpr int size = sizeof...(Ts);
};
template <class A, class B>
struct JoinLists;
template <class... As, class... Bs>
struct JoinLists<TypeList<As...>, TypeList<Bs...>> {
  using type = TypeList<As..., Bs...>;
};
template <class A, class B>
using Join = typename JoinLists<A, B>::type;

using Bools = TypeList<bool>;
using Integers = TypeList<uint8_t, int8_t, int16_t, int32_t, int64_t, uint16_t, uint32_t, uint64_t>;
using FullFloats = TypeList<float, double>;
using Floats = TypeList<float, double, Half, BFloat16>;
using Complexes = TypeList<complex64_t, complex128_t>;
using FloatsAndComplexes = Join<Floats, Complexes>;
using Reals = Join<Integers, Floats>;     // all that have an order, bool excepted
using OrderedTypes = Join<Bools, Reals>;  // bool, integers, floats
using Numbers = Join<Reals, Complexes>;   // all but bool
using AllTypes = Join<Bools, Numbers>;

template <class T>
struct dtype_of_t;
#define CT_DTYPE_OF(T, D)                    \
  template <>                                \
  struct dtype_of_t<T> {                     \
    static constexpr DType value = DType::D; \
  }
CT_DTYPE_OF(uint8_t, uint8);
CT_DTYPE_OF(int8_t, int8);
CT_DTYPE_OF(int16_t, int16);
CT_DTYPE_OF(int32_t, int32);
CT_DTYPE_OF(int64_t, int64);
CT_DTYPE_OF(Half, float16);
CT_DTYPE_OF(float, float32);
CT_DTYPE_OF(double, float64);
CT_DTYPE_OF(complex64_t, complex64);
CT_DTYPE_OF(complex128_t, complex128);
CT_DTYPE_OF(bool, boolean);
CT_DTYPE_OF(BFloat16, bfloat16);
CT_DTYPE_OF(uint16_t, uint16);
CT_DTYPE_OF(uint32_t, uint32);
CT_DTYPE_OF(uint64_t, uint64);
#undef CT_DTYPE_OF
template <class T>
inline constexpr DType dtype_of = dtype_of_t<T>::value;

template <class T>
inline constexpr bool is_complex_v = std::is_same_v<T, complex64_t> || std::is_same_v<T, complex128_t>;
template <class T>
inline constexpr bool is_half_v = std::is_same_v<T, Half> || std::is_same_v<T, BFloat16>;
template <class T>
inline constexpr bool is_float_v = std::is_floating_point_v<T> || is_half_v<T>;

// The type in which values of T are computed: float for the half types.
template <class T>
using acc_t = std::conditional_t<is_half_v<T>, float, T>;

inline constexpr int64_t kItemSize[kNumDTypes] = {1, 1, 2, 4, 8, 2, 4, 8, 8, 16, 1, 2, 2, 4, 8};
constexpr int64_t item_size(DType dt) { return kItemSize[static_cast<int>(dt)]; }

constexpr bool is_complex(DType dt) { return dt == DType::complex64 || dt == DType::complex128; }
constexpr bool is_half(DType dt) { return dt == DType::float16 || dt == DType::bfloat16; }
constexpr bool is_floating(DType dt) {
  return dt == DType::float32 || dt == DType::float64 || dt == DType::float16 || dt == DType::bfloat16;
}
constexpr bool is_bool(DType dt) { return dt == DType::boolean; }
constexpr bool is_integral(DType dt) { return !is_complex(dt) && !is_floating(dt) && !is_bool(dt); }
constexpr bool is_signed(DType dt) {
  return !(dt == DType::boolean || dt == DType::uint8 || dt == DType::uint16 || dt == DType::uint32 ||
           dt == DType::uint64);
}
constexpr bool is_differentiable(DType dt) { return is_floating(dt) || is_complex(dt); }

// PyTorch's name, without a prefix: "float32", "bool".
const char* dtype_name(DType dt);
// The name with which PyTorch's messages speak of the dtype: "Float", "Long".
const char* dtype_scalar_name(DType dt);
std::ostream& operator<<(std::ostream& out, DType dt);

// PyTorch's promotion of two dtypes of the same category (both tensors with dimensions, say).
DType promote_types(DType a, DType b);
// float of a complex dtype, and the complex dtype with parts of a floating one (float16 has none here:
// complex64).
DType to_real(DType dt);
DType to_complex(DType dt);
// Whether a result of dtype `from` may be written into a tensor of dtype `to`: PyTorch's can_cast.
bool can_cast(DType from, DType to);

// The dtype of new floating tensors; float32 unless set_default_dtype() says otherwise.
DType default_dtype();
void set_default_dtype(DType dt);

// Call fn.template operator()<T>() for the C++ type of dt, if the list has it; else say that op takes no such
// dtype.
template <class List>
struct DTypeVisitor;
template <class... Ts>
struct DTypeVisitor<TypeList<Ts...>> {
  template <class Fn>
  static void visit(DType dt, const char* op, Fn&& fn) {
    bool found = ((dtype_of<Ts> == dt ? (fn.template operator()<Ts>(), true) : false) || ...);
    if (!found) fail(ErrorKind::not_implemented, op, ": not implemented for dtype ", dt);
  }
};
template <class List, class Fn>
void visit_dtype(DType dt, const char* op, Fn&& fn) {
  DTypeVisitor<List>::visit(dt, op, static_cast<Fn&&>(fn));
}

}  // namespace ctorch
