// Writing a finished register tile into the result: scaling, addend, activation and conversion, for any
// layout.
#pragma once

#include "kernels/cpu/gemm_simd.h"
#include "kernels/gemm.h"

namespace ctorch::CT_ISA {
namespace {

// c = act(alpha * tile + beta * d), for a result c and an addend d (or null) of type T and tiles of type S.
template <class T, class S>
struct WriteOut {
  T* c;
  int64_t c_row, c_col;
  const T* d;
  int64_t d_row, d_col;
  S alpha, beta;
  GemmActivation activation;
};

// Whether the result is what a tile holds, in rows: then the tile can be summed right into it.
template <class T, class S>
CT_INLINE bool is_plain(const WriteOut<T, S>& w) {
  return std::is_same_v<T, S> && w.c_col == 1 && !w.d && w.alpha == S(1) &&
         w.activation == GemmActivation::none;
}
// Whether the result grows by the product.
template <class T, class S>
CT_INLINE bool grows(const WriteOut<T, S>& w) {
  return std::is_same_v<T, S> && w.d == w.c && w.d_row == w.c_row && w.d_col == w.c_col && w.beta == S(1) &&
         w.alpha == S(1);
}

// The write-out of a block of k that is not the first, or not the last: sums so far are in c, and the
// activation waits.
template <class T, class S>
CT_INLINE WriteOut<T, S> for_k_block(WriteOut<T, S> w, bool first, bool last) {
  if (!first) {
    w.d = w.c;
    w.d_row = w.c_row;
    w.d_col = w.c_col;
    w.beta = S(1);
  }
  if (!last) w.activation = GemmActivation::none;
  return w;
}

template <class T, class S>
CT_INLINE T write_value(const WriteOut<T, S>& w, S sum, const T* d) {
  S value = w.alpha * sum;
  if (d) value += w.beta * static_cast<S>(*d);
  if constexpr (std::is_floating_point_v<S>) {
    if (w.activation == GemmActivation::relu) value = value < S(0) ? S(0) : value;
  }
  return static_cast<T>(value);
}

// `count` elements of one row whose result is contiguous; `d` is the row of the addend (read with stride 0 or
// 1) or null.
template <class S>
CT_INLINE void write_row(const WriteOut<S, S>& w, S* c, const S* d, const S* tile, int64_t count) {
  using Vector = typename Simd<S>::Vector;
  for (int64_t j = 0; j < count; j += kLanes<S>) {
    const int64_t left = count - j;
    const bool whole = left >= kLanes<S>;
    Vector v = load_vector(tile + j) * w.alpha;
    if (d) {
      Vector addend;
      if (w.d_col == 0) {
        addend = Vector{} + *d;
      } else {
        addend = whole ? load_vector(d + j) : load_partial(d + j, left);
      }
      v += addend * w.beta;
    }
    if constexpr (std::is_floating_point_v<S>) {
      if (w.activation == GemmActivation::relu) v = v < Vector{} ? Vector{} : v;
    }
    if (whole) {
      store_vector(c + j, v);
    } else {
      store_partial(c + j, v, left);
    }
  }
}

// The same for a result of bfloat16.
CT_INLINE void write_row(const WriteOut<BFloat16, float>& w, BFloat16* c, const BFloat16* d,
                         const float* tile, int64_t count) {
  using Vector = Simd<float>::Vector;
  int64_t j = 0;
  for (; j + kLanes<float> <= count; j += kLanes<float>) {
    Vector v = load_vector(tile + j) * w.alpha;
    if (d) v += (w.d_col == 0 ? Vector{} + static_cast<float>(*d) : load_convert<float>(d + j)) * w.beta;
    if (w.activation == GemmActivation::relu) v = v < Vector{} ? Vector{} : v;
    store_converted(c + j, v);
  }
  for (; j < count; ++j) c[j] = write_value(w, tile[j], d ? d + j * w.d_col : nullptr);
}

template <bool kToWrite, class T>
CT_INLINE void prefetch_rows(const T* p, int64_t row, int64_t rows, int64_t cols) {
  constexpr int64_t line = 64 / static_cast<int64_t>(sizeof(T));
  for (int64_t i = 0; i < rows; ++i, p += row) {
    for (int64_t j = 0; j < cols; j += line) __builtin_prefetch(p + j, kToWrite);
    __builtin_prefetch(p + cols - 1, kToWrite);
  }
}
// Ask for the cache lines of a tile that is about to be summed: they arrive meanwhile.
template <class T, class S>
CT_INLINE void prefetch_tile(const WriteOut<T, S>& w, int64_t i0, int64_t j0, int64_t rows, int64_t cols) {
  if (w.c_col == 1) prefetch_rows<true>(w.c + i0 * w.c_row + j0, w.c_row, rows, cols);
  if (w.d && w.d != w.c && w.d_col == 1 && w.d_row != 0)
    prefetch_rows<false>(w.d + i0 * w.d_row + j0, w.d_row, rows, cols);
}

// A tile for a result whose columns are contiguous: squares of it are transposed and written as rows.
template <class S>
void write_columns(const WriteOut<S, S>& w, S* c, const S* d, int64_t rows, int64_t cols, const S* tile,
                   int64_t tile_row) {
  constexpr int64_t lanes = kLanes<S>;
  using Vector = typename Simd<S>::Vector;
  WriteOut<S, S> turned = w;
  turned.d_col = w.d_row;
  for (int64_t j = 0; j < cols; j += lanes) {
    const int64_t width = std::min(lanes, cols - j);
    for (int64_t i = 0; i < rows; i += lanes) {
      const int64_t height = std::min(lanes, rows - i);
      Vector square[lanes];
      for (int64_t r = 0; r < lanes; ++r)
        square[r] = r < height ? load_vector(tile + (i + r) * tile_row + j) : Vector{};
      transpose_square<S>(square);
      for (int64_t l = 0; l < width; ++l) {
        alignas(64) S column[lanes];
        store_vector(column, square[l]);
        write_row(turned, c + (j + l) * w.c_col + i, d ? d + (j + l) * w.d_col + i * w.d_row : nullptr,
                  column, height);
      }
    }
  }
}

// Rows i0 ... and columns j0 ... of the result, from a tile whose rows are `tile_row` apart. Whole vectors of
// the tile are read, also beyond its last column.
template <class T, class S>
CT_NOINLINE void write_tile(const WriteOut<T, S>& w, int64_t i0, int64_t j0, int64_t rows, int64_t cols,
                            const S* tile, int64_t tile_row) {
  const bool in_rows = w.c_col == 1 && (!w.d || w.d_col == 1 || w.d_col == 0);
  if constexpr (std::is_same_v<T, S> && std::is_floating_point_v<S>) {
    if (!in_rows && tile_row > 0 && w.c_row == 1 && (!w.d || w.d_row == 1 || w.d_row == 0)) {
      const S* d = w.d ? w.d + i0 * w.d_row + j0 * w.d_col : nullptr;
      return write_columns(w, w.c + i0 + j0 * w.c_col, d, rows, cols, tile, tile_row);
    }
  }
  for (int64_t i = 0; i < rows; ++i, tile += tile_row) {
    T* c = w.c + (i0 + i) * w.c_row + j0 * w.c_col;
    const T* d = w.d ? w.d + (i0 + i) * w.d_row + j0 * w.d_col : nullptr;
    if constexpr (std::is_same_v<T, S> || std::is_same_v<T, BFloat16>) {
      if (in_rows) {
        write_row(w, c, d, tile, cols);
        continue;
      }
    }
    for (int64_t j = 0; j < cols; ++j)
      c[j * w.c_col] = write_value(w, tile[j], d ? d + j * w.d_col : nullptr);
  }
}

}  // namespace
}  // namespace ctorch::CT_ISA
