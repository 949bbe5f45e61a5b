// exp, log, tanh, erf, sin ... as branch-free scalar formulas, which the compiler vectorises in the loops
// around them.
//
// float: polynomials fitted for this project (minimax, Lawson iteration, coefficients rounded one by one).
// Infinities, NaN, signed zeros and subnormal numbers are handled. Largest errors found, in ULP: pow 0.51;
// exp exp2 log log1p 1.0; acos erf log2 expm1 cosh 1.4; sin cos log10 sinh 2; asin atan asinh atanh 2;
// tanh acosh atan2 2.3; tan 3.7; erfc 4.1 (bounds are tested).
// double: exp expm1 log log1p tanh sigmoid likewise, within 2.5 ULP; the others are the C library's
// functions.
#pragma once

#include <cstdint>
#include <limits>

#include "core/half.h"
#include "core/macros.h"

namespace ctorch::math {

inline constexpr float kInf = std::numeric_limits<float>::infinity();
inline constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
inline constexpr double kPi = 3.14159265358979323846;
inline constexpr double kLn2 = 0.69314718055994530942;

// a * b + c, fused where the level has an instruction for it.
CT_FORMULA float fma(float a, float b, float c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}
CT_FORMULA double fma(double a, double b, double c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return __builtin_fma(a, b, c);
#else
  return a * b + c;
#endif
}

// c0 + x c1 + x^2 c2 + ...
template <class T>
CT_FORMULA T poly(T, T c) {
  return c;
}
template <class T, class... Cs>
CT_FORMULA T poly(T x, T c, Cs... cs) {
  return fma(poly(x, cs...), x, c);
}

CT_FORMULA float abs(float x) { return __builtin_fabsf(x); }
CT_FORMULA double abs(double x) { return __builtin_fabs(x); }
CT_FORMULA float sqrt(float x) { return __builtin_sqrtf(x); }
CT_FORMULA double sqrt(double x) { return __builtin_sqrt(x); }
CT_FORMULA float copysign(float x, float s) { return __builtin_copysignf(x, s); }
CT_FORMULA double copysign(double x, double s) { return __builtin_copysign(x, s); }
CT_FORMULA bool isnan(float x) { return x != x; }
CT_FORMULA bool isnan(double x) { return x != x; }
CT_FORMULA bool signbit(float x) { return bit_cast<int32_t>(x) < 0; }
CT_FORMULA bool signbit(double x) { return bit_cast<int64_t>(x) < 0; }

// Rounding to integers: instructions from SSE4.1 on; before, adding 2^23 (2^52) rounds to the nearest even.
#if defined(__SSE4_1__) || !defined(__x86_64__)
CT_FORMULA float rint(float x) { return __builtin_rintf(x); }
CT_FORMULA double rint(double x) { return __builtin_rint(x); }
CT_FORMULA float floor(float x) { return __builtin_floorf(x); }
CT_FORMULA double floor(double x) { return __builtin_floor(x); }
CT_FORMULA float ceil(float x) { return __builtin_ceilf(x); }
CT_FORMULA double ceil(double x) { return __builtin_ceil(x); }
CT_FORMULA float trunc(float x) { return __builtin_truncf(x); }
CT_FORMULA double trunc(double x) { return __builtin_trunc(x); }
#else
CT_FORMULA float rint(float x) {
  float a = abs(x);
  return a < 0x1p23f ? copysign((a + 0x1p23f) - 0x1p23f, x) : x;
}
CT_FORMULA double rint(double x) {
  double a = abs(x);
  return a < 0x1p52 ? copysign((a + 0x1p52) - 0x1p52, x) : x;
}
template <class T>
CT_FORMULA T floor(T x) {
  T r = rint(x);
  return copysign(r > x ? r - T(1) : r, x);
}
template <class T>
CT_FORMULA T ceil(T x) {
  T r = rint(x);
  return copysign(r < x ? r + T(1) : r, x);
}
template <class T>
CT_FORMULA T trunc(T x) {
  T a = abs(x), r = rint(a);
  return copysign(r > a ? r - T(1) : r, x);
}
#endif

// 2^n for n in [-126, 127]; for others some number.
CT_FORMULA float power_of_two(int32_t n) { return bit_cast<float>((static_cast<uint32_t>(n) + 127u) << 23); }

namespace detail {

// x = n ln2 + r with |r| <= ln2 / 2. Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
struct ExpParts {
  float r;
  int32_t n;
};
CT_FORMULA ExpParts split_exp(float x) {
  float t = fma(x, 1.44269504f, 12582912.0f);
  float n = t - 12582912.0f;
  float r = fma(n, -0.693145752f,
                x);  // ln2 in two parts; the first has 9 trailing zero bits, so that n * it is exact
  r = fma(n, -1.42860677e-6f, r);
  return {r, static_cast<int32_t>(bit_cast<uint32_t>(t) - 0x4b400000u)};
}

// (e^r - 1 - r) / r^2 for |r| <= ln2 / 2.
CT_FORMULA float exp_tail(float r) {
  return poly(r, 0.5f, 0.166666672f, 0.0416664816f, 0.00833320804f, 0.00139335648f, 0.000199442555f);
}
// (e^r - 1) / r for |r| <= ln2 / 2, where e^r is wanted.
CT_FORMULA float exp_slope(float r) {
  return poly(r, 1.0f, 0.49999994f, 0.166664317f, 0.0416680016f, 0.00837415736f, 0.00138436619f);
}
// (2^r - 1) / r for |r| <= 1/2, likewise.
CT_FORMULA float exp2_slope(float r) {
  return poly(r, 0.693147182f, 0.240226477f, 0.0555033237f, 0.00961843692f, 0.00133988773f, 0.000153533707f);
}

// p 2^n for |n| <= 252, in two steps, so that results outside the range of normal floats come out right.
CT_FORMULA float scale(float p, int32_t n) {
  uint32_t biases = static_cast<uint32_t>(n) + 2 * 127u, half = biases >> 1;
  return p * bit_cast<float>(half << 23) * bit_cast<float>((biases - half) << 23);
}

CT_FORMULA float clamp(float x, float low, float high) {  // NaN stays
  x = x > high ? high : x;
  return x < low ? low : x;
}

// e^x 2^shift for x in [-150, 130]
CT_FORMULA float exp_shifted(float x, int32_t shift) {
  auto [r, n] = split_exp(x);
  return scale(fma(r * r, exp_tail(r), r) + 1.0f, n + shift);
}

// x > 0 as m 2^e with m in [sqrt(1/2), sqrt(2)), subnormal numbers included.
struct LogParts {
  float m, e;
};
CT_FORMULA LogParts split_log(float x) {
  bool subnormal = x < 1.17549435e-38f;
  uint32_t bits = bit_cast<uint32_t>(subnormal ? x * 0x1p23f : x);  // unsigned, as NaN may wrap round
  int32_t e = static_cast<int32_t>(bits - 0x3f3504f3u) >> 23;
  return {bit_cast<float>(bits - (static_cast<uint32_t>(e) << 23)),
          static_cast<float>(subnormal ? e - 23 : e)};
}

// log(1 + f) for 1 + f in [sqrt(1/2), sqrt(2)], as a sum whose first part is f.
CT_FORMULA float log1p_tail(float f) {
  float q = poly(f, 0.333333105f, -0.249999866f, 0.200022236f, -0.166692495f, 0.142187163f, -0.12384402f,
                 0.118726194f, -0.117893703f, 0.0691561252f);
  return f * f * fma(f, q, -0.5f);
}

// What log makes of 0, negative numbers, infinity and NaN.
CT_FORMULA float log_special(float x, float y) {
  y = x == kInf ? kInf : y;
  y = x == 0.0f ? -kInf : y;
  return x >= 0.0f ? y : kNaN;
}

}  // namespace detail

CT_FORMULA float exp(float x) { return detail::exp_shifted(detail::clamp(x, -105.0f, 89.0f), 0); }

CT_FORMULA float exp2(float x) {
  x = detail::clamp(x, -151.0f, 129.0f);
  float t = x + 12582912.0f;
  float r = (x - (t - 12582912.0f)) * 0.693147181f;
  return detail::scale(fma(r * r, detail::exp_tail(r), r) + 1.0f, bit_cast<int32_t>(t) - 0x4b400000);
}

CT_FORMULA float expm1(float x) {
  x = detail::clamp(x, -18.0f, 89.0f);
  auto [r, n] = detail::split_exp(x);
  float p = fma(r * r, detail::exp_tail(r), r);
  // 2^n may overflow where the result does not: work with half of it.
  float s = power_of_two(n - 1);
  float y = fma(s, p, s - 0.5f) * 2.0f;
  return abs(x) < 0x1p-24f ? x : y;
}

CT_FORMULA float log(float x) {
  auto [m, e] = detail::split_log(x);
  float f = m - 1.0f;
  float y = fma(e, 0.693359375f, f + fma(e, -2.12194440e-4f, detail::log1p_tail(f)));
  return detail::log_special(x, y);
}

CT_FORMULA float log2(float x) {
  auto [m, e] = detail::split_log(x);
  float f = m - 1.0f, tail = detail::log1p_tail(f);
  // 1 / ln2 = 1 + 0.442695041
  float y = e + (f + fma(f, 0.442695041f, tail * 1.44269504f));
  return detail::log_special(x, y);
}

CT_FORMULA float log10(float x) {
  auto [m, e] = detail::split_log(x);
  float f = m - 1.0f, tail = detail::log1p_tail(f);
  // log10(2) in two parts, the first with 11 bits; 1 / ln10 likewise
  float y = fma(f, 0.434326172f, fma(f, -3.16894298e-5f, fma(tail, 0.434294482f, e * 4.60503898e-6f)));
  return detail::log_special(x, fma(e, 0.301025391f, y));
}

CT_FORMULA float log1p(float x) {
  float u = 1.0f + x;
  auto [m, e] = detail::split_log(u);
  // What the rounding of 1 + x lost, relative to u.
  float lost = (abs(x) < 1.0f ? x - (u - 1.0f) : 1.0f - (u - x)) / u;
  float f = m - 1.0f;
  float y = fma(e, 0.693359375f, f + fma(e, -2.12194440e-4f, detail::log1p_tail(f) + lost));
  y = abs(x) < 0x1p-24f ? x : y;
  y = x == kInf ? kInf : y;
  y = x == -1.0f ? -kInf : y;
  return x >= -1.0f ? y : kNaN;
}

CT_FORMULA float tanh(float x) {
  float a = abs(x);
  float t = expm1(2.0f * (a > 10.0f ? 10.0f : a));
  return copysign(t / (t + 2.0f), x);
}

CT_FORMULA float sigmoid(float x) { return 1.0f / (1.0f + exp(-x)); }

CT_FORMULA float sinh(float x) {
  float a = abs(x), z = x * x;
  float half = detail::exp_shifted(detail::clamp(a, 0.0f, 90.0f), -1);
  float small = fma(x * z, poly(z, 0.166666672f, 0.00833331142f, 0.000198426351f, 2.78392554e-06f), x);
  return a < 1.0f ? small : copysign(half - 0.25f / half, x);
}

CT_FORMULA float cosh(float x) {
  float half = detail::exp_shifted(detail::clamp(abs(x), 0.0f, 90.0f), -1);
  return half + 0.25f / half;
}

namespace detail {
// erf(x) for |x| < 0.9
CT_FORMULA float erf_small(float x) {
  return fma(x,
             poly(x * x, 0.128379151f, -0.376125067f, 0.112819888f, -0.0267739743f, 0.00500534708f,
                  -0.000605901296f),
             x);
}
}  // namespace detail

CT_FORMULA float erf(float x) {
  float a = abs(x);
  float t = a > 3.95f ? 3.95f : a;
  float log_erfc = poly(t, 0.000163587654f, -1.12946117f, -0.63345629f, -0.108159021f, 0.0250407495f,
                        -0.0041410597f, 0.00042824875f, -2.05560536e-05f);
  float large = 1.0f - detail::exp_shifted(log_erfc, 0);
  return a < 0.9f ? detail::erf_small(x) : copysign(large, x);
}

CT_FORMULA float erfc(float x) {
  float a = abs(x);
  a = a > 10.5f ? 10.5f : a;
  float t = (a - 2.0f) / (a + 2.0f);
  float g = poly(t, 1.27697837f, -0.0927639306f, -0.166031033f, 0.1640549f, -0.0542063452f, -0.00805908535f,
                 0.00863534119f, 0.00131371839f, -0.00123158866f, -0.00040083364f) /
            fma(2.0f, a, 1.0f);
  // a^2 = hi + lo exactly enough: hi is the square of a's upper 12 bits.
  float upper = bit_cast<float>(bit_cast<uint32_t>(a) & 0xfffff000u);
  float lo = (a - upper) * (a + upper);
  float y = detail::exp_shifted(-(upper * upper), 0) * exp(-lo) * g;
  y = x < 0.0f ? 2.0f - y : y;
  return abs(x) < 0.45f ? 1.0f - detail::erf_small(x) : y;
}

// The probability that a normal number is below x, as 2^p(|x|) or 1 - 2^p(|x|): within 1.7 * 2^-24 where x is
// positive, within 2.8 (1 + x^2) eps of itself where it is negative, 0 from -9 on.
CT_FORMULA float normal_cdf(float x) {
  float a = abs(x);
  float q = poly(a, -0.999999881f, -1.15111089f, -0.459164083f, -0.052615609f, 0.00720177079f,
                 -0.000201243369f, -0.000188378122f, 5.2321102e-05f, -7.41476106e-06f, 6.20590754e-07f,
                 -2.90029085e-08f, 5.84412019e-10f);
  constexpr float shifter = 12582912.0f + 127.0f;  // its sum with q ends in the biased exponent of 2^n
  float t = q + shifter, r = q - (t - shifter);
  float power = bit_cast<float>(bit_cast<uint32_t>(t) << 23);
  float tail = a > 9.0f ? 0.0f : fma(power * r, detail::exp2_slope(r), power);
  return x < 0.0f ? tail : 1.0f - tail;
}

// The same for results in half types: within 2^-14 of itself, in the
// lower tail too. It is 2^p(|x|) or 1 - 2^p(|x|), where p fits log2 to 6e-5 up to 13.6; beyond, the product
// with x is 0 even in bfloat16.
CT_FORMULA float normal_cdf_coarse(float x) {
  float a = abs(x);
  float q = poly(a, -1.00003862f, -1.15086877f, -0.459028453f, -0.0537638068f, 0.00858828891f,
                 -0.00100293825f, 8.12346334e-05f, -4.27645e-06f, 1.30741626e-07f, -1.75447967e-09f);
  constexpr float shifter =
      12582912.0f + 127.0f + 64.0f;  // its sum with q ends in the exponent of 2^(n + 64)
  float t = q + shifter, r = q - (t - shifter);
  float power = bit_cast<float>(bit_cast<uint32_t>(t) << 23);
  float p = poly(r, 1.0f, 0.693124175f, 0.240240991f, 0.0559064262f, 0.00958285388f);
  float tail = a > 13.6f ? 0.0f : p * power * 0x1p-64f;
  return x < 0.0f ? tail : 1.0f - tail;
}

// Formulas that need the argument below a bound say so; the loops send the rest to the C library.
inline constexpr float kTrigLimit = 1e6f;

namespace detail {

// x = q pi/2 + r, |r| <= pi/4, for |x| <= kTrigLimit: in double, with pi/2 in two parts.
struct TrigParts {
  float r;
  int32_t quadrant;
};
CT_FORMULA TrigParts split_trig(float x) {
  double xd = x;
  double t = fma(xd, 0.63661977236758134308, 6755399441055744.0);
  double q = t - 6755399441055744.0;
  double r = fma(q, -1.57079632673412561417, xd);  // 33 bits of pi/2: exact times q < 2^20
  r = fma(q, -6.07710050650619224932e-11, r);
  return {static_cast<float>(r), static_cast<int32_t>(bit_cast<int64_t>(t))};
}
CT_FORMULA float sin_poly(float r) {
  float z = r * r;
  return fma(r * z, poly(z, -0.166666672f, 0.0083333794f, -0.00019852983f, 2.83080158e-06f), r);
}
CT_FORMULA float cos_poly(float r) {
  float z = r * r;
  return fma(z * z, poly(z, 0.0416666679f, -0.001388898f, 2.48219112e-05f, -2.88593128e-07f),
             fma(z, -0.5f, 1.0f));
}
CT_FORMULA float negate_if(float x, int32_t condition) {
  return bit_cast<float>(bit_cast<uint32_t>(x) ^ (static_cast<uint32_t>(condition != 0) << 31));
}

}  // namespace detail

namespace detail {

CT_FORMULA float sin_of(float x, TrigParts p) {
  float s = sin_poly(p.r), c = cos_poly(p.r);
  float y = negate_if((p.quadrant & 1) ? c : s, p.quadrant & 2);
  return x == 0.0f ? x : y;
}
CT_FORMULA float cos_of(TrigParts p) {
  float s = sin_poly(p.r), c = cos_poly(p.r);
  return negate_if((p.quadrant & 1) ? s : c, (p.quadrant + 1) & 2);
}
CT_FORMULA float tan_of(float x, TrigParts p) {
  float s = sin_poly(p.r), c = cos_poly(p.r);
  float y = (p.quadrant & 1) ? -c / s : s / c;
  return x == 0.0f ? x : y;
}

// For arguments and results in half types, in float alone. The first product and difference are exact: q has
// 20 bits and the constant 24, and what cancellation leaves fits a float. The other part of pi/2 is off by
// 2e-9 at most, where arguments come no closer to a multiple of pi/2 than 1e-5.
CT_FORMULA TrigParts split_trig_coarse(float x) {
  constexpr float shifter = 12582912.0f;  // its sum with q has q mod 4 in the lowest bits
  float t = fma(x, 0.636619772f, shifter), q = t - shifter;
  return {fma(q, 4.37113883e-08f, fma(q, -1.57079637f, x)), bit_cast<int32_t>(t)};
}

}  // namespace detail

CT_FORMULA float sin(float x) { return detail::sin_of(x, detail::split_trig(x)); }
CT_FORMULA float cos(float x) { return detail::cos_of(detail::split_trig(x)); }
CT_FORMULA float tan(float x) { return detail::tan_of(x, detail::split_trig(x)); }
CT_FORMULA float sin_coarse(float x) { return detail::sin_of(x, detail::split_trig_coarse(x)); }
CT_FORMULA float cos_coarse(float x) { return detail::cos_of(detail::split_trig_coarse(x)); }
CT_FORMULA float tan_coarse(float x) { return detail::tan_of(x, detail::split_trig_coarse(x)); }

CT_FORMULA float atan(float x) {
  float a = abs(x);
  // Bring the argument below tan(pi/8) with one division.
  bool large = a > 2.41421356f, middle = a > 0.414213562f;
  float numerator = large ? -1.0f : middle ? a - 1.0f : a;
  float denominator = large ? a : middle ? a + 1.0f : 1.0f;
  float base = large ? 1.57079637f : middle ? 0.785398185f : 0.0f;
  float base_low = large ? -4.37113883e-08f : middle ? -2.18556941e-08f : 0.0f;
  float t = numerator / denominator, z = t * t;
  float tail =
      fma(t * z, poly(z, -0.333333135f, 0.199983567f, -0.14241229f, 0.105759494f, -0.0603116155f), base_low);
  return copysign(base + (t + tail), x);
}

CT_FORMULA float atan2(float y, float x) {
  float ax = abs(x), ay = abs(y);
  float low = ax < ay ? ax : ay, high = ax < ay ? ay : ax;
  float ratio = low / high;
  ratio = low == high ? (high == 0.0f ? 0.0f : 1.0f) : ratio;  // 0/0 and inf/inf
  float a = atan(ratio);
  a = ax < ay ? (1.57079637f - a) + -4.37113883e-08f : a;
  a = signbit(x) ? (3.14159274f - a) + -8.74227766e-08f : a;
  a = copysign(a, y);
  return x != x || y != y ? x + y : a;
}

namespace detail {
// asin(t) - t for t^2 = z <= 1/4
CT_FORMULA float asin_tail(float t, float z) {
  return t * z *
         poly(z, 0.166666597f, 0.075005196f, 0.0445141941f, 0.031829413f, 0.0143607827f, 0.0376207903f);
}
}  // namespace detail

CT_FORMULA float asin(float x) {
  float a = abs(x);
  bool large = a > 0.5f;
  float z = large ? fma(a, -0.5f, 0.5f) : a * a;
  float t = large ? sqrt(z) : a;
  float y = t + detail::asin_tail(t, z);
  y = large ? fma(-2.0f, y, 1.57079637f) + -4.37113883e-08f : y;
  return copysign(y, x);
}

CT_FORMULA float acos(float x) {
  float a = abs(x);
  bool large = a > 0.5f;
  float z = large ? fma(a, -0.5f, 0.5f) : a * a;
  float t = large ? sqrt(z) : x;
  float tail = detail::asin_tail(t, z);
  float twice = 2.0f * (t + tail);
  float far = signbit(x) ? 3.14159274f - (twice - -8.74227766e-08f) : twice;
  return large ? far : 1.57079637f - (t + (tail - -4.37113883e-08f));
}

CT_FORMULA float asinh(float x) {
  float a = abs(x), z = a * a;
  float small = fma(
      a * z,
      poly(z, -0.166666657f, 0.0749990717f, -0.0446160994f, 0.0300336331f, -0.0200499278f, 0.00925722811f),
      a);
  bool huge = a > 1e9f;
  // log(a + sqrt(a^2 + 1)), and log(2 a) where the square would overflow.
  float large = log1p(huge ? a : a + z / (1.0f + sqrt(z + 1.0f))) + (huge ? 0.693147181f : 0.0f);
  return copysign(a < 0.5f ? small : large, x);
}

CT_FORMULA float acosh(float x) {
  bool huge = x > 1e9f;
  float t = x - 1.0f;
  float y = log1p(huge ? x : t + sqrt(t * (x + 1.0f))) + (huge ? 0.693147181f : 0.0f);
  return x >= 1.0f ? y : kNaN;
}

CT_FORMULA float atanh(float x) {
  float a = abs(x);
  return copysign(0.5f * log1p(2.0f * a / (1.0f - a)), x);
}

namespace detail {

// log2 of x >= 0 in double, from 2 atanh((m - 1) / (m + 1)) / ln2; relative error below 2^-40.
CT_FORMULA double log2_wide(float x) {
  auto [m, e] = split_log(x);
  double md = m, s = (md - 1.0) / (md + 1.0);
  double p = poly(s * s, 2.885390081777928, 0.9617966939226347, 0.577078017822437, 0.4121983271340257,
                  0.32062105278854286, 0.26130484713591556, 0.24451592886512047);
  return fma(s, p, static_cast<double>(e));
}

// 2^x in double for |x| <= 300; relative error below 2^-34.
CT_FORMULA double exp2_wide(double x) {
  double t = x + 6755399441055744.0;
  double r = x - (t - 6755399441055744.0);
  double p = poly(r, 0.999999999958236, 0.6931471805342192, 0.24022651226145877, 0.05550410978761481,
                  0.009618023935947854, 0.0013333420467965108, 0.0001547026335099859, 1.5316972022249983e-05);
  int64_t n = bit_cast<int64_t>(t) - 0x4338000000000000;
  return p * bit_cast<double>((n + 1023) << 52);
}

}  // namespace detail

// x^y as 2^(y log2|x|) in double, and C's list of special cases.
CT_FORMULA float pow(float x, float y) {
  float a = abs(x);
  double l = detail::log2_wide(a);
  l = a == 0.0f ? -1e300 : l;
  l = a == kInf ? 1e300 : l;
  double e = l * static_cast<double>(y);
  e = e > 300.0 ? 300.0 : e;
  e = e < -300.0 ? -300.0 : e;
  float p = static_cast<float>(detail::exp2_wide(e));
  float ay = abs(y);
  // y is an odd integer if y/2 is not an integer but y is; above 2^24 all are even.
  float half = 0.5f * ay;
  bool integer = trunc(ay) == ay;
  bool odd = integer && trunc(half) != half;
  p = signbit(x) && odd ? -p : p;
  p = x < 0.0f && !integer && a != kInf ? kNaN : p;
  p = x != x || y != y ? kNaN : p;
  p = a == 1.0f && ay == kInf ? 1.0f : p;
  return y == 0.0f || x == 1.0f ? 1.0f : p;
}

namespace detail {

// The same in double, with Taylor coefficients up to the degree at which the rest is below 2^-57.
struct ExpPartsWide {
  double r;
  int64_t n;
};
CT_FORMULA ExpPartsWide split_exp(double x) {
  double t = fma(x, 1.4426950408889634, 6755399441055744.0);
  double n = t - 6755399441055744.0;
  double r = fma(n, -0.693147180369123816490, x);  // 33 bits of ln2: n * it is exact
  r = fma(n, -1.90821492927058770002e-10, r);
  return {r, bit_cast<int64_t>(t) - 0x4338000000000000};
}
CT_FORMULA double exp_tail(double r) {
  return poly(r, 0.5, 0.16666666666666666, 0.041666666666666664, 0.008333333333333333, 0.001388888888888889,
              0.0001984126984126984, 2.48015873015873e-05, 2.7557319223985893e-06, 2.755731922398589e-07,
              2.505210838544172e-08, 2.08767569878681e-09, 1.6059043836821613e-10);
}
CT_FORMULA double power_of_two(int64_t n) { return bit_cast<double>((n + 1023) << 52); }
CT_FORMULA double scale(double p, int64_t n) {
  int64_t half =
      (n + 4096) / 2 - 2048;  // rounds down; there is no vector shift of signed 64-bit numbers before AVX-512
  return p * power_of_two(half) * power_of_two(n - half);
}
CT_FORMULA double clamp(double x, double low, double high) {
  x = x > high ? high : x;
  return x < low ? low : x;
}
CT_FORMULA double exp_shifted(double x, int64_t shift) {
  auto [r, n] = split_exp(x);
  return scale(fma(r * r, exp_tail(r), r) + 1.0, n + shift);
}

struct LogPartsWide {
  double m, e;
};
CT_FORMULA LogPartsWide split_log(double x) {
  bool subnormal = x < 2.2250738585072014e-308;
  uint64_t bits = bit_cast<uint64_t>(subnormal ? x * 0x1p54 : x);
  // Exponent of x / sqrt(1/2), with the bias: unsigned, as that shift and conversion exist as vector
  // instructions.
  uint64_t biased = (bits + (0x3ff0000000000000 - 0x3fe6a09e667f3bcd)) >> 52;
  double e = bit_cast<double>(biased | 0x4330000000000000) - (4503599627370496.0 + 1023.0);
  double m = bit_cast<double>(bits - ((biased - 1023) << 52));
  return {m, subnormal ? e - 54.0 : e};
}
// log(1 + f) - f + f^2 / 2, by 2 atanh(f / (2 + f)): as in the float version a tail behind f.
CT_FORMULA double log1p_tail(double f) {
  double s = f / (2.0 + f), z = s * s;
  double p = z * poly(z, 0.6666666666666666, 0.4, 0.2857142857142857, 0.2222222222222222, 0.18181818181818182,
                      0.15384615384615385, 0.13333333333333333, 0.11764705882352941, 0.10526315789473684,
                      0.09523809523809523);
  double half = 0.5 * f * f;
  return s * (half + p) - half;
}
CT_FORMULA double log_special(double x, double y) {
  constexpr double inf = std::numeric_limits<double>::infinity();
  y = x == inf ? inf : y;
  y = x == 0.0 ? -inf : y;
  return x >= 0.0 ? y : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace detail

CT_FORMULA double exp(double x) { return detail::exp_shifted(detail::clamp(x, -750.0, 710.0), int64_t{0}); }
CT_FORMULA double expm1(double x) {
  double c = detail::clamp(x, -40.0, 710.0);
  auto [r, n] = detail::split_exp(c);
  double p = fma(r * r, detail::exp_tail(r), r);
  double s = detail::power_of_two(n - 1);
  double y = fma(s, p, s - 0.5) * 2.0;
  return abs(x) < 0x1p-54 ? x : y;
}
CT_FORMULA double log(double x) {
  auto [m, e] = detail::split_log(x);
  double f = m - 1.0;
  double y = fma(e, 0.693147180369123816490, f + fma(e, 1.90821492927058770002e-10, detail::log1p_tail(f)));
  return detail::log_special(x, y);
}
CT_FORMULA double log1p(double x) {
  double u = 1.0 + x;
  auto [m, e] = detail::split_log(u);
  double lost = (abs(x) < 1.0 ? x - (u - 1.0) : 1.0 - (u - x)) / u;
  double f = m - 1.0;
  double y =
      fma(e, 0.693147180369123816490, f + fma(e, 1.90821492927058770002e-10, detail::log1p_tail(f) + lost));
  constexpr double inf = std::numeric_limits<double>::infinity();
  y = abs(x) < 0x1p-53 ? x : y;
  y = x == inf ? inf : y;
  y = x == -1.0 ? -inf : y;
  return x >= -1.0 ? y : std::numeric_limits<double>::quiet_NaN();
}
CT_FORMULA double tanh(double x) {
  double a = abs(x);
  double t = expm1(2.0 * (a > 20.0 ? 20.0 : a));
  return copysign(t / (t + 2.0), x);
}
CT_FORMULA double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

#define CT_LIBM_1(name) \
  CT_FORMULA double name(double x) { return __builtin_##name(x); }
CT_LIBM_1(exp2)
CT_LIBM_1(log2)
CT_LIBM_1(log10)
CT_LIBM_1(sinh)
CT_LIBM_1(cosh)
CT_LIBM_1(erf)
CT_LIBM_1(erfc)
CT_LIBM_1(sin)
CT_LIBM_1(cos)
CT_LIBM_1(tan)
CT_LIBM_1(asin)
CT_LIBM_1(acos)
CT_LIBM_1(atan)
CT_LIBM_1(asinh)
CT_LIBM_1(acosh)
CT_LIBM_1(atanh)
#undef CT_LIBM_1
CT_FORMULA double normal_cdf(double x) { return 0.5 * __builtin_erfc(x * -0.70710678118654752440); }
CT_FORMULA double atan2(double y, double x) { return __builtin_atan2(y, x); }
CT_FORMULA double pow(double x, double y) { return __builtin_pow(x, y); }

CT_FORMULA float hypot(float x, float y) {  // in double nothing overflows
  double xd = x, yd = y;
  float h = static_cast<float>(sqrt(fma(xd, xd, yd * yd)));
  return abs(x) == kInf || abs(y) == kInf ? kInf : h;
}
CT_FORMULA double hypot(double x, double y) { return __builtin_hypot(x, y); }

}  // namespace ctorch::math
