// Block sizes of the matrix products, per instruction set and element type.
//
// A product C = A B of (m, k) by (k, n) is cut into register tiles of at most kRows x (kVectors * lanes)
// elements of C. The tile is held in registers over a run of k, so per step of k it needs kVectors loads of B
// and kRows broadcasts of A for kRows * kVectors multiply-adds. kRows * kVectors accumulators + kVectors
// values of B + one broadcast must fit the register file, and at least 8 accumulators are needed to hide a
// multiply-add's latency of 4 cycles at 2 per cycle.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "core/macros.h"

namespace ctorch::CT_ISA {
namespace {

#if defined(__AVX512F__)
inline constexpr int64_t kVectorBytes = 64;  // 32 registers: 14 * 2 + 2 + 1
inline constexpr int kTileRows = 14, kTileVectors = 2;
#elif defined(__AVX2__)
inline constexpr int64_t kVectorBytes = 32;  // 16 registers: 6 * 2 + 2 + 1
inline constexpr int kTileRows = 6, kTileVectors = 2;
#elif defined(__aarch64__)
inline constexpr int64_t kVectorBytes =
    16;  // 32 registers; wide tiles, as each step must amortise the broadcasts
inline constexpr int kTileRows = 7, kTileVectors = 3;
#else
inline constexpr int64_t kVectorBytes =
    16;  // SSE2, 16 registers, no fused multiply-add: one register more for the product
inline constexpr int kTileRows = 4, kTileVectors = 2;
#endif

// m rows in panels of at most `most` rows that differ by at most one: short panels at the end would run at
// half speed.
struct Panels {
  int64_t count, base, longer;
  CT_INLINE Panels(int64_t m, int64_t most)
      : count((m + most - 1) / most), base(m / count), longer(m % count) {}
  CT_INLINE int64_t start(int64_t i) const { return i * base + std::min(i, longer); }
  CT_INLINE int64_t rows(int64_t i) const { return base + (i < longer); }
};

CT_INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// CPUs of the level AVX2 have an L1 of 32 KB and an L2 of 256 or 512 KB.
inline constexpr bool kSmallCaches = kVectorBytes == 32;

template <class S>
struct GemmBlocks {
  static constexpr int64_t lanes = kVectorBytes / static_cast<int64_t>(sizeof(S));
  // Integer products are rare: fewer tiles keep the library small.
  static constexpr int rows = S(0.5) == S(0) ? 4 : kTileRows;
  static constexpr int vectors = kTileVectors;
  static constexpr int64_t cols = lanes * vectors;
  // Depth of a block of k: a panel of B (depth * cols, 64 KB where a register holds 64 bytes) passes through
  // the L1 and L2 beside one of A. Deeper blocks mean fewer passes over C, which for large matrices lies in
  // memory.
  static constexpr int64_t depth = sizeof(S) == 8 || kSmallCaches ? 256 : 512;
  // Steps of k that are summed in registers before the sum is added to those of other stretches: the error of
  // a running sum grows with its length, and a stretch costs as much as a step or two. 0: no end.
  static constexpr int64_t stretch = std::is_same_v<S, float> ? 128 : 0;
  // For types that are converted while packing: their sums cannot rest in the result between blocks.
  static constexpr int64_t half_depth = 1024;
  // A task is a rectangle of the result of so many panels: its part of A stays in an L2 of 1 to 2 MB (300 KB
  // of floats where caches are small).
  static constexpr int64_t task_row_panels = kSmallCaches ? 48 : 24;
  // Where every thread packs all of A for itself, a task takes up to so many: B is packed once then.
  static constexpr int64_t copied_row_panels = kSmallCaches ? 96 : 40;
  static constexpr int64_t task_col_panels = 16;
  // Rows of A that serve no more columns are read in place.
  static constexpr int64_t in_place_cols = (kVectorBytes == 64 ? 2 : 4) * cols;
  // Rows of A and columns of B packed at a time, which bounds the packed copies to a few MB of the L3.
  static constexpr int64_t slab_rows = 4096;
  static constexpr int64_t slab_cols = 4096;
  // Products of less work (m * n * k) than this, and no deeper, take the path that allocates and starts
  // nothing.
  static constexpr int64_t small_work = 32 * 32 * 32;
  static constexpr int64_t small_depth = 64;
};

}  // namespace
}  // namespace ctorch::CT_ISA
