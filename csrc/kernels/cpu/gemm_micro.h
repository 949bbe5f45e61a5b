// The register tile: rows x (vectors * lanes) elements of a product, accumulated over a run of k.
//
// Every variant sums in the order of k with one accumulator per element, in stretches that depend on k alone,
// so an element has the same bits whichever tile it falls in. The sums go to `tile`: the result itself where
// it is to hold just them, in whole vectors (see is_plain()), else a buffer from which the caller writes them
// out, a copy through L1 that costs one part in k / 2 and keeps scaling, bias, conversion and odd layouts out
// of these kernels.
#pragma once

#include <cstdint>
#include <utility>

#include "kernels/cpu/gemm_simd.h"

namespace ctorch::CT_ISA {

// Operands of one tile, of elements E that are summed in S. Which of the members count depends on the
// variant.
template <class E, class S = E>
struct TileArgs {
  int64_t k;
  const E* a;
  const E* b;
  S* tile;
  int64_t tile_row = GemmBlocks<S>::cols;  // row i of the sums at tile + i * tile_row
  bool add = false;       // to what the tile holds: where tiles_add<S>, and not for gathered A
  int64_t a_row, a_k;     // strided A: element (i, p) at a[i * a_row + p * a_k]
  int64_t b_k;            // row p of B at b + p * b_k
  const int64_t* offset;  // gathered B: row p at b + offset[p]; gathered A: row i at a + offset[i]
  // Gathered A: k points make a run, `runs` of them a sheet, with so many points of A left out after each run
  // and sheet.
  int64_t runs, sheets, run_gap, sheet_gap;
};

template <class E, class S = E>
using TileKernel = void (*)(const TileArgs<E, S>&);

// The kernels of a variant for every tile size: kernels.get(rows, vectors).
template <class E, class S = E>
struct TileKernels {
  TileKernel<E, S> table[kTileVectors][GemmBlocks<S>::rows];
  CT_INLINE TileKernel<E, S> get(int64_t rows, int64_t vectors) const { return table[vectors - 1][rows - 1]; }
};

// The variants that several families use; they are compiled once, with gemm.cpp.
template <class S>
struct SharedTiles {
  static const TileKernels<S> packed, strided;
};
template <>
const TileKernels<float> SharedTiles<float>::packed;
template <>
const TileKernels<float> SharedTiles<float>::strided;
template <>
const TileKernels<double> SharedTiles<double>::packed;
template <>
const TileKernels<double> SharedTiles<double>::strided;
template <>
const TileKernels<uint32_t> SharedTiles<uint32_t>::packed;
template <>
const TileKernels<uint32_t> SharedTiles<uint32_t>::strided;
template <>
const TileKernels<uint64_t> SharedTiles<uint64_t>::packed;
template <>
const TileKernels<uint64_t> SharedTiles<uint64_t>::strided;

namespace {

// A is packed: element (i, p) at a[p * rows + i].
template <class S, int MR>
struct PackedA {
  const S* p;
  template <class Sum>
  CT_INLINE explicit PackedA(const TileArgs<S, Sum>& t) : p(t.a) {}
  CT_INLINE S at(int i) const { return p[i]; }
  CT_INLINE void step() { p += MR; }
};
template <class S, int MR>
struct StridedA {
  const S* p;
  int64_t row, k;
  template <class Sum>
  CT_INLINE explicit StridedA(const TileArgs<S, Sum>& t) : p(t.a), row(t.a_row), k(t.a_k) {}
  CT_INLINE S at(int i) const { return p[i * row]; }
  CT_INLINE void step() { p += k; }
};

template <class S, int NV>
struct RowsB {
  const S* p;
  int64_t k;
  template <class Sum>
  CT_INLINE explicit RowsB(const TileArgs<S, Sum>& t) : p(t.b), k(t.b_k) {}
  CT_INLINE const S* row() const { return p; }
  CT_INLINE void step() { p += k; }
};
template <class S, int NV>
struct GatheredB {
  const S* p;
  const int64_t* offset;
  template <class Sum>
  CT_INLINE explicit GatheredB(const TileArgs<S, Sum>& t) : p(t.b), offset(t.offset) {}
  CT_INLINE const S* row() const { return p + *offset; }
  CT_INLINE void step() { ++offset; }
};

// How many of the next k steps are summed at a stretch.
template <class S>
CT_INLINE int64_t stretch_of(int64_t k) {
  constexpr int64_t most = GemmBlocks<S>::stretch;
  if constexpr (most == 0) return k;
  return k <= most ? k : k < 2 * most ? (k + 1) / 2 : most;
}

template <class S, int MR, int NV>
CT_INLINE void store_tile(const typename Simd<S>::Vector (&acc)[MR][NV], S* tile, int64_t row) {
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) store_vector(tile + i * row + j * kLanes<S>, acc[i][j]);
  }
}

// Whether kernels can add to what a tile holds.
template <class S>
inline constexpr bool tiles_add = GemmBlocks<S>::stretch > 0;

// Where the sums of one stretch after the other go: those of the first are stored, the next are added to
// them.
template <class S, int MR, int NV>
class TileSums {
 public:
  template <class E>
  CT_INLINE explicit TileSums(const TileArgs<E, S>& t) : tile_(t.tile), row_(t.tile_row) {
    if (t.add) before_ = tile_, before_row_ = row_;
  }
  CT_INLINE void add(const typename Simd<S>::Vector (&acc)[MR][NV]) {
    if constexpr (!tiles_add<S>) return store_tile<S, MR, NV>(acc, tile_, row_);
    // Else the addresses of all rows are kept ready in registers, which the accumulators need.
    asm("" : "+r"(row_), "+r"(before_row_));
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < NV; ++j) {
        const int64_t at = j * kLanes<S>;
        store_vector(tile_ + i * row_ + at, load_vector(before_ + i * before_row_ + at) + acc[i][j]);
      }
    }
    before_ = tile_, before_row_ = row_;
  }

 private:
  alignas(kVectorBytes) static constexpr S kNothing[tiles_add<S> ? NV * kLanes<S> : 1] = {};
  S* tile_;
  int64_t row_;
  const S* before_ = kNothing;
  int64_t before_row_ = 0;
};

template <class S, int MR, int NV, class A, class B>
void tile_product(const TileArgs<S>& t) {
  using Vector = typename Simd<S>::Vector;
  TileSums<S, MR, NV> sums(t);
  A a(t);
  B b(t);
  int64_t left = t.k;
  do {
    Vector acc[MR][NV] = {};
    const int64_t steps = stretch_of<S>(left);
    for (int64_t p = steps; p > 0; --p) {
      Vector bv[NV];
      const S* row = b.row();
#pragma GCC unroll 4
      for (int j = 0; j < NV; ++j) bv[j] = load_vector(row + j * kLanes<S>);
#pragma GCC unroll 16
      for (int i = 0; i < MR; ++i) {
        const S ai = a.at(i);
#pragma GCC unroll 4
        for (int j = 0; j < NV; ++j) acc[i][j] += ai * bv[j];
      }
      a.step();
      b.step();
    }
    sums.add(acc);
    left -= steps;
  } while (left > 0);
}

// A is gathered: row i starts at a + offset[i] and advances by one per step.
template <class S, int MR, int NV>
void tile_product_gathered(const TileArgs<S>& t) {
  using Vector = typename Simd<S>::Vector;
  Vector acc[MR][NV] = {};
  const S* a[MR];
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i) a[i] = t.a + t.offset[i];
  const S* row = t.b;
  int64_t at = 0;
  for (int64_t sheet = 0; sheet < t.sheets; ++sheet, at += t.sheet_gap) {
    for (int64_t run = 0; run < t.runs; ++run, at += t.run_gap) {
      for (int64_t p = t.k; p > 0; --p) {
        Vector bv[NV];
#pragma GCC unroll 4
        for (int j = 0; j < NV; ++j) bv[j] = load_vector(row + j * kLanes<S>);
#pragma GCC unroll 16
        for (int i = 0; i < MR; ++i) {
          const S ai = a[i][at];
#pragma GCC unroll 4
          for (int j = 0; j < NV; ++j) acc[i][j] += ai * bv[j];
        }
        ++at;
        row += t.b_k;
      }
    }
  }
  store_tile<S, MR, NV>(acc, t.tile, t.tile_row);
}

template <class S, template <class, int> class A, template <class, int> class B, int NV, int... I>
constexpr void fill_tile_row(TileKernels<S>& k, std::integer_sequence<int, I...>) {
  ((k.table[NV - 1][I] = &tile_product<S, I + 1, NV, A<S, I + 1>, B<S, NV>>), ...);
}
template <class S, template <class, int> class A, template <class, int> class B, int... J>
constexpr TileKernels<S> make_tile_kernels(std::integer_sequence<int, J...>) {
  TileKernels<S> k{};
  (fill_tile_row<S, A, B, J + 1>(k, std::make_integer_sequence<int, GemmBlocks<S>::rows>()), ...);
  return k;
}
template <class S, int NV, int... I>
constexpr void fill_gathered_row(TileKernels<S>& k, std::integer_sequence<int, I...>) {
  ((k.table[NV - 1][I] = &tile_product_gathered<S, I + 1, NV>), ...);
}
template <class S, int... J>
constexpr TileKernels<S> make_gathered_kernels(std::integer_sequence<int, J...>) {
  TileKernels<S> k{};
  (fill_gathered_row<S, J + 1>(k, std::make_integer_sequence<int, GemmBlocks<S>::rows>()), ...);
  return k;
}

using TileWidths = std::make_integer_sequence<int, kTileVectors>;

// A and B packed (or B read in place, its rows b_k apart).
template <class S>
constexpr const TileKernels<S>& kPackedTiles = SharedTiles<S>::packed;
// A read in place through its strides.
template <class S>
constexpr const TileKernels<S>& kStridedTiles = SharedTiles<S>::strided;
// A packed, the rows of B found through a table of offsets.
template <class S>
constexpr TileKernels<S> kGatheredBTiles = make_tile_kernels<S, PackedA, GatheredB>(TileWidths());
// The rows of A found through a table of offsets.
template <class S>
constexpr TileKernels<S> kGatheredATiles = make_gathered_kernels<S>(TileWidths());

}  // namespace
}  // namespace ctorch::CT_ISA
