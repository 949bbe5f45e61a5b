// Numbers of convolutions as pairs of bfloat16 for tiles, floats in their three pieces.
#pragma once

#include "kernels/cpu/amx/gemm_split.h"
#include "kernels/cpu/avx512_bf16/conv_pairs.h"
#include "kernels/cpu/conv_taps.h"

namespace ctorch::CT_ISA {
namespace {

// How numbers of type T become pieces, which lie `piece` apart, and what `largest` of them is (see PackTile).
// points() writes pairs of `count` points, `pitch` apart, of two rows, of which the second may be missing
// (null); halves() the points of one row.
template <class T>
struct TapPieces;

template <>
struct TapPieces<BFloat16> {
  static constexpr int kPieces = 1;
  static constexpr int64_t kBlockSteps = 16;
  static constexpr float kScale = 1;  // of the numbers
  static CT_INLINE void points(Pair* to, int64_t /* piece */, const BFloat16* first, const BFloat16* second,
                               int64_t pitch, int64_t count, Bits& /* largest */) {
    pair_points(to, first, second, pitch, count);
  }
  static CT_INLINE void halves(BFloat16* to, int64_t /* piece */, const BFloat16* from, int64_t pitch,
                               int64_t count, Bits& /* largest */) {
    copy_halves(to, from, pitch, count);
  }
  static bool fit(float, float, int64_t) { return true; }
  static CT_INLINE void store(BFloat16* y, Floats sums, int64_t count) { store_rounded(y, sums, count); }
};

template <>
struct TapPieces<float> {
  static constexpr int kPieces = 3;
  static constexpr int64_t kBlockSteps = 8;
  static constexpr float kScale = kSplitScale;
  static CT_INLINE void points(Pair* to, int64_t piece, const float* first, const float* second,
                               int64_t pitch, int64_t count, Bits& largest) {
    for (int64_t i = 0; i < count; i += kTile) {
      const int64_t n = std::min(kTile, count - i);
      Bits pieces[kPieces];
      split_pairs<kPieces>(load(first + i * pitch, pitch, n),
                           second ? load(second + i * pitch, pitch, n) : Floats{}, pieces, largest);
#pragma GCC unroll 3
      for (int p = 0; p < kPieces; ++p) store_partial(to + p * piece + i, pieces[p], n);
    }
  }
  static CT_INLINE void halves(BFloat16* to, int64_t piece, const float* from, int64_t pitch, int64_t count,
                               Bits& largest) {
    for (int64_t i = 0; i < count; i += kTile) {
      const int64_t n = std::min(kTile, count - i);
      Bits pieces[kPieces];
      split_pairs<kPieces>(load(from + i * pitch, pitch, n), Floats{}, pieces, largest);
#pragma GCC unroll 3
      for (int p = 0; p < kPieces; ++p) store_lower_halves(to + p * piece + i, pieces[p], n);
    }
  }
  static bool fit(float image, float filter, int64_t k) { return fit_for_tiles(image, filter, k); }
  static CT_INLINE void store(float* y, Floats sums, int64_t count) {
    count < kTile ? store_partial(y, sums, count) : store_vector(y, sums);
  }

 private:
  static CT_INLINE Floats load(const float* p, int64_t pitch, int64_t count) {
    if (pitch == 1) return load_partial(p, count);
    if (pitch == 2) return load_evens(p, count);
    Floats v = {};
    for (int64_t l = 0; l < count; ++l) v[l] = p[l * pitch];
    return v;
  }
};

}  // namespace
}  // namespace ctorch::CT_ISA
