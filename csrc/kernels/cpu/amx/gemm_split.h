// Packing for AMX: operands of any strides to tiles of bfloat16 pairs, floats as sums of bfloat16 pieces.
//
// A float of 24 bits is the sum of three bfloat16 numbers of 8: high, the float rounded; mid, the rest
// rounded; low, what is left, exactly. Of the float mid is at most 2^-8 and low 2^-17, which is what one
// piece leaves, and two.
#pragma once

#include <atomic>

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
  Bits all = {};
  for (int64_t i = 0; i < count; ++i) all = largest[i] > all ? largest[i] : all;
  const auto fold = [&](const Bits& other) { all = other > all ? other : all; };
  fold(__builtin_shufflevector(all, all, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
  fold(__builtin_shufflevector(all, all, 4, 5, 6, 7, 0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15));
  fold(__builtin_shufflevector(all, all, 2, 3, 0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  return bit_cast<float>(std::max<uint32_t>(all[0], all[1]));
}

// The greatest magnitude that any thread has met.
class SharedLargest {
 public:
  void see(const Bits& largest) {
    const auto found = bit_cast<uint32_t>(greatest(&largest, 1));
    uint32_t before = bits_.load();
    while (before < found && !bits_.compare_exchange_weak(before, found)) {
    }
  }
  float value() const { return bit_cast<float>(bits_.load()); }

 private:
  std::atomic<uint32_t> bits_ = 0;
};

// What packing and writing cost a product of floats, as a part of what its multiply-adds save: packing a
// number as much as some 36 of them, 54 where it is transposed besides, writing a sum as much as 27
// (measured, on products of 16 to 1024 rows, columns and terms at both levels).
inline constexpr double kPackCost = 36, kTurnCost = 54;
inline double cost_of_tiles(int64_t m, double pack_a, int64_t n, double pack_b, int64_t k) {
  constexpr double kWriteCost = 27;
  return pack_a / static_cast<double>(n) + pack_b / static_cast<double>(m) +
         kWriteCost / static_cast<double>(k);
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

  bool whole() const { return std::min({rows[0], rows[1], count[0], count[1]}) == kTile; }
  template <bool kWhole>
  CT_INLINE Floats load(int h, int64_t r) const {
    const float* p = data + h * half + r * row;
    if constexpr (kWhole) return load_vector(p);
    return r < rows[h] ? load_partial(p, count[h]) : Floats{};
  }
  template <bool kWhole>
  CT_INLINE void transpose(float* to) const {
    for (int h = 0; h < 2; ++h, to += kTilePairs) {
      Floats square[kTile];
#pragma GCC unroll 16
      for (int64_t r = 0; r < kTile; ++r) square[r] = load<kWhole>(h, r);
      transpose_square<float>(square);
#pragma GCC unroll 16
      for (int64_t r = 0; r < kTile; ++r) store_vector(to + r * kTile, square[r]);
    }
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

template <int kPieces, bool kWhole>
CT_INLINE void pack_float_rows(Pair* to, const FloatRows& rows, Bits& largest) {
  Bits seen = largest;
#pragma GCC unroll 4
  for (int64_t r = 0; r < kTile; ++r) {
    Bits pieces[kPieces];
    split_pairs<kPieces>(rows.load<kWhole>(0, r), rows.load<kWhole>(1, r), pieces, seen);
#pragma GCC unroll 3
    for (int piece = 0; piece < kPieces; ++piece)
      store_vector(to + piece * kPiecePairs + r * kTile, pieces[piece]);
  }
  largest = seen;
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
  bool whole = rows.whole();
  if (along_k != lanes_are_rows) {
    whole ? rows.transpose<true>(turned) : rows.transpose<false>(turned);
    rows = {turned, kTile, kTilePairs, {kTile, kTile}, {kTile, kTile}};
    whole = true;
  }
  whole ? pack_float_rows<kPieces, true>(to, rows, largest)
        : pack_float_rows<kPieces, false>(to, rows, largest);
}

// Up to 16 rows of words, so many of each that are there; what is missing reads as 0.
struct WordRows {
  const BFloat16* data;
  int64_t row, rows, count;

  // Row r, of up to 32 words.
  template <bool kWhole>
  CT_INLINE Bits load(int64_t r) const {
    const BFloat16* p = data + r * row;
    if constexpr (kWhole) return reinterpret_cast<Bits>(_mm512_loadu_epi16(p));
    const auto words = static_cast<__mmask32>((uint64_t{1} << count) - 1);
    return r < rows ? reinterpret_cast<Bits>(_mm512_maskz_loadu_epi16(words, p)) : Bits{};
  }
  // Words of rows 2 r and 2 r + 1 in turn, of up to 16 each.
  template <bool kWhole>
  CT_INLINE Bits load_turned(int64_t r) const {
    // Halves of a vector to even and odd words.
    const __m512i turn = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7,
                                          22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const __m512i both =
        _mm512_inserti64x4(_mm512_castsi256_si512(half<kWhole>(2 * r)), half<kWhole>(2 * r + 1), 1);
    return reinterpret_cast<Bits>(_mm512_permutexvar_epi16(turn, both));
  }

 private:
  template <bool kWhole>
  CT_INLINE __m256i half(int64_t r) const {
    const BFloat16* p = data + r * row;
    if constexpr (kWhole) return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    const auto words = static_cast<__mmask16>((1u << count) - 1);
    return r < rows ? _mm256_maskz_loadu_epi16(words, p) : __m256i{};
  }
};

template <bool kAlongK, bool kWhole>
CT_INLINE void pack_word_rows(Pair* to, const WordRows& words, bool transpose) {
  Bits rows[kTile];
#pragma GCC unroll 16
  for (int64_t r = 0; r < kTile; ++r) {
    if constexpr (kAlongK) {
      rows[r] = words.load<kWhole>(r);
    } else {
      rows[r] = words.load_turned<kWhole>(r);
    }
  }
  if (transpose) transpose_square<Pair>(rows);
#pragma GCC unroll 16
  for (int64_t r = 0; r < kTile; ++r) store_vector(to + r * kTile, rows[r]);
}

// Pairs are numbers 2 p and 2 p + 1 in k, as they lie in memory. Nothing is special: tiles treat infinities
// and NaN as other units do.
inline void pack_bfloat16(Pair* to, Strip<BFloat16> strip, int64_t lanes, int64_t k, bool lanes_are_rows,
                          Bits&) {
  BFloat16 copy[kTile * kStep];
  if (strip.lane != 1 && strip.step != 1) strip = gathered(strip, lanes, k, copy);
  const bool along_k = strip.step == 1 && (lanes_are_rows || strip.lane != 1);
  const bool whole = lanes == kTile && k == kStep;
  if (along_k) {
    const WordRows rows{strip.data, strip.lane, lanes, k};
    whole ? pack_word_rows<true, true>(to, rows, !lanes_are_rows)
          : pack_word_rows<true, false>(to, rows, !lanes_are_rows);
  } else {
    const WordRows rows{strip.data, strip.step, k, lanes};
    whole ? pack_word_rows<false, true>(to, rows, lanes_are_rows)
          : pack_word_rows<false, false>(to, rows, lanes_are_rows);
  }
}

}  // namespace
}  // namespace ctorch::CT_ISA
