// Kernels that read and write elements chosen by index tensors or masks, and those that only move elements.
// Strides count elements. A kernel that only moves elements takes the element size, as log2 of its bytes
// (kMoveSizes of them).
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace ctorch {

inline constexpr int kMoveSizes = 5;  // 1, 2, 4, 8, 16 bytes
constexpr int move_size(DType dt) { return __builtin_ctzll(static_cast<uint64_t>(item_size(dt))); }
inline constexpr int64_t kMaxIndexedDims = 64;

enum class ScatterOp : int8_t { add, multiply, amin, amax };
inline constexpr int kScatterOps = 4;

// The first index found outside of its dim, and which index tensor it came from; tensor is -1 if all were
// inside.
struct BadIndex {
  int64_t tensor = -1;
  int64_t value = 0;
};

// gather and scatter: `index` has `length` entries along the dim for each of the lines that `sizes` counts;
// entry i of a line pairs value[line, i] with table[line, index[line, i]]. Indices must lie in [0, bound).
struct AlongDimArgs {
  int64_t ndim;  // of the lines: all dims but the one that is indexed
  const int64_t *sizes, *index_strides, *table_strides, *value_strides;
  int64_t length, bound;
  int64_t index_stride, table_stride, value_stride;  // along the dim
  const int64_t* index;
  void* table;
  void* value;
};

// table[..., i0, i1, ..., slice] paired with value[position, slice]: `num_indices` index tensors, read at
// every position of their broadcast shape, choose a slice of the table: the dims that are not indexed.
// Negative indices count from the end if `wrap` is set.
struct IndexedArgs {
  int64_t position_ndim;
  const int64_t *position_sizes, *value_position_strides;
  int64_t num_indices;
  const int64_t* const* index;
  const int64_t* index_strides;  // (num_indices, position_ndim)
  const int64_t *bounds, *index_table_strides;
  bool wrap;
  int64_t slice_ndim;
  const int64_t *slice_sizes, *table_strides, *value_strides;
  void* table;
  void* value;
};

// Masks are contiguous bytes, true if not 0, taken in blocks of kMaskBlock elements; starts[b] is the number
// of true elements before block b.
inline constexpr int64_t kMaskBlock = 4096;
constexpr int64_t mask_blocks(int64_t n) { return (n + kMaskBlock - 1) / kMaskBlock; }

// tril (upper = false) and triu of `batch` matrices: an element (r, c) is kept where c - r <= diagonal (>=
// for triu).
struct TriangleArgs {
  int64_t batch_ndim;
  const int64_t *batch_sizes, *in_batch_strides, *out_batch_strides;
  int64_t rows, cols, diagonal;
  int64_t in_row_stride, in_col_stride, out_row_stride, out_col_stride;
  bool upper;
  const void* in;
  void* out;
};

// Rows of `length` contiguous elements written in reverse order; rows are counted by `sizes`.
struct ReverseArgs {
  int64_t ndim, length;
  const int64_t *sizes, *in_strides, *out_strides;
  const void* in;
  void* out;
};

// out (outer, sum of piece_bytes) from `pieces` contiguous inputs (outer, piece_bytes[i]); all counts in
// bytes.
struct CatArgs {
  int64_t outer, pieces, row_bytes;
  const char* const* in;
  const int64_t* piece_bytes;
  char* out;
};

struct IndexTable {
  BadIndex (*gather[kMoveSizes])(const AlongDimArgs&);
  BadIndex (*scatter[kMoveSizes])(const AlongDimArgs&);
  // Repeated targets are combined in the order of the entries; null where the dtype has no such operation.
  BadIndex (*scatter_reduce[kScatterOps][kNumDTypes])(const AlongDimArgs&);

  BadIndex (*read[kMoveSizes])(const IndexedArgs&);
  // A repeated target gets the value of the last position; nothing is written if an index is outside.
  BadIndex (*write[kMoveSizes])(const IndexedArgs&);
  BadIndex (*add[kNumDTypes])(const IndexedArgs&);

  int64_t (*count_mask)(const uint8_t* mask, int64_t n, int64_t* starts);
  void (*masked_select[kMoveSizes])(const void* in, const uint8_t* mask, int64_t n, const int64_t* starts,
                                    void* out);
  void (*masked_scatter[kMoveSizes])(void* out, const uint8_t* mask, int64_t n, const int64_t* starts,
                                     const void* in);
  // out[d * n_true + k]: coordinate d of the k-th true element.
  void (*nonzero)(const uint8_t* mask, int64_t n, const int64_t* starts, int64_t ndim, const int64_t* sizes,
                  int64_t* out, int64_t n_true);

  void (*triangle[kMoveSizes])(const TriangleArgs&);
  void (*reverse[kMoveSizes])(const ReverseArgs&);
  void (*cat)(const CatArgs&);
};

}  // namespace ctorch
