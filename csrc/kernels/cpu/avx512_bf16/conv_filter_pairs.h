// The gradient of a filter of bfloat16: sums over pairs of neighbouring points.
#pragma once

#include "kernels/cpu/avx512_bf16/conv_pairs.h"
#include "kernels/cpu/conv_filter.h"

namespace ctorch::CT_ISA {
namespace {

// Rows of A are points, found through a table of offsets; the last of an odd number is a pair with 0.
template <int MR, int NV>
void pair_tile_gathered(const TileArgs<Pair, float>& t) {
  using Vector = Simd<float>::Vector;
  Vector acc[MR][NV] = {};
  const BFloat16* a[MR];
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i) a[i] = reinterpret_cast<const BFloat16*>(t.a) + t.offset[i];
  const Pair* row = t.b;
  int64_t at = 0;
  const auto add = [&]<int kPoints>(std::integral_constant<int, kPoints>) __attribute__((always_inline)) {
    __m512bh bv[NV];
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) bv[j] = reinterpret_cast<__m512bh>(load_vector(row + j * kLanes<Pair>));
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
      Pair pair = 0;
      std::memcpy(&pair, a[i] + at, kPoints * sizeof(BFloat16));
      const auto av = reinterpret_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(pair)));
#pragma GCC unroll 4
      for (int j = 0; j < NV; ++j)
        acc[i][j] =
            reinterpret_cast<Vector>(_mm512_dpbf16_ps(reinterpret_cast<__m512>(acc[i][j]), av, bv[j]));
    }
    at += kPoints;
    row += t.b_k;
  };
  for (int64_t sheet = 0; sheet < t.sheets; ++sheet, at += t.sheet_gap) {
    for (int64_t run = 0; run < t.runs; ++run, at += t.run_gap) {
      for (int64_t p = t.k / 2; p > 0; --p) add(std::integral_constant<int, 2>());
      if (t.k % 2) add(std::integral_constant<int, 1>());
    }
  }
  store_tile<float, MR, NV>(acc, t.tile, t.tile_row);
}

template <int NV, int... I>
constexpr void fill_gathered_pair_row(TileKernels<Pair, float>& k, std::integer_sequence<int, I...>) {
  ((k.table[NV - 1][I] = &pair_tile_gathered<I + 1, NV>), ...);
}
template <int... J>
constexpr TileKernels<Pair, float> make_gathered_pair_tiles(std::integer_sequence<int, J...>) {
  TileKernels<Pair, float> k{};
  (fill_gathered_pair_row<J + 1>(k, std::make_integer_sequence<int, GemmBlocks<float>::rows>()), ...);
  return k;
}
constexpr TileKernels<Pair, float> kGatheredAPairTiles = make_gathered_pair_tiles(TileWidths());

// Images of bfloat16 are laid out as they are.
struct HalfFilter {
  using Input = BFloat16;
  using Point = BFloat16;
  using Sum = float;

  static void lay_out_channel(const FilterProduct<BFloat16>& p, BFloat16* to, const BFloat16* x,
                              int64_t channel) {
    const TapLayout& l = p.layout;
    const TapAxis& w = l.axis[2];
    const int64_t stride = p.x_strides[2];
    const BFloat16* from = x + channel * p.x_channel;
    CT_ISA::lay_out_channel(
        l, to + channel * l.channel, p.x_strides, [&](BFloat16* row, int64_t at, int64_t start) {
          padded_row(row, l.extent[2], w.x_size, w.step, start,
                     [&](BFloat16* points, int64_t first, int64_t count) {
                       copy_halves(points, from + at + first * stride, w.step * stride, count);
                     });
        });
  }
  static CT_INLINE void store(BFloat16* w, Simd<float>::Vector v, int64_t count) {
    store_rounded(w, v, count);
  }
};

// The gradient of the result is packed in pairs of points.
struct PairFilter : HalfFilter {
  using Element = Pair;
  static constexpr int64_t step = 2;

  static void pack(Pair* panel, int64_t width, int64_t cols, int64_t points, const BFloat16* y,
                   int64_t channel, int64_t point) {
    pack_pairs(panel, width, cols, points, y, channel, point);
  }
  static constexpr const TileKernels<Pair, float>& tiles() { return kGatheredAPairTiles; }
};

}  // namespace
}  // namespace ctorch::CT_ISA
