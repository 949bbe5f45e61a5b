// Kernels that only move elements: joining tensors, and the triangles of matrices. Arguments:
// kernels/index.h.
#include <string.h>

#include "kernels/cpu/index_loops.h"

namespace ctorch::CT_ISA {
namespace {

constexpr int64_t kBytesGrain = 1 << 17;

void cat(const CatArgs& a) {
  // By bytes of the result, wherever pieces begin and end, so that uneven pieces are shared out evenly.
  const int64_t total = a.outer * a.row_bytes;
  auto copy = [&](int64_t from, int64_t to) {
    if (from >= to) return;
    int64_t row = from / a.row_bytes, at = from % a.row_bytes, piece = 0;
    while (at >= a.piece_bytes[piece]) at -= a.piece_bytes[piece++];
    while (from < to) {
      const int64_t left = a.piece_bytes[piece] - at, n = left < to - from ? left : to - from;
      if (n > 0) memcpy(a.out + from, a.in[piece] + row * a.piece_bytes[piece] + at, static_cast<size_t>(n));
      from += n;
      at = 0;
      if (++piece == a.pieces) {
        piece = 0;
        ++row;
      }
    }
  };
  if (total <= kBytesGrain) {
    copy(0, total);
  } else {
    parallel_for(0, total, kBytesGrain, copy);
  }
}

template <class T>
void triangle(const TriangleArgs& a) {
  const int64_t batch = product(a.batch_sizes, a.batch_ndim);
  if (batch == 0 || a.cols == 0) return;
  const int64_t grain = 16384 / a.cols + 1;
  parallel_for(0, batch * a.rows, grain, [&](int64_t from, int64_t to) {
    Walk<2> w{a.batch_ndim, a.batch_sizes, {a.in_batch_strides, a.out_batch_strides}, {}, {}};
    w.start(from / a.rows);
    for (int64_t i = from, r = from % a.rows; i < to; ++i) {
      const T* in = static_cast<const T*>(a.in) + w.offset[0] + r * a.in_row_stride;
      T* out = static_cast<T*>(a.out) + w.offset[1] + r * a.out_row_stride;
      // Columns [0, edge) are kept by tril and cleared by triu; the others the other way round.
      int64_t edge = a.diagonal >= a.cols - r ? a.cols : r + a.diagonal + (a.upper ? 0 : 1);
      edge = edge < 0 ? 0 : edge > a.cols ? a.cols : edge;
      const int64_t zero_from = a.upper ? 0 : edge, zero_to = a.upper ? edge : a.cols;
      const int64_t keep_from = a.upper ? edge : 0, keep_to = a.upper ? a.cols : edge;
      const int64_t is = a.in_col_stride, os = a.out_col_stride;
      if (os == 1) {
        for (int64_t c = zero_from; c < zero_to; ++c) out[c] = T{};
      } else {
        for (int64_t c = zero_from; c < zero_to; ++c) out[c * os] = T{};
      }
      if (in != out || is != os) {
        if (is == 1 && os == 1) {
          memcpy(out + keep_from, in + keep_from, static_cast<size_t>(keep_to - keep_from) * sizeof(T));
        } else {
          for (int64_t c = keep_from; c < keep_to; ++c) out[c * os] = in[c * is];
        }
      }
      if (++r == a.rows) {
        r = 0;
        w.advance(1);
      }
    }
  });
}

template <class T>
void reverse(const ReverseArgs& a) {
  parallel_for(0, product(a.sizes, a.ndim), 32768 / a.length + 1, [&](int64_t from, int64_t to) {
    Walk<2> w{a.ndim, a.sizes, {a.in_strides, a.out_strides}, {}, {}};
    w.start(from);
    for (int64_t row = from; row < to; ++row, w.advance(1)) {
      const T* CT_RESTRICT in = static_cast<const T*>(a.in) + w.offset[0];
      T* CT_RESTRICT out = static_cast<T*>(a.out) + w.offset[1];
      for (int64_t i = 0; i < a.length; ++i) out[i] = in[a.length - 1 - i];
    }
  });
}

template <class... Ts>
CT_INLINE void fill_moves(IndexTable& t, TypeList<Ts...>) {
  int i = 0;
  ((t.triangle[i] = triangle<Ts>, t.reverse[i] = reverse<Ts>, ++i), ...);
}

}  // namespace

void fill_move(IndexTable& table) {
  table.cat = cat;
  fill_moves(table, MoveList{});
}

}  // namespace ctorch::CT_ISA
