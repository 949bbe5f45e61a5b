// Sums of products of bfloat16 with VDPBF16PS: a lane of 32 bits holds two neighbours in k, and a
// multiply-add of lanes adds two products to a float. (Twice the products per instruction of the plain
// kernels, which convert to float first.)
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "kernels/cpu/gemm_micro.h"
#include "kernels/cpu/gemm_pack.h"

namespace ctorch::CT_ISA {

// Elements p and p + 1 of a row, the first in the lower half; beyond an odd k, 0.
using Pair = uint32_t;

// Both sides packed; compiled once, with gemm.cpp.
extern const TileKernels<Pair, float> kPackedPairTiles;

namespace {

CT_INLINE Pair pair_of(BFloat16 first, BFloat16 second) {
  return first.bits | static_cast<Pair>(second.bits) << 16;
}

// `count` sums, at most a vector, as bfloat16.
CT_INLINE void store_rounded(BFloat16* y, Simd<float>::Vector v, int64_t count) {
  if (count >= kLanes<float>) return store_converted(y, v);
  alignas(32) BFloat16 lane[kLanes<float>];
  store_converted(lane, v);
  _mm256_mask_storeu_epi16(y, static_cast<__mmask16>((1u << count) - 1),
                           _mm256_load_si256(reinterpret_cast<const __m256i*>(lane)));
}

// Element (i, p) of the strip at src[i * row + p * k_stride]; pair (i, p / 2) goes to panel[p / 2 * width +
// i].
inline void pack_strip_of_pairs(Pair* panel, int64_t width, int64_t rows, int64_t k, const BFloat16* src,
                                int64_t row, int64_t k_stride) {
  constexpr int64_t kRun = 256, lanes = kLanes<Pair>;
  const int64_t whole = k / 2;
  if (k_stride == 1 && row % 2 == 0 && reinterpret_cast<uintptr_t>(src) % sizeof(Pair) == 0) {
    // Pairs lie as they are wanted: a transposition of words.
    for (int64_t i = 0; i < rows; i += lanes) {
      pack_rows_along_k<Pair>(panel + i, width, std::min(lanes, rows - i), whole,
                              reinterpret_cast<const Pair*>(src + i * row), row / 2);
    }
  } else if (k_stride == 1) {
    alignas(64) Pair run[lanes * kRun];
    for (int64_t p = 0; p < whole; p += kRun) {
      const int64_t n = std::min(kRun, whole - p);
      for (int64_t i = 0; i < rows; i += lanes) {
        const int64_t count = std::min(lanes, rows - i);
        for (int64_t r = 0; r < count; ++r)
          std::memcpy(run + r * kRun, src + (i + r) * row + 2 * p, static_cast<size_t>(n) * sizeof(Pair));
        pack_rows_along_k<Pair>(panel + p * width + i, width, count, n, run, kRun);
      }
    }
  } else {
    for (int64_t p = 0; p < whole; ++p) {
      const BFloat16 *first = src + 2 * p * k_stride, *second = first + k_stride;
      Pair* to = panel + p * width;
      if (row == 1) {
        for (int64_t i = 0; i < rows; ++i) to[i] = pair_of(first[i], second[i]);
      } else {
        for (int64_t i = 0; i < rows; ++i) to[i] = pair_of(first[i * row], second[i * row]);
      }
    }
  }
  if (k % 2) {
    const BFloat16* at = src + 2 * whole * k_stride;
    for (int64_t i = 0; i < rows; ++i) panel[whole * width + i] = at[i * row].bits;
  }
}
inline void pack_pairs(Pair* panel, int64_t width, int64_t rows, int64_t k, const BFloat16* src, int64_t row,
                       int64_t k_stride) {
  pack_strip_of_pairs(panel, width, rows, k, src, row, k_stride);
  fill_missing(panel, width, rows, (k + 1) / 2);
}

template <int MR, int NV, class A, class B>
void pair_tile(const TileArgs<Pair, float>& t) {
  using Vector = Simd<float>::Vector;
  TileSums<float, MR, NV> sums(t);
  A a(t);
  B b(t);
  int64_t left = t.k;
  do {
    Vector acc[MR][NV] = {};
    const int64_t steps = stretch_of<float>(left);
    for (int64_t p = steps; p > 0; --p) {
      __m512bh bv[NV];
      const Pair* row = b.row();
#pragma GCC unroll 4
      for (int j = 0; j < NV; ++j) bv[j] = reinterpret_cast<__m512bh>(load_vector(row + j * kLanes<Pair>));
#pragma GCC unroll 16
      for (int i = 0; i < MR; ++i) {
        const auto av = reinterpret_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(a.at(i))));
#pragma GCC unroll 4
        for (int j = 0; j < NV; ++j)
          acc[i][j] =
              reinterpret_cast<Vector>(_mm512_dpbf16_ps(reinterpret_cast<__m512>(acc[i][j]), av, bv[j]));
      }
      a.step();
      b.step();
    }
    sums.add(acc);
    left -= steps;
  } while (left > 0);
}

template <template <class, int> class B, int NV, int... I>
constexpr void fill_pair_row(TileKernels<Pair, float>& k, std::integer_sequence<int, I...>) {
  ((k.table[NV - 1][I] = &pair_tile<I + 1, NV, PackedA<Pair, I + 1>, B<Pair, NV>>), ...);
}
template <template <class, int> class B, int... J>
constexpr TileKernels<Pair, float> make_pair_tiles(std::integer_sequence<int, J...>) {
  TileKernels<Pair, float> k{};
  (fill_pair_row<B, J + 1>(k, std::make_integer_sequence<int, GemmBlocks<float>::rows>()), ...);
  return k;
}

}  // namespace
}  // namespace ctorch::CT_ISA
