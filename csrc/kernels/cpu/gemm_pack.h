// Packing: copy a strip of a matrix, of any strides, into the order in which the register tile reads it.
//
// A packed panel holds `width` elements of the strip (rows of A or columns of B) for each step p of k:
// element (i, p) at panel[p * width + i]. Packing also converts half types to float and narrow integers to
// wide ones.
#pragma once

#include <algorithm>

#include "kernels/cpu/gemm_simd.h"

namespace ctorch::CT_ISA {
namespace {

// GCC warns of the loop over the last steps in clones for a constant k, in which it never runs.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Waggressive-loop-optimizations"
#endif
// Up to kLanes rows, each contiguous along k: transpose squares of kLanes x kLanes in registers. Where they
// are all rows of the panel, whole vectors are stored as far as the next steps overwrite what is too much.
template <class S, class T>
void pack_rows_along_k(S* panel, int64_t width, int64_t rows, int64_t k, const T* src, int64_t row,
                       bool all_rows = false) {
  constexpr int64_t lanes = kLanes<S>;
  int64_t p = 0;
  for (; p + lanes <= k; p += lanes) {
    typename Simd<S>::Vector square[lanes];
#pragma GCC unroll 16
    for (int64_t i = 0; i < lanes; ++i) {
      square[i] = i < rows ? load_convert<S>(src + i * row + p) : typename Simd<S>::Vector{};
    }
    transpose_square<S>(square);
    if (rows == lanes || (all_rows && p + lanes < k)) {
#pragma GCC unroll 16
      for (int64_t l = 0; l < lanes; ++l) store_vector(panel + (p + l) * width, square[l]);
    } else {
#pragma GCC unroll 16
      for (int64_t l = 0; l < lanes; ++l) store_partial(panel + (p + l) * width, square[l], rows);
    }
  }
  for (; p < k; ++p) {
    for (int64_t i = 0; i < rows; ++i) panel[p * width + i] = static_cast<S>(src[i * row + p]);
  }
}
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

// Zeros for the elements that each of the steps of a panel has and a strip of so many rows has not.
template <class E>
void fill_missing(E* panel, int64_t width, int64_t rows, int64_t steps) {
  for (int64_t p = 0; p < steps && rows < width; ++p) {
    for (int64_t i = rows; i < width; ++i) panel[p * width + i] = E(0);
  }
}

// Element (i, p) of the strip at src[i * row + p * step]; rows <= width, nothing is written for those that
// are missing.
template <class S, class T>
void pack_strip(S* panel, int64_t width, int64_t rows, int64_t k, const T* src, int64_t row, int64_t step) {
  constexpr int64_t lanes = kLanes<S>;
  const bool all_rows = rows == width && rows <= lanes && 2 * rows >= lanes;
  if (step == 1 && row != 1) {
    for (int64_t i = 0; i < rows; i += lanes) {
      pack_rows_along_k<S>(panel + i, width, std::min(lanes, rows - i), k, src + i * row, row, all_rows);
    }
  } else if (row == 1 && rows == 2 * lanes) {
    for (int64_t p = 0; p < k; ++p) {
      store_vector(panel + p * width, load_convert<S>(src + p * step));
      store_vector(panel + p * width + lanes, load_convert<S>(src + p * step + lanes));
    }
  } else if (row == 1 && std::is_same_v<S, T>) {
    int64_t p = 0;
    for (; all_rows && p + 1 < k; ++p)  // beyond its rows a step writes the next one's first
      store_vector(panel + p * width, load_partial(reinterpret_cast<const S*>(src + p * step), rows));
    for (; p < k; ++p) {
      const S* from = reinterpret_cast<const S*>(src + p * step);
      S* to = panel + p * width;
      int64_t i = 0;
      for (; i + lanes <= rows; i += lanes) store_vector(to + i, load_vector(from + i));
      if (i < rows) store_partial(to + i, load_partial(from + i, rows - i), rows - i);
    }
  } else if (row == 2 && std::is_same_v<S, T> && std::is_floating_point_v<S>) {
    constexpr int64_t kAhead = 12;  // steps, which the CPU does not see coming
    for (int64_t p = 0; p < k; ++p) {
      __builtin_prefetch(src + (p + kAhead) * step);
      __builtin_prefetch(src + (p + kAhead) * step + (rows - 1) * row);
      const S* from = reinterpret_cast<const S*>(src + p * step);
      for (int64_t i = 0; i < rows; i += lanes) {
        const int64_t count = std::min(lanes, rows - i);
        store_partial(panel + p * width + i, load_evens(from + 2 * i, count), count);
      }
    }
  } else {
    for (int64_t p = 0; p < k; ++p) {
      for (int64_t i = 0; i < rows; ++i) panel[p * width + i] = static_cast<S>(src[i * row + p * step]);
    }
  }
}
// The same, what is missing filled with zeros.
template <class S, class T>
void pack_panel(S* panel, int64_t width, int64_t rows, int64_t k, const T* src, int64_t row, int64_t step) {
  pack_strip(panel, width, rows, k, src, row, step);
  fill_missing(panel, width, rows, k);
}

}  // namespace
}  // namespace ctorch::CT_ISA
