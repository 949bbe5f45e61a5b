#include "ops/indexed.h"

namespace ctorch::ops {

void fail_index(const char* op, int64_t index, int64_t dim, int64_t size) {
  fail(ErrorKind::index, op, ": index ", index, " is out of bounds for dimension ", dim, " with size ", size);
}

void IndexedCall::run(BadIndex (*kernel)(const IndexedArgs&)) {
  // Rows that are not contiguous on both sides are walked position by position instead.
  const int64_t last = slice_sizes_.size() - 1;
  if (last >= 0 && (slice_strides_[last] != 1 || slice_value_strides_[last] != 1)) {
    slice_sizes_.push_back(1);
    slice_strides_.push_back(0);
    slice_value_strides_.push_back(0);
  }
  // A last dim of positions that holds several of them in even steps is what the kernel's inner loop wants.
  Dims sizes, strides;
  Dims index_strides;
  const int64_t np = position_sizes_.size();
  for (int64_t d = 0; d < np; ++d) {
    const int64_t size = position_sizes_[d], at = sizes.size() - 1;
    if (size == 1) continue;
    bool merges = at >= 0 && strides[at] == size * position_strides_[d];
    for (int64_t k = 0; merges && k < count_; ++k)
      merges = index_strides[at * count_ + k] == size * index_strides_[k * np + d];
    if (merges) {
      sizes[at] *= size;
      strides[at] = position_strides_[d];
      for (int64_t k = 0; k < count_; ++k) index_strides[at * count_ + k] = index_strides_[k * np + d];
    } else {
      sizes.push_back(size);
      strides.push_back(position_strides_[d]);
      for (int64_t k = 0; k < count_; ++k) index_strides.push_back(index_strides_[k * np + d]);
    }
  }
  const int64_t merged = sizes.size();
  Dims by_tensor(merged * count_);
  for (int64_t d = 0; d < merged; ++d) {
    for (int64_t k = 0; k < count_; ++k) by_tensor[k * merged + d] = index_strides[d * count_ + k];
  }
  check(merged <= kMaxIndexedDims && slice_sizes_.size() <= kMaxIndexedDims, op_, ": more than ",
        kMaxIndexedDims, " dimensions");
  BadIndex bad = kernel({.position_ndim = merged,
                         .position_sizes = sizes.data(),
                         .value_position_strides = strides.data(),
                         .num_indices = count_,
                         .index = index_,
                         .index_strides = by_tensor.data(),
                         .bounds = bounds_.data(),
                         .index_table_strides = index_table_strides_.data(),
                         .wrap = wrap,
                         .slice_ndim = slice_sizes_.size(),
                         .slice_sizes = slice_sizes_.data(),
                         .table_strides = slice_strides_.data(),
                         .value_strides = slice_value_strides_.data(),
                         .table = table_.data(),
                         .value = value_});
  if (bad.tensor >= 0) fail_index(op_, bad.value, dims_[bad.tensor], bounds_[bad.tensor]);
}

}  // namespace ctorch::ops
