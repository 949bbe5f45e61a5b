// Loops over a row in steps of a fixed number of lanes, which the compiler turns into whole vectors. The rest
// of a row goes through a padded copy, so that it takes one vector step too, and not up to kRowLanes - 1
// scalar ones.
#pragma once

#include <cstring>
#include <type_traits>

#include "core/dtype.h"
#include "core/half.h"
#include "core/macros.h"
#include "kernels/cpu/vec_math.h"

namespace ctorch::CT_ISA {

// n elements to float and back, by the loops of copy.cpp.
void widen_row(const Half* from, float* to, int64_t n);
void widen_row(const BFloat16* from, float* to, int64_t n);
void narrow_row(const float* from, Half* to, int64_t n);
void narrow_row(const float* from, BFloat16* to, int64_t n);

namespace {

inline constexpr int kRowLanes = 32;

// Calls step(in..., width) for consecutive runs of kRowLanes elements; the last run is padded with `pad`.
template <class T, class Step>
CT_INLINE void read_lanes(const T* p, int64_t n, std::type_identity_t<T> pad, Step step) {
  int64_t i = 0;
  for (; i + kRowLanes <= n; i += kRowLanes) step(p + i);
  if (i == n) return;
  T rest[kRowLanes];
  for (int j = 0; j < kRowLanes; ++j) rest[j] = pad;
  std::memcpy(rest, p + i, static_cast<size_t>(n - i) * sizeof(T));
  step(static_cast<const T*>(rest));
}
template <class T, class Step>
CT_INLINE void read_lanes2(const T* a, const T* b, int64_t n, Step step) {
  int64_t i = 0;
  for (; i + kRowLanes <= n; i += kRowLanes) step(a + i, b + i);
  if (i == n) return;
  T rest_a[kRowLanes] = {}, rest_b[kRowLanes] = {};
  std::memcpy(rest_a, a + i, static_cast<size_t>(n - i) * sizeof(T));
  std::memcpy(rest_b, b + i, static_cast<size_t>(n - i) * sizeof(T));
  step(static_cast<const T*>(rest_a), static_cast<const T*>(rest_b));
}
// The same with a row to write: step(in, out).
template <class T, class Step>
CT_INLINE void map_lanes(const T* p, T* out, int64_t n, std::type_identity_t<T> pad, Step step) {
  int64_t i = 0;
  for (; i + kRowLanes <= n; i += kRowLanes) step(p + i, out + i);
  if (i == n) return;
  T rest[kRowLanes], result[kRowLanes];
  for (int j = 0; j < kRowLanes; ++j) rest[j] = pad;
  std::memcpy(rest, p + i, static_cast<size_t>(n - i) * sizeof(T));
  step(static_cast<const T*>(rest), static_cast<T*>(result));
  std::memcpy(out + i, result, static_cast<size_t>(n - i) * sizeof(T));
}

template <class V>
struct Lanes {
  V lane[kRowLanes];
  CT_INLINE explicit Lanes(V value) {
    for (int j = 0; j < kRowLanes; ++j) lane[j] = value;
  }
  CT_INLINE V& operator[](int j) { return lane[j]; }
  CT_INLINE V sum() const {
    V s[kRowLanes];
    for (int j = 0; j < kRowLanes; ++j) s[j] = lane[j];
#pragma GCC unroll 8
    for (int h = kRowLanes / 2; h > 0; h /= 2) {
      for (int j = 0; j < h; ++j) s[j] += s[j + h];
    }
    return s[0];
  }
  // NaN if a lane is NaN.
  CT_INLINE V max() const {
    V s[kRowLanes];
    for (int j = 0; j < kRowLanes; ++j) s[j] = lane[j];
#pragma GCC unroll 8
    for (int h = kRowLanes / 2; h > 0; h /= 2) {
      for (int j = 0; j < h; ++j) s[j] = greater(s[j], s[j + h]);
    }
    return s[0];
  }
  // Two plain choices, which the compiler turns into vector instructions.
  static CT_INLINE V greater(V a, V b) {
    const V chosen = a > b ? a : b;  // b if either is NaN
    return a != a ? a : chosen;
  }
};

// e^x and 2^x for x <= 0 (up to 88, in fact), or 0 where that would not be a normal number: such results, of
// masked elements say, would cost an assist of the processor of about 150 cycles each. Half the instructions
// of exp: the power of two is an addend's factor, so that NaN stays.
CT_INLINE float exp_below_zero(float x) {
  const auto [r, n] = math::detail::split_exp(x);
  const float power = math::power_of_two(n);
  const float e = math::fma(power * r, math::detail::exp_slope(r), power);
  return x < -87.0f ? 0.0f : e;
}
CT_INLINE float exp2_below_zero(float x) {
  constexpr float shifter = 12582912.0f + 127.0f;  // its sum with x ends in the biased exponent of 2^n
  const float t = x + shifter, r = x - (t - shifter);
  const float power = bit_cast<float>(bit_cast<uint32_t>(t) << 23);
  const float e = math::fma(power * r, math::detail::exp2_slope(r), power);
  return x < -126.0f ? 0.0f : e;
}
CT_INLINE double exp_below_zero(double x) { return math::exp(x); }
CT_INLINE double exp2_below_zero(double x) {
  const double t = x + 6755399441055744.0, r = (x - (t - 6755399441055744.0)) * math::kLn2;
  const double power = math::detail::power_of_two(bit_cast<int64_t>(t) - int64_t{0x4338000000000000});
  const double e = math::fma(power, math::fma(r * r, math::detail::exp_tail(r), r), power);
  return x < -1022.0 ? 0.0 : e;
}

}  // namespace
}  // namespace ctorch::CT_ISA
