// One number of unknown kind: what a Python bool, int, float or complex becomes.
#pragma once

#include <complex>
#include <cstdint>
#include <ostream>

#include "core/dtype.h"

namespace ctorch {

class Scalar {
 public:
  enum class Kind : int8_t { boolean, integer, floating, complex };

  Scalar() : Scalar(int64_t{0}) {}
  Scalar(bool value) : kind_(Kind::boolean), integer_(value) {}
  Scalar(int value) : kind_(Kind::integer), integer_(value) {}
  Scalar(int64_t value) : kind_(Kind::integer), integer_(value) {}
  Scalar(double value) : kind_(Kind::floating), real_(value) {}
  Scalar(std::complex<double> value) : kind_(Kind::complex), real_(value.real()), imag_(value.imag()) {}
  // A value of 2^63 and above: kept as its bits, which is what uint64 tensors need.
  static Scalar from_uint64(uint64_t value) {
    Scalar s(static_cast<int64_t>(value));
    s.is_uint64_ = true;
    return s;
  }

  Kind kind() const { return kind_; }
  bool is_complex() const { return kind_ == Kind::complex; }
  bool is_floating() const { return kind_ == Kind::floating; }
  bool is_integer() const { return kind_ == Kind::integer; }
  bool is_bool() const { return kind_ == Kind::boolean; }

  double to_double() const {
    if (kind_ == Kind::floating || kind_ == Kind::complex) return real_;
    return is_uint64_ ? static_cast<double>(static_cast<uint64_t>(integer_)) : static_cast<double>(integer_);
  }
  int64_t to_int64() const { return kind_ >= Kind::floating ? static_cast<int64_t>(real_) : integer_; }
  bool to_bool() const {
    return kind_ >= Kind::floating ? real_ != 0 || (is_complex() && imag_ != 0) : integer_ != 0;
  }
  std::complex<double> to_complex() const { return {to_double(), is_complex() ? imag_ : 0.0}; }

  // The value as an element of a tensor; integers wrap.
  template <class T>
  T to() const {
    if constexpr (std::is_same_v<T, bool>) {
      return to_bool();
    } else if constexpr (is_complex_v<T>) {
      auto z = to_complex();
      return T(static_cast<typename T::value_type>(z.real()), static_cast<typename T::value_type>(z.imag()));
    } else if constexpr (is_half_v<T>) {
      return T(static_cast<float>(to_double()));
    } else if constexpr (std::is_integral_v<T>) {
      return static_cast<T>(to_int64());
    } else {
      return static_cast<T>(to_double());
    }
  }

  // The dtype that stands for the kind in promotion: bool, int64, the default dtype, its complex twin.
  DType dtype() const {
    switch (kind_) {
      case Kind::boolean: return DType::boolean;
      case Kind::integer: return is_uint64_ ? DType::uint64 : DType::int64;
      case Kind::floating: return default_dtype();
      default: return ctorch::to_complex(default_dtype());
    }
  }

 private:
  Kind kind_;
  bool is_uint64_ = false;
  union {
    int64_t integer_;
    double real_;
  };
  double imag_ = 0;
};

inline std::ostream& operator<<(std::ostream& out, const Scalar& s) {
  if (s.is_bool()) return out << (s.to_bool() ? "True" : "False");
  if (s.is_integer()) return out << s.to_int64();
  if (s.is_floating()) return out << s.to_double();
  return out << '(' << s.to_complex().real() << '+' << s.to_complex().imag() << "j)";
}

}  // namespace ctorch
