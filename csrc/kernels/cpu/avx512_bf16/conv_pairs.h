// Rows of bfloat16, and of pairs of two channels, for convolutions.
#pragma once

#include "kernels/cpu/avx512_bf16/pairs.h"

namespace ctorch::CT_ISA {
namespace {

// `count` elements, at most kLanes<Pair>, kPitch (1 or 2) apart, each in the lower half of a lane.
template <int kPitch>
CT_INLINE Simd<Pair>::Vector load_lower_halves(const BFloat16* p, int64_t count) {
  typedef uint16_t Narrow __attribute__((vector_size(kVectorBytes / 2)));
  if constexpr (kPitch == 2) {
    const auto evens = static_cast<__mmask32>(0x55555555u & ((uint64_t{1} << 2 * count) - 1));
    return reinterpret_cast<Simd<Pair>::Vector>(_mm512_maskz_loadu_epi16(evens, p));
  } else {
    const auto first = static_cast<__mmask16>((1u << count) - 1);
    return __builtin_convertvector(reinterpret_cast<Narrow>(_mm256_maskz_loadu_epi16(first, p)),
                                   Simd<Pair>::Vector);
  }
}

// Pairs of the elements of two rows, or of one and zeros.
template <int kPitch>
void pair_rows(Pair* to, const BFloat16* first, const BFloat16* second, int64_t count) {
  constexpr int64_t lanes = kLanes<Pair>;
  for (int64_t i = 0; i < count; i += lanes) {
    const int64_t n = std::min(lanes, count - i);
    Simd<Pair>::Vector pairs = load_lower_halves<kPitch>(first + i * kPitch, n);
    if (second) pairs |= load_lower_halves<kPitch>(second + i * kPitch, n) << 16;
    store_partial(to + i, pairs, n);
  }
}

// Pairs of points that are `pitch` apart.
CT_INLINE void pair_points(Pair* to, const BFloat16* first, const BFloat16* second, int64_t pitch,
                           int64_t count) {
  if (pitch == 1) return pair_rows<1>(to, first, second, count);
  if (pitch == 2) return pair_rows<2>(to, first, second, count);
  for (int64_t i = 0; i < count; ++i)
    to[i] = pair_of(first[i * pitch], second ? second[i * pitch] : BFloat16{});
}

// The lower halves of `count` lanes.
CT_INLINE void store_lower_halves(BFloat16* to, Simd<Pair>::Vector halves, int64_t count) {
  _mm512_mask_cvtepi32_storeu_epi16(to, static_cast<__mmask16>((1u << count) - 1),
                                    reinterpret_cast<__m512i>(halves));
}

// `count` points that are `pitch` apart.
inline void copy_halves(BFloat16* to, const BFloat16* from, int64_t pitch, int64_t count) {
  constexpr int64_t lanes = kLanes<Pair>;
  if (pitch == 1) {
    std::memcpy(to, from, static_cast<size_t>(count) * sizeof(BFloat16));
  } else if (pitch == 2) {
    for (int64_t i = 0; i < count; i += lanes) {
      const int64_t n = std::min(lanes, count - i);
      store_lower_halves(to + i, load_lower_halves<2>(from + 2 * i, n), n);
    }
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = from[i * pitch];
  }
}

}  // namespace
}  // namespace ctorch::CT_ISA
