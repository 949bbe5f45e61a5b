// Complex functions, for kernels compiled once with the baseline's instructions.
#pragma once

#include <cmath>
#include <complex>

#include "core/macros.h"
#include "kernels/cpu/vec_math.h"

namespace ctorch::cx {

template <class R>
using Cx = std::complex<R>;

template <class R>
CT_FORMULA R abs(Cx<R> z) {
  return std::hypot(z.real(), z.imag());
}
template <class R>
CT_FORMULA R arg(Cx<R> z) {
  return std::atan2(z.imag(), z.real());
}
#define CT_STD(name)               \
  template <class R>               \
  CT_FORMULA Cx<R> name(Cx<R> z) { \
    return std::name(z);           \
  }
CT_STD(sqrt)
CT_STD(exp)
CT_STD(log)
CT_STD(log10)
CT_STD(sin)
CT_STD(cos)
CT_STD(tan)
CT_STD(asin)
CT_STD(acos)
CT_STD(atan)
CT_STD(sinh)
CT_STD(cosh)
CT_STD(tanh)
CT_STD(asinh)
CT_STD(acosh)
CT_STD(atanh)
#undef CT_STD
template <class R>
CT_FORMULA Cx<R> exp2(Cx<R> z) {
  return std::exp(z * static_cast<R>(math::kLn2));
}
template <class R>
CT_FORMULA Cx<R> log2(Cx<R> z) {
  return std::log(z) / static_cast<R>(math::kLn2);
}
// e^(a + ib) - 1 = expm1(a) cos b - 2 sin^2(b / 2) + i e^a sin b
template <class R>
CT_FORMULA Cx<R> expm1(Cx<R> z) {
  R a = z.real(), b = z.imag(), s = std::sin(b / 2), e = std::exp(a);
  R real = std::expm1(a) * std::cos(b) - 2 * s * s, imag = b == 0 ? b : e * std::sin(b);
  return Cx<R>(real, imag);
}
template <class R>
CT_FORMULA Cx<R> log1p(Cx<R> z) {
  R a = z.real(), b = z.imag();
  R magnitude = std::abs(a) < R(0.5) && std::abs(b) < R(0.5) ? std::log1p(2 * a + a * a + b * b) / 2
                                                             : std::log(std::hypot(1 + a, b));
  return Cx<R>(magnitude, std::atan2(b, 1 + a));
}
// Smith's algorithm (Communications of the ACM 5, 1962), whose infinities and nan are PyTorch's. It divides
// where PyTorch multiplies by a reciprocal, which overflows for subnormal divisors.
template <class R>
CT_FORMULA Cx<R> div(Cx<R> z, Cx<R> w) {
  R a = z.real(), b = z.imag(), c = w.real(), d = w.imag();
  if (std::abs(c) >= std::abs(d)) {
    if (c == 0) return Cx<R>(a / std::abs(c), b / std::abs(d));
    R ratio = d / c, size = c + d * ratio;
    return Cx<R>((a + b * ratio) / size, (b - a * ratio) / size);
  }
  R ratio = c / d, size = c * ratio + d;
  return Cx<R>((a * ratio + b) / size, (b * ratio - a) / size);
}
template <class R>
CT_FORMULA Cx<R> sigmoid(Cx<R> z) {
  return div(Cx<R>(1), Cx<R>(1) + std::exp(-z));
}
template <class R>
CT_FORMULA Cx<R> mul(Cx<R> a, Cx<R> b) {
  return Cx<R>(a.real() * b.real() - a.imag() * b.imag(), a.real() * b.imag() + a.imag() * b.real());
}
template <class R>
CT_FORMULA Cx<R> pow(Cx<R> a, Cx<R> b) {
  return std::pow(a, b);
}

}  // namespace ctorch::cx
