// The transforms of Winograd's convolutions F(4 x 4, 3 x 3) and F(4 x 4, 2 x 2): 16 results of a 3 x 3 filter
// from 36 products instead of 144, of a 2 x 2 filter from 25 instead of 64. In one dimension, with d the
// points of the image and w the filter,
//   y = A^T [(G w) * (B^T d)],
// is the multiplication of polynomials by their values at some finite points and at infinity (Winograd 1980,
// Lavin and Gray 2016). The value of a filter at infinity, the last, is its last tap: 0 where that is
// missing. So a filter of fewer taps needs the finite points only, and those of the image need not its last
// element.
//
// The gradient of the filter is the transposed algorithm: dw = G^T [(A dy) * (B^T d)].
//
// The usual points 0, +-1, +-2 have integer coefficients and several times the rounding error; on the choice
// of points see Barabasz et al. 2018. All coefficients but those of G are exact in float.
#pragma once

#include "kernels/cpu/gemm_simd.h"

namespace ctorch::CT_ISA {
namespace {

// By the greatest number of taps of a filter.
template <int taps>
struct Winograd;

// The points 0, +-3/4, +-3/2 and infinity.
template <>
struct Winograd<3> {
  static constexpr int kTaps = 3, kOut = 4, kIn = 6;  // kOut, kIn: results and points of the image
  static constexpr int kPoints = kIn * kIn;
  using Vector = Simd<float>::Vector;

  static constexpr float p = 0.75f, q = 1.5f;
  static constexpr float p2 = p * p, q2 = q * q, p3 = p2 * p, q3 = q2 * q;
  static constexpr float product = p2 * q2, sum = p2 + q2;
  // The values of the other factors of x (x^2 - p^2) (x^2 - q^2) at its zeros.
  static constexpr float at_0 = product, at_p = 2 * p2 * (p2 - q2), at_q = 2 * q2 * (q2 - p2);

  // B^T d.
  CT_INLINE static void image(const Vector (&d)[6], Vector (&v)[6]) {
    v[0] = d[4] - sum * d[2] + product * d[0];
    const Vector even_p = d[4] - q2 * d[2], odd_p = d[3] - q2 * d[1];
    v[1] = even_p + p * odd_p;
    v[2] = even_p - p * odd_p;
    const Vector even_q = d[4] - p2 * d[2], odd_q = d[3] - p2 * d[1];
    v[3] = even_q + q * odd_q;
    v[4] = even_q - q * odd_q;
    v[5] = d[5] - sum * d[3] + product * d[1];
  }

  // G w.
  CT_INLINE static void filter(const Vector (&w)[3], Vector (&u)[6]) {
    u[0] = w[0] * (1 / at_0);
    const Vector even_p = (w[0] + p2 * w[2]) * (1 / at_p);
    u[1] = even_p + w[1] * (p / at_p);
    u[2] = even_p - w[1] * (p / at_p);
    const Vector even_q = (w[0] + q2 * w[2]) * (1 / at_q);
    u[3] = even_q + w[1] * (q / at_q);
    u[4] = even_q - w[1] * (q / at_q);
    u[5] = w[2];
  }

  // A^T m.
  CT_INLINE static void result(const Vector (&m)[6], Vector (&y)[4]) {
    const Vector even_p = m[1] + m[2], odd_p = m[1] - m[2], even_q = m[3] + m[4], odd_q = m[3] - m[4];
    y[0] = m[0] + even_p + even_q;
    y[1] = p * odd_p + q * odd_q;
    y[2] = p2 * even_p + q2 * even_q;
    y[3] = p3 * odd_p + q3 * odd_q + m[5];
  }

  // A y.
  CT_INLINE static void result_gradient(const Vector (&y)[4], Vector (&z)[6]) {
    z[0] = y[0];
    const Vector even_p = y[0] + p2 * y[2], odd_p = y[1] + p2 * y[3];
    z[1] = even_p + p * odd_p;
    z[2] = even_p - p * odd_p;
    const Vector even_q = y[0] + q2 * y[2], odd_q = y[1] + q2 * y[3];
    z[3] = even_q + q * odd_q;
    z[4] = even_q - q * odd_q;
    z[5] = y[3];
  }

  // G^T m.
  CT_INLINE static void filter_gradient(const Vector (&m)[6], Vector (&w)[3]) {
    const Vector even_p = (m[1] + m[2]) * (1 / at_p), odd_p = (m[1] - m[2]) * (p / at_p);
    const Vector even_q = (m[3] + m[4]) * (1 / at_q), odd_q = (m[3] - m[4]) * (q / at_q);
    w[0] = m[0] * (1 / at_0) + even_p + even_q;
    w[1] = odd_p + odd_q;
    w[2] = p2 * even_p + q2 * even_q + m[5];
  }
};

// The points +-3/8, +-11/8 and infinity.
template <>
struct Winograd<2> {
  static constexpr int kTaps = 2, kOut = 4, kIn = 5;
  static constexpr int kPoints = kIn * kIn;
  using Vector = Simd<float>::Vector;

  static constexpr float p = 0.375f, q = 1.375f;
  static constexpr float p2 = p * p, q2 = q * q, p3 = p2 * p, q3 = q2 * q;
  static constexpr float product = p2 * q2, sum = p2 + q2;
  // The values of the other factors of (x^2 - p^2) (x^2 - q^2) at its zeros p and q; at -p and -q the sign is
  // the other.
  static constexpr float at_p = 2 * p * (p2 - q2), at_q = 2 * q * (q2 - p2);

  // B^T d.
  CT_INLINE static void image(const Vector (&d)[5], Vector (&v)[5]) {
    const Vector odd_p = d[3] - q2 * d[1], even_p = d[2] - q2 * d[0];
    v[0] = odd_p + p * even_p;
    v[1] = odd_p - p * even_p;
    const Vector odd_q = d[3] - p2 * d[1], even_q = d[2] - p2 * d[0];
    v[2] = odd_q + q * even_q;
    v[3] = odd_q - q * even_q;
    v[4] = d[4] - sum * d[2] + product * d[0];
  }

  // G w.
  CT_INLINE static void filter(const Vector (&w)[2], Vector (&u)[5]) {
    u[0] = w[1] * (p / at_p) + w[0] * (1 / at_p);
    u[1] = w[1] * (p / at_p) - w[0] * (1 / at_p);
    u[2] = w[1] * (q / at_q) + w[0] * (1 / at_q);
    u[3] = w[1] * (q / at_q) - w[0] * (1 / at_q);
    u[4] = w[1];
  }

  // A^T m.
  CT_INLINE static void result(const Vector (&m)[5], Vector (&y)[4]) {
    const Vector even_p = m[0] + m[1], odd_p = m[0] - m[1], even_q = m[2] + m[3], odd_q = m[2] - m[3];
    y[0] = even_p + even_q;
    y[1] = p * odd_p + q * odd_q;
    y[2] = p2 * even_p + q2 * even_q;
    y[3] = p3 * odd_p + q3 * odd_q + m[4];
  }

  // A y.
  CT_INLINE static void result_gradient(const Vector (&y)[4], Vector (&z)[5]) {
    const Vector even_p = y[0] + p2 * y[2], odd_p = y[1] + p2 * y[3];
    z[0] = even_p + p * odd_p;
    z[1] = even_p - p * odd_p;
    const Vector even_q = y[0] + q2 * y[2], odd_q = y[1] + q2 * y[3];
    z[2] = even_q + q * odd_q;
    z[3] = even_q - q * odd_q;
    z[4] = y[3];
  }

  // G^T m.
  CT_INLINE static void filter_gradient(const Vector (&m)[5], Vector (&w)[2]) {
    w[0] = (m[0] - m[1]) * (1 / at_p) + (m[2] - m[3]) * (1 / at_q);
    w[1] = (m[0] + m[1]) * (p / at_p) + (m[2] + m[3]) * (q / at_q) + m[4];
  }
};

// visit(transform) with that of so many taps.
template <class Visit>
CT_INLINE void with_transform(int taps, Visit&& visit) {
  taps == 3 ? visit(Winograd<3>()) : visit(Winograd<2>());
}

}  // namespace
}  // namespace ctorch::CT_ISA
