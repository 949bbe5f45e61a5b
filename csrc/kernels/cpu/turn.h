// Short rows as the columns of a matrix, so that what is done to all of them runs along vectors: to fold the
// lanes of each row would cost more than all else.
#pragma once

#include "kernels/cpu/gemm_simd.h"

namespace ctorch::CT_ISA {
namespace {

// The longest rows for which that is done, and how many at a time: few enough to stay in the L1.
inline constexpr int64_t kLongestTurned = 128, kTurned = 64, kTurnedElements = 4096;
constexpr CT_INLINE int64_t rows_to_turn(int64_t n) { return n * kTurned <= kTurnedElements ? kTurned : 32; }

// As many columns as `rows` rows take: those that are missing of a whole vector are 0.
template <class S>
constexpr CT_INLINE int64_t turned_width(int64_t rows) {
  return (rows + kLanes<S> - 1) / kLanes<S> * kLanes<S>;
}

// square(row, rows of it that there are, element, elements of it) for every square of a register's lanes.
template <class S, class Square>
CT_INLINE void for_squares(int64_t rows, int64_t n, Square square) {
  constexpr int64_t lanes = kLanes<S>;
  for (int64_t r = 0; r < rows; r += lanes) {
    for (int64_t p = 0; p < n; p += lanes) square(r, rows - r, p, n - p < lanes ? n - p : lanes);
  }
}

// to (n, turned_width) = the transpose of rows of n elements, `pitch` apart.
template <class S>
CT_NOINLINE void turn_rows(const S* x, int64_t pitch, int64_t rows, int64_t n, S* to) {
  constexpr int64_t lanes = kLanes<S>;
  using Vector = typename Simd<S>::Vector;
  const int64_t width = turned_width<S>(rows);
  for_squares<S>(rows, n,
                 [=](int64_t r, int64_t count, int64_t p, int64_t rest) __attribute__((always_inline)) {
                   Vector square[lanes];
#pragma GCC unroll 16
                   for (int64_t i = 0; i < lanes; ++i)
                     square[i] = i < count ? load_partial(x + (r + i) * pitch + p, rest) : Vector{};
                   transpose_square<S>(square);
#pragma GCC unroll 16
                   for (int64_t l = 0; l < lanes; ++l) {
                     if (l < rest) store_vector(to + (p + l) * width + r, square[l]);
                   }
                 });
}
// The way back, to rows that follow each other without gaps.
template <class S>
CT_NOINLINE void turn_columns(const S* from, int64_t rows, int64_t n, S* x) {
  constexpr int64_t lanes = kLanes<S>;
  using Vector = typename Simd<S>::Vector;
  const int64_t width = turned_width<S>(rows);
  for_squares<S>(rows, n,
                 [=](int64_t r, int64_t count, int64_t p, int64_t rest) __attribute__((always_inline)) {
                   Vector square[lanes];
#pragma GCC unroll 16
                   for (int64_t l = 0; l < lanes; ++l)
                     square[l] = l < rest ? load_vector(from + (p + l) * width + r) : Vector{};
                   transpose_square<S>(square);
#pragma GCC unroll 16
                   for (int64_t i = 0; i < lanes; ++i) {
                     if (i < count) store_partial(x + (r + i) * n + p, square[i], rest);
                   }
                 });
}

}  // namespace
}  // namespace ctorch::CT_ISA
