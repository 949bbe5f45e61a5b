// Special functions in double, one element at a time.
#pragma once

#include "kernels/cpu/vec_math.h"

namespace ctorch::special {

// The derivative of log Gamma: reflection below 0, recurrence up to 10, then the asymptotic series
// (Abramowitz and Stegun 6.3).
CT_FORMULA double digamma(double x) {
  double reflected = 0;
  if (x == 0) return __builtin_copysign(__builtin_inf(), -x);
  if (x < 0) {
    if (__builtin_trunc(x) == x) return __builtin_nan("");
    double whole = __builtin_trunc(x), fraction = x - whole;
    reflected = -math::kPi / __builtin_tan(math::kPi * fraction);
    x = 1 - x;
  }
  double sum = 0;
  while (x < 10) {
    sum -= 1 / x;
    x += 1;
  }
  double z = 1 / (x * x);
  double series =
      z * math::poly(z, 1.0 / 12, -1.0 / 120, 1.0 / 252, -1.0 / 240, 1.0 / 132, -691.0 / 32760, 1.0 / 12);
  if (x > 1e17) series = 0;
  return reflected + sum + __builtin_log(x) - 0.5 / x - series;
}

// Hurwitz' zeta function, the sum of (q + k)^-s over k >= 0, for s > 1: the first terms as they are, the rest
// by Euler and Maclaurin's formula.
CT_FORMULA double zeta(double s, double q) {
  if (q <= 0 && __builtin_floor(q) == q) return __builtin_inf();
  double sum = 0;
  for (int k = 0; k < 10 || q <= 10; ++k, q += 1) sum += __builtin_pow(q, -s);
  constexpr double kBernoulli[] = {1.0 / 12,
                                   -1.0 / 720,
                                   1.0 / 30240,
                                   -1.0 / 1209600,
                                   1.0 / 47900160,
                                   -691.0 / 1307674368000,
                                   1.0 / 74724249600.0,
                                   -3617.0 / 10670622842880000.0};
  double power = __builtin_pow(q, -s), factor = s;
  sum += power * q / (s - 1) + 0.5 * power;
  for (int j = 0; j < 8; ++j) {
    power /= q;
    sum += kBernoulli[j] * factor * power;
    power /= q;
    factor *= (s + 2 * j + 1) * (s + 2 * j + 2);
  }
  return sum;
}

// The n-th derivative of digamma: (-1)^(n+1) n! zeta(n + 1, x).
CT_FORMULA double polygamma(double n, double x) {
  double sign = __builtin_fmod(n, 2.0) == 0 ? -1.0 : 1.0;
  return sign * __builtin_tgamma(n + 1) * zeta(n + 1, x);
}

// Winitzki's closed approximation (2008), good to 2e-3, then Halley steps on erf, which triple the digits
// each.
CT_FORMULA double erfinv(double y) {
  double a = __builtin_fabs(y);
  if (!(a < 1)) return a == 1 ? __builtin_copysign(__builtin_inf(), y) : __builtin_nan("");
  if (a < 1e-9) return y * 0.88622692545275801365;
  double l = __builtin_log1p(-a * a), h = 2 / (math::kPi * 0.147) + 0.5 * l;
  double x = __builtin_sqrt(__builtin_sqrt(h * h - l / 0.147) - h);
  for (int i = 0; i < 3; ++i) {
    double error = a < 0.5 ? __builtin_erf(x) - a : (1 - a) - __builtin_erfc(x);
    double step = error / (1.12837916709551257390 * __builtin_exp(-x * x));
    x -= step / (1 + x * step);
  }
  return __builtin_copysign(x, y);
}

}  // namespace ctorch::special
