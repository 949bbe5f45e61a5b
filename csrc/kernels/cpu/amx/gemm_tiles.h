// The sums of a product in AMX tiles, over a run of k.
//
// A tile is 16 rows of 64 bytes. TDPBF16PS adds to 16 x 16 floats the product of 16 x 32 bfloat16 numbers of
// A and 32 x 16 of B, in 16 cycles. Both operands hold pairs of neighbours in k, a lane of 32 bits each: row
// i of A's tile the 16 pairs of row i, row p of B's tile pair p of the 16 columns. Within an instruction the
// first and the second numbers of the pairs are summed apart, each by 16 fused multiply-adds from 0; then the
// two sums are added, and the total to the accumulator. All round to nearest even and take denormal numbers
// for 0.
//
// Of the 8 tiles 4 are sums of 2 x 2 tiles, 2 hold A and 2 hold B: an instruction on each sum in turn takes
// 64 cycles, more than its latency of 52. Each pair of loads then serves four instructions. Per step of 32 in
// k:
//
//   products   loads  TDPBF16PS  bytes per cycle
//   1              4          4  4 KB /  64 = 64
//   3              8         12  8 KB / 192 = 43
//   6             14         24  14 KB / 384 = 37 (2 KB of them a second time)
//
// against at most 2 loads per instruction from the L1 (128 bytes per cycle) and some 48 bytes per cycle from
// the L2.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "core/macros.h"

namespace ctorch::CT_ISA {

// For tests, whose products and convolutions of floats would take an emulator of tiles long if they were as
// large as are worth it: all go on tiles.
extern bool g_small_floats_too;
void put_small_floats_on_tiles(bool all);

namespace {

// Two bfloat16 numbers, the first in k in the lower half.
using Pair = uint32_t;

inline constexpr int64_t kTile = 16;         // rows, and lanes of a row
inline constexpr int64_t kStep = 2 * kTile;  // numbers in k that a tile holds
inline constexpr int64_t kTilePairs = kTile * kTile;
// Packed operands consist of panels of 32 rows of A or 32 columns of B. A panel holds for each step of k its
// pieces (see gemm_split.h), and of each piece two tiles, the second of rows or columns 16 to 31.
inline constexpr int64_t kPanel = 2 * kTile;
inline constexpr int64_t kPiecePairs = 2 * kTilePairs;

// All tiles are whole: what an operand lacks is packed as zeros.
struct TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfig) == 64);
alignas(64) constexpr TileConfig kTileConfig{};

// The thread has tiles while an object lives; after that the system need not save them any more.
class TileRegisters {
 public:
  CT_INLINE TileRegisters() { _tile_loadconfig(&kTileConfig); }
  CT_INLINE ~TileRegisters() { _tile_release(); }
  TileRegisters(const TileRegisters&) = delete;
  TileRegisters& operator=(const TileRegisters&) = delete;
};

// Tiles 0 to 3 are sums (rows 0 to 15 and columns 0 to 15, then 16 to 31; rows 16 to 31 likewise), 4 and 5
// hold A, 6 and 7 hold B. The instructions name their tiles, so these are no variables. A sum is added to
// every fourth instruction.
template <bool kTwoRows, bool kTwoCols>
struct SumTiles {
  static CT_INLINE void clear() {
    _tile_zero(0);
    if constexpr (kTwoCols) _tile_zero(1);
    if constexpr (kTwoRows) _tile_zero(2);
    if constexpr (kTwoRows && kTwoCols) _tile_zero(3);
  }
  // What sums start from.
  static CT_INLINE void load(const float* sums, int64_t row) {
    const int64_t row_bytes = row * static_cast<int64_t>(sizeof(float));
    _tile_loadd(0, sums, row_bytes);
    if constexpr (kTwoCols) _tile_loadd(1, sums + kTile, row_bytes);
    if constexpr (kTwoRows) _tile_loadd(2, sums + kTile * row, row_bytes);
    if constexpr (kTwoRows && kTwoCols) _tile_loadd(3, sums + kTile * row + kTile, row_bytes);
  }
  static CT_INLINE void load_a(const Pair* a) { load_a(a, a + kTilePairs, 64); }
  // Tiles whose rows are so many bytes apart.
  static CT_INLINE void load_a(const void* first, const void* second, int64_t row_bytes) {
    _tile_loadd(4, first, row_bytes);
    if constexpr (kTwoRows) _tile_loadd(5, second, row_bytes);
  }
  // Load another B, and add its product with the A at hand.
  static CT_INLINE void add_with_b(const Pair* b) { add_with_b(b, b + kTilePairs, 64); }
  static CT_INLINE void add_with_b(const Pair* first, const Pair* second, int64_t row_bytes) {
    _tile_loadd(6, first, row_bytes);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kTwoCols) _tile_loadd(7, second, row_bytes);
    if constexpr (kTwoCols) _tile_dpbf16ps(1, 4, 7);
    if constexpr (kTwoRows) _tile_dpbf16ps(2, 5, 6);
    if constexpr (kTwoRows && kTwoCols) _tile_dpbf16ps(3, 5, 7);
  }
  // Load another A, and add its product with the B at hand.
  static CT_INLINE void add_with_a(const Pair* a) {
    _tile_loadd(4, a, 64);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kTwoCols) _tile_dpbf16ps(1, 4, 7);
    if constexpr (kTwoRows) _tile_loadd(5, a + kTilePairs, 64);
    if constexpr (kTwoRows) _tile_dpbf16ps(2, 5, 6);
    if constexpr (kTwoRows && kTwoCols) _tile_dpbf16ps(3, 5, 7);
  }
  static CT_INLINE void store(float* sums, int64_t row = kPanel) {
    const int64_t row_bytes = row * static_cast<int64_t>(sizeof(float));
    _tile_stored(0, sums, row_bytes);
    if constexpr (kTwoCols) _tile_stored(1, sums + kTile, row_bytes);
    if constexpr (kTwoRows) _tile_stored(2, sums + kTile * row, row_bytes);
    if constexpr (kTwoRows && kTwoCols) _tile_stored(3, sums + kTile * row + kTile, row_bytes);
  }
};

// Packed panels that products to come will read. They are asked for while the tiles are at work, some lines
// at every step: from the L3, a core gets 9 bytes per cycle (measured), and products of panels that nobody
// asked for would wait for them a third of their time.
struct Ahead {
  struct Lines {
    const char* from = nullptr;
    int64_t bytes = 0;  // per step
    CT_INLINE void ask() {
      for (const char* end = from + bytes; from < end; from += 64)
        __builtin_prefetch(from, 0, 2);  // to the L2
    }
  };
  Lines a, b;
};

// Adds the product of a panel of A and one of B over `steps` steps of k to what the tiles hold. Neighbours in
// the order of the products share an operand, and the largest product comes last where it can: the sum of a
// step is then not yet large while the small ones are added.
template <int kPieces, class Tiles>
CT_INLINE void add_panels(const Pair* a, const Pair* b, int64_t steps, Ahead ahead) {
  constexpr int64_t mid = kPiecePairs, low = 2 * kPiecePairs;
  for (; steps > 0; --steps, a += kPieces * kPiecePairs, b += kPieces * kPiecePairs) {
    ahead.a.ask();
    ahead.b.ask();
    Tiles::load_a(a);
    if constexpr (kPieces == 3) {
      Tiles::add_with_b(b + low);  // high low
      Tiles::add_with_b(b + mid);  // high mid
      Tiles::add_with_a(a + mid);  // mid mid
      Tiles::add_with_b(b);        // mid high
      Tiles::add_with_a(a + low);  // low high
      Tiles::add_with_a(a);        // high high
    } else if constexpr (kPieces == 2) {
      Tiles::add_with_b(b + mid);
      Tiles::add_with_b(b);
      Tiles::add_with_a(a + mid);
    } else {
      Tiles::add_with_b(b);
    }
  }
}

// The product of two panels: element [i, j] to sums[i * kPanel + j].
template <int kPieces, bool kTwoRows, bool kTwoCols>
void multiply_panels(const Pair* a, const Pair* b, int64_t steps, float* sums, Ahead ahead) {
  using Tiles = SumTiles<kTwoRows, kTwoCols>;
  Tiles::clear();
  add_panels<kPieces, Tiles>(a, b, steps, ahead);
  Tiles::store(sums);
}

// kernels.of[whether there are more than 16 rows][and columns]
struct PanelKernels {
  int64_t pieces;
  void (*of[2][2])(const Pair*, const Pair*, int64_t, float*, Ahead);
};
template <int kPieces>
constexpr PanelKernels kPanelKernels = {
    kPieces,
    {{multiply_panels<kPieces, false, false>, multiply_panels<kPieces, false, true>},
     {multiply_panels<kPieces, true, false>, multiply_panels<kPieces, true, true>}}};

}  // namespace
}  // namespace ctorch::CT_ISA
