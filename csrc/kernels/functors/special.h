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
