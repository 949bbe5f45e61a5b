// The vectors that the matrix kernels are written with: the compiler's own, as wide as the level has them,
// and the few intrinsics for which the language has no words.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "core/half.h"
#include "core/macros.h"
#include "kernels/cpu/flush_denormals.h"
#include "kernels/cpu/gemm_blocks.h"

namespace ctorch::CT_ISA {
namespace {

template <class S>
struct Simd {
  typedef S Vector __attribute__((vector_size(kVectorBytes)));
  typedef S Loose __attribute__((vector_size(kVectorBytes), aligned(alignof(S)), may_alias));
};
template <class S>
inline constexpr int64_t kLanes = kVectorBytes / static_cast<int64_t>(sizeof(S));

template <class S>
CT_INLINE typename Simd<S>::Vector load_vector(const S* p) {
  return *reinterpret_cast<const typename Simd<S>::Loose*>(p);
}
template <class S>
CT_INLINE void store_vector(S* p, typename Simd<S>::Vector v) {
  *reinterpret_cast<typename Simd<S>::Loose*>(p) = v;
}

// The first `count` lanes alone, 0 <= count <= kLanes<S>; the others are read as 0 and not touched in memory.
template <class S>
CT_INLINE typename Simd<S>::Vector load_partial(const S* p, int64_t count) {
#if defined(__AVX512F__)
  using Vector = typename Simd<S>::Vector;
  if constexpr (sizeof(S) == 4) {
    return reinterpret_cast<Vector>(_mm512_maskz_loadu_epi32(static_cast<__mmask16>((1u << count) - 1), p));
  } else {
    return reinterpret_cast<Vector>(_mm512_maskz_loadu_epi64(static_cast<__mmask8>((1u << count) - 1), p));
  }
#elif defined(__AVX2__)
  using Vector = typename Simd<S>::Vector;
  if constexpr (sizeof(S) == 4) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i wanted = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), lane);
    return reinterpret_cast<Vector>(_mm256_maskload_epi32(reinterpret_cast<const int*>(p), wanted));
  } else {
    const __m256i wanted = _mm256_cmpgt_epi64(_mm256_set1_epi64x(count), _mm256_setr_epi64x(0, 1, 2, 3));
    return reinterpret_cast<Vector>(_mm256_maskload_epi64(reinterpret_cast<const long long*>(p), wanted));
  }
#else
  typename Simd<S>::Vector v = {};
  for (int64_t l = 0; l < kLanes<S>; ++l) {
    if (l < count) v[l] = p[l];
  }
  return v;
#endif
}
template <class S>
CT_INLINE void store_partial(S* p, typename Simd<S>::Vector v, int64_t count) {
#if defined(__AVX512F__)
  if constexpr (sizeof(S) == 4) {
    _mm512_mask_storeu_epi32(p, static_cast<__mmask16>((1u << count) - 1), reinterpret_cast<__m512i>(v));
  } else {
    _mm512_mask_storeu_epi64(p, static_cast<__mmask8>((1u << count) - 1), reinterpret_cast<__m512i>(v));
  }
#elif defined(__AVX2__)
  // In halves: to some CPUs (Zen) a store with a mask is dozens of operations.
  if (count >= kLanes<S>) return store_vector(p, v);
  const auto whole = reinterpret_cast<__m256i>(v);
  const int64_t bytes = count * static_cast<int64_t>(sizeof(S));
  auto* to = reinterpret_cast<char*>(p);
  __m128i half = _mm256_castsi256_si128(whole);
  if (bytes & 16) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), half);
    half = _mm256_extracti128_si256(whole, 1);
    to += 16;
  }
  if (bytes & 8) {
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to), half);
    half = _mm_unpackhi_epi64(half, half);
    to += 8;
  }
  if (bytes & 4) _mm_storeu_si32(to, half);
#else
  for (int64_t l = 0; l < kLanes<S>; ++l) {
    if (l < count) p[l] = v[l];
  }
#endif
}

// kLanes<S> elements of T, converted to S.
template <class S, class T>
CT_INLINE typename Simd<S>::Vector load_convert(const T* p) {
  if constexpr (sizeof(T) == sizeof(S)) {
    return load_vector(reinterpret_cast<const S*>(p));
  } else if constexpr (std::is_same_v<T, BFloat16>) {
    typedef uint32_t Wide __attribute__((vector_size(kVectorBytes)));
#if defined(__AVX512F__)  // GCC makes two halves of the conversion and puts them together
    const auto wide = reinterpret_cast<Wide>(
        _mm512_maskz_cvtepu16_epi32(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
#elif defined(__AVX2__)
    const auto wide =
        reinterpret_cast<Wide>(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#else
    typedef uint16_t Bits __attribute__((vector_size(kVectorBytes / 2), aligned(2), may_alias));
    const Wide wide = __builtin_convertvector(*reinterpret_cast<const Bits*>(p), Wide);
#endif
    return reinterpret_cast<typename Simd<S>::Vector>(wide << 16);
#if defined(__AVX512F__)
  } else if constexpr (std::is_same_v<T, Half>) {
    return reinterpret_cast<typename Simd<S>::Vector>(
        _mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
#elif defined(__F16C__)
  } else if constexpr (std::is_same_v<T, Half>) {
    return reinterpret_cast<typename Simd<S>::Vector>(
        _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#endif
  } else {
    typename Simd<S>::Vector v;
    for (int64_t l = 0; l < kLanes<S>; ++l) v[l] = static_cast<S>(p[l]);
    return v;
  }
}

template <class S, class T>
CT_INLINE typename Simd<S>::Vector load_convert_partial(const T* p, int64_t count) {
  if constexpr (std::is_same_v<T, S>) {
    return load_partial(p, count);
  } else {
    typename Simd<S>::Vector v = {};
    for (int64_t l = 0; l < kLanes<S>; ++l) {
      if (l < count) v[l] = static_cast<S>(p[l]);
    }
    return v;
  }
}

// kLanes<float> elements, rounded to nearest even.
CT_INLINE void store_converted(BFloat16* p, Simd<float>::Vector v) {
  typedef uint32_t Wide __attribute__((vector_size(kVectorBytes)));
  const auto bits = reinterpret_cast<Wide>(v);
  const Wide rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16, quiet_nan = Wide{} + 0x7fc0u;
  const Wide result = v != v ? quiet_nan : rounded;
#if defined(__AVX512F__)  // of which GCC makes two halves, too
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_maskz_cvtepi32_epi16(0xffff, reinterpret_cast<__m512i>(result)));
#else
  typedef uint16_t Narrow __attribute__((vector_size(kVectorBytes / 2), aligned(2), may_alias));
  *reinterpret_cast<Narrow*>(p) = __builtin_convertvector(result, Narrow);
#endif
}
CT_INLINE void store_converted(Half* p, Simd<float>::Vector v) {
#if defined(__AVX512F__)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_maskz_cvtps_ph(0xffff, reinterpret_cast<__m512>(v), _MM_FROUND_TO_NEAREST_INT));
#elif defined(__F16C__)
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm256_cvtps_ph(reinterpret_cast<__m256>(v), _MM_FROUND_TO_NEAREST_INT));
#else
  for (int64_t l = 0; l < kLanes<float>; ++l) p[l] = Half(v[l]);
#endif
}

template <class S>
CT_INLINE S sum_lanes(typename Simd<S>::Vector v) {
  S lane[kLanes<S>];
  std::memcpy(lane, &v, sizeof v);
#pragma GCC unroll 4
  for (int64_t half = kLanes<S> / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
    for (int64_t l = 0; l < half; ++l) lane[l] += lane[l + half];
  }
  return lane[0];
}

// Interleave the lower (or upper) halves of two vectors: a0 b0 a1 b1 ...
template <class S, bool kUpper, int... L>
CT_INLINE typename Simd<S>::Vector interleave(typename Simd<S>::Vector a, typename Simd<S>::Vector b,
                                              std::integer_sequence<int, L...>) {
  constexpr int n = static_cast<int>(kLanes<S>);
  return __builtin_shufflevector(a, b, (L / 2 + (kUpper ? n / 2 : 0) + (L % 2 ? n : 0))...);
}

// Lanes 0, 2, 4 ... of two vectors in turn.
template <class S, int... L>
CT_INLINE typename Simd<S>::Vector even_lanes(typename Simd<S>::Vector a, typename Simd<S>::Vector b,
                                              std::integer_sequence<int, L...>) {
  return __builtin_shufflevector(a, b, (2 * L)...);
}
template <class S>
CT_INLINE typename Simd<S>::Vector even_lanes(typename Simd<S>::Vector a, typename Simd<S>::Vector b) {
  return even_lanes<S>(a, b, std::make_integer_sequence<int, static_cast<int>(kLanes<S>)>());
}
// Lanes 1, 3, 5 ... likewise.
template <class S, int... L>
CT_INLINE typename Simd<S>::Vector odd_lanes(typename Simd<S>::Vector a, typename Simd<S>::Vector b,
                                             std::integer_sequence<int, L...>) {
  return __builtin_shufflevector(a, b, (2 * L + 1)...);
}
template <class S>
CT_INLINE typename Simd<S>::Vector odd_lanes(typename Simd<S>::Vector a, typename Simd<S>::Vector b) {
  return odd_lanes<S>(a, b, std::make_integer_sequence<int, static_cast<int>(kLanes<S>)>());
}

// Every second of the elements from `from` on, `count` of them or a vector; nothing is read past the last.
template <class S>
CT_INLINE typename Simd<S>::Vector load_evens(const S* from, int64_t count) {
  constexpr int64_t lanes = kLanes<S>;
  if (count > lanes) return even_lanes<S>(load_vector(from), load_vector(from + lanes));
  const int64_t left = 2 * count - 1;
  return even_lanes<S>(load_partial(from, std::min(lanes, left)),
                       load_partial(from + lanes, std::max<int64_t>(0, left - lanes)));
}

// Transpose a square of kLanes x kLanes elements: log2(kLanes) rounds of interleaving row i with row i +
// kLanes / 2.
template <class S>
CT_INLINE void transpose_square(typename Simd<S>::Vector (&rows)[kLanes<S>]) {
  constexpr int n = static_cast<int>(kLanes<S>);
  using Lane = std::make_integer_sequence<int, n>;
#pragma GCC unroll 8
  for (int round = 1; round < n; round *= 2) {
    typename Simd<S>::Vector next[n];
#pragma GCC unroll 16
    for (int i = 0; i < n / 2; ++i) {
      next[2 * i] = interleave<S, false>(rows[i], rows[i + n / 2], Lane());
      next[2 * i + 1] = interleave<S, true>(rows[i], rows[i + n / 2], Lane());
    }
#pragma GCC unroll 16
    for (int i = 0; i < n; ++i) rows[i] = next[i];
  }
}

// Over the lanes of as many vectors as one has lanes: result [i] belongs to rows[i].
template <class S, class Combine>
CT_INLINE typename Simd<S>::Vector across_lanes(typename Simd<S>::Vector (&rows)[kLanes<S>],
                                                Combine combine) {
  transpose_square<S>(rows);
#pragma GCC unroll 4
  for (int64_t half = kLanes<S> / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
    for (int64_t l = 0; l < half; ++l) rows[l] = combine(rows[l], rows[l + half]);
  }
  return rows[0];
}
template <class S>
CT_INLINE typename Simd<S>::Vector sums_of_lanes(typename Simd<S>::Vector (&rows)[kLanes<S>]) {
  using Vector = typename Simd<S>::Vector;
  return across_lanes<S>(rows, [](Vector a, Vector b) { return a + b; });
}

}  // namespace
}  // namespace ctorch::CT_ISA
