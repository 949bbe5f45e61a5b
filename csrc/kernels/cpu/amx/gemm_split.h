// Packing for AMX: operands of any strides to tiles of bfloat16 pairs, floats as sums of bfloat16 pieces.
//
// A float of 24 bits is the sum of three bfloat16 numbers of 8: high, the float rounded; mid, the rest
// rounded; low, what is left, exactly. Of the float mid is at most 2^-8 and low 2^-17, which is what one
// piece leaves, and two.
#pragma once

#include "kernels/cpu/amx/gemm_tiles.h"
#include "kernels/cpu/gemm_pack.h"

namespace ctorch::CT_ISA {
namespace {

// Rows of A or columns of B: element p in k of lane l at data[l * lane + p * step].
template <class T>
struct Strip {
  const T* data;
  int64_t lane, step;
};

// Packs the tiles of one step of k of up to 16 lanes: `k` <= kStep numbers of each, in as many pieces as the
// format has, kPiecePairs apart. With lanes_are_rows a row of the tile is a lane (A), else a pair in k (B);
// any partition of the numbers in k into pairs will do that is the same for A and B. `largest` is the
// greatest magnitude met so far, lane by lane, as bits of a float: those of infinities and NaN are the
// greatest of all.
using Floats = Simd<float>::Vector;
using Bits = Simd<uint32_t>::Vector;
template <class T>
using PackTile = void (*)(Pair* to, Strip<T> strip, int64_t lanes, int64_t k, bool lanes_are_rows,
                          Bits& largest);

// Floats are multiplied by this on the way, their products so by its square, which the write-out takes back.
// Tiles know no denormal numbers, and the low piece of a float and the products of small pieces would be such
// long before the float is. Scaled, what they lose lies below what an FMA loses to a denormal result.
inline constexpr float kSplitScale = 0x1p30f;

// The greatest of `count` such magnitudes of 16 lanes.
inline float greatest(const Bits* largest, int64_t count) {
  uint32_t bits = 0;
  for (int64_t i = 0; i < count * kTile; ++i) bits = std::max(bits, largest[i / kTile][i % kTile]);
  return bit_cast<float>(bits);
}

// Whether no piece and no sum of k products comes near infinity. (Of NaN nothing is true.)
inline bool fit_for_tiles(float a, float b, int64_t k) {
  constexpr float kLargest = 0x1p126f / kSplitScale;
  constexpr double kLargestSum = 0x1p126 / kSplitScale / kSplitScale;
  return a < kLargest && b < kLargest && static_cast<double>(a) * b * static_cast<double>(k) < kLargestSum;
}

// A strip whose numbers are neighbours in neither direction, copied so that they are along k.
template <class T>
CT_INLINE Strip<T> gathered(Strip<T> strip, int64_t lanes, int64_t k, T* copy) {
  for (int64_t l = 0; l < lanes; ++l) {
    for (int64_t p = 0; p < k; ++p) copy[l * kStep + p] = strip.data[l * strip.lane + p * strip.step];
  }
  return {copy, kStep, 1};
}

// Two halves of 16 rows of up to 16 floats; what is missing reads as 0.
struct FloatRows {
  const float* data;
  int64_t row, half;  // row r of half h at data + h * half + r * row
  int64_t rows[2], count[2];

  CT_INLINE Floats load(int h, int64_t r) const {
    return r < rows[h] ? load_partial(data + h * half + r * row, count[h]) : Floats{};
  }
};

// The pieces of pairs of a lane of `first` and one of `second`.
template <int kPieces>
CT_INLINE void split_pairs(Floats first, Floats second, Bits (&pieces)[kPieces], Bits& largest) {
  Floats x[2] = {first, second};
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
    const Bits magnitude = reinterpret_cast<Bits>(x[h]) & 0x7fffffffu;
    largest = magnitude > largest ? magnitude : largest;
    x[h] *= kSplitScale;
  }
#pragma GCC unroll 3
  for (int piece = 0; piece < kPieces; ++piece) {
    Bits rounded[2];
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      const auto bits = reinterpret_cast<Bits>(x[h]);
      if (piece == 2) {
        rounded[h] = bits;  // no more than 8 bits are left
      } else if (piece == kPieces - 1) {
        rounded[h] = (bits + 0x7fffu + (bits >> 16 & 1u)) & 0xffff0000u;  // the last: ties to even
      } else {
        rounded[h] = (bits + 0x8000u) & 0xffff0000u;  // ties matter to the next piece alone
      }
      x[h] -= reinterpret_cast<Floats>(rounded[h]);
    }
    pieces[piece] = rounded[0] >> 16 | rounded[1];
  }
}

// Pairs are numbers p and p + 16 in k: to pair them takes no shuffle.
template <int kPieces>
void pack_floats(Pair* to, Strip<float> strip, int64_t lanes, int64_t k, bool lanes_are_rows, Bits& largest) {
  alignas(64) float copy[kTile * kStep], turned[2 * kTilePairs];
  if (strip.lane != 1 && strip.step != 1) strip = gathered(strip, lanes, k, copy);
  const bool along_k = strip.step == 1 && (lanes_are_rows || strip.lane != 1);
  const int64_t first = std::min(k, kTile), second = k - first;
  FloatRows rows{strip.data, strip.lane, kTile, {lanes, lanes}, {first, second}};
  if (!along_k) rows = {strip.data, strip.step, kTile * strip.step, {first, second}, {lanes, lanes}};
  if (along_k != lanes_are_rows) {
    for (int h = 0; h < 2; ++h) {
      Floats square[kTile];
#pragma GCC unroll 16
      for (int64_t r = 0; r < kTile; ++r) square[r] = rows.load(h, r);
      transpose_square<float>(square);
#pragma GCC unroll 16
      for (int64_t r = 0; r < kTile; ++r) store_vector(turned + h * kTilePairs + r * kTile, square[r]);
    }
    rows = {turned, kTile, kTilePairs, {kTile, kTile}, {kTile, kTile}};
  }
  Bits seen = largest;
  for (int64_t r = 0; r < kTile; ++r) {
    Bits pieces[kPieces];
    split_pairs<kPieces>(rows.load(0, r), rows.load(1, r), pieces, seen);
#pragma GCC unroll 3
    for (int piece = 0; piece < kPieces; ++piece)
      store_vector(to + piece * kPiecePairs + r * kTile, pieces[piece]);
  }
  largest = seen;
}

// Pairs are numbers 2 p and 2 p + 1 in k, as they lie in memory. Nothing is special: tiles treat infinities
// and NaN as other units do.
inline void pack_bfloat16(Pair* to, Strip<BFloat16> strip, int64_t lanes, int64_t k, bool lanes_are_rows,
                          Bits&) {
  BFloat16 copy[kTile * kStep];
  if (strip.lane != 1 && strip.step != 1) strip = gathered(strip, lanes, k, copy);
  const bool along_k = strip.step == 1 && (lanes_are_rows || strip.lane != 1);
  const auto in_k = static_cast<__mmask32>((uint64_t{1} << k) - 1);
  const auto in_lanes = static_cast<__mmask16>((1u << lanes) - 1);
  Bits rows[kTile];
#pragma GCC unroll 16
  for (int64_t r = 0; r < kTile; ++r) {
    if (along_k) {
      const BFloat16* p = strip.data + r * strip.lane;
      rows[r] = r < lanes ? reinterpret_cast<Bits>(_mm512_maskz_loadu_epi16(in_k, p)) : Bits{};
    } else {
      auto words = [&](int64_t p) {  // number p in k of 16 lanes
        return p < k ? reinterpret_cast<Bits>(_mm512_maskz_cvtepu16_epi32(
                           0xffff, _mm256_maskz_loadu_epi16(in_lanes, strip.data + p * strip.step)))
                     : Bits{};
      };
      rows[r] = words(2 * r) | words(2 * r + 1) << 16;
    }
  }
  if (along_k != lanes_are_rows) transpose_square<Pair>(rows);
#pragma GCC unroll 16
  for (int64_t r = 0; r < kTile; ++r) store_vector(to + r * kTile, rows[r]);
}

}  // namespace
}  // namespace ctorch::CT_ISA
