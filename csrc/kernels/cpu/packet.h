// Half types in registers: a packet is as many elements as are converted to floats and back at a time.
#pragma once

#ifdef __F16C__
#include <immintrin.h>
#endif

#include "core/dtype.h"
#include "kernels/cpu/vec_math.h"

namespace ctorch::CT_ISA {
namespace {

template <class T>
struct Packet;

// Two elements in a word, of which each is a float once the other is out of the way: no lane moves, and half
// as many instructions as widening a vector to two takes.
template <>
struct Packet<BFloat16> {
  static constexpr int kLanes = 2;
  typedef uint32_t Bits __attribute__((aligned(2), may_alias));

  CT_INLINE static void unpack(const Bits& from, float* x) {
    const uint32_t bits = from;
    x[0] = bit_cast<float>(bits << 16);
    x[1] = bit_cast<float>(bits & 0xffff0000u);
  }
  // To nearest even. NaN needs no care: those that formulas make out of such elements, and of number(), have
  // zeros in the lower half, from which rounding cannot carry into the upper one.
  CT_INLINE static uint32_t round(float x) {
    const uint32_t bits = bit_cast<uint32_t>(x);
    return bits + 0x7fffu + ((bits >> 16) & 1u);
  }
  template <bool kRound>
  CT_INLINE static void pack(Bits& to, const float* y) {
    const uint32_t low = kRound ? round(y[0]) : bit_cast<uint32_t>(y[0]);
    const uint32_t high = kRound ? round(y[1]) : bit_cast<uint32_t>(y[1]);
    to = (low >> 16) | (high & 0xffff0000u);
  }
  CT_INLINE static float number(float x) { return x != x ? math::kNaN : x; }
};

#ifdef __F16C__
// Two vectors of floats. The loops over the lanes of a packet are whole vectors, which stay in registers.
template <>
struct Packet<Half> {
#ifdef __AVX512F__
  static constexpr int kLanes = 32;
#else
  static constexpr int kLanes = 16;
#endif
  struct __attribute__((may_alias)) Bits {
    uint16_t lane[kLanes];
  };

  CT_INLINE static void unpack(const Bits& from, float* x) {
#ifdef __AVX512F__
    for (int k = 0; k < kLanes; k += 16)
      _mm512_storeu_ps(
          x + k,
          _mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from.lane + k))));
#else
    for (int k = 0; k < kLanes; k += 8)
      _mm256_storeu_ps(x + k,
                       _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from.lane + k))));
#endif
  }
  template <bool kRound>
  CT_INLINE static void pack(Bits& to, const float* y) {
#ifdef __AVX512F__
    for (int k = 0; k < kLanes; k += 16)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to.lane + k),
                          _mm512_maskz_cvtps_ph(0xffff, _mm512_loadu_ps(y + k), _MM_FROUND_TO_NEAREST_INT));
#else
    for (int k = 0; k < kLanes; k += 8)
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to.lane + k),
                       _mm256_cvtps_ph(_mm256_loadu_ps(y + k), _MM_FROUND_TO_NEAREST_INT));
#endif
  }
  CT_INLINE static float number(float x) { return x; }
};
#endif

// The half types with direct kernels. The baseline of x86-64 is built for size.
#if defined(__F16C__)
using DirectHalves = TypeList<BFloat16, Half>;
#elif defined(__x86_64__)
using DirectHalves = TypeList<>;
#else
using DirectHalves = TypeList<BFloat16>;
#endif

}  // namespace
}  // namespace ctorch::CT_ISA
