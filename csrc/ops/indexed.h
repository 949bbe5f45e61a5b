// Building the arguments of the kernels that read and write through index tensors. For the sources of ops/
// only.
#pragma once

#include "core/tensor.h"
#include "kernels/index.h"
#include "ops/copy.h"

namespace ctorch::ops {

inline Tensor to_int64(const Tensor& t) { return t.dtype() == DType::int64 ? t : to_dtype(t, DType::int64); }

class IndexedCall {
 public:
  IndexedCall(const char* op, const Tensor& table, char* value) : op_(op), table_(table), value_(value) {}
  bool wrap = false;  // negative indices count from the end

  // The shape of the positions, and the value's strides along them. Comes first.
  void positions(IntList sizes, IntList value_strides) {
    position_sizes_ = sizes;
    position_strides_ = value_strides;
  }
  // An index tensor for `dim` of the table, with its strides along the positions.
  void index(const Tensor& t, const Dims& strides, int64_t dim) {
    check(count_ < kMaxIndexedDims, op_, ": more than ", kMaxIndexedDims, " index tensors");
    index_[count_] = t.data<const int64_t>();
    for (int64_t s : strides) index_strides_.push_back(s);
    bounds_.push_back(table_.sizes()[dim]);
    index_table_strides_.push_back(table_.strides()[dim]);
    dims_.push_back(dim);
    ++count_;
  }
  // A dim of the table that is not indexed; dims that can be walked as one are merged.
  void slice(int64_t dim, int64_t value_stride) {
    const int64_t size = table_.sizes()[dim], stride = table_.strides()[dim], last = slice_sizes_.size() - 1;
    if (size == 1) return;
    if (last >= 0 && slice_strides_[last] == size * stride &&
        slice_value_strides_[last] == size * value_stride) {
      slice_sizes_[last] *= size;
      slice_strides_[last] = stride;
      slice_value_strides_[last] = value_stride;
      return;
    }
    slice_sizes_.push_back(size);
    slice_strides_.push_back(stride);
    slice_value_strides_.push_back(value_stride);
  }
  void run(BadIndex (*kernel)(const IndexedArgs&));

 private:
  const char* op_;
  const Tensor& table_;
  char* value_;
  Dims position_sizes_, position_strides_;
  int64_t count_ = 0;
  const int64_t* index_[kMaxIndexedDims];
  Dims index_strides_, bounds_, index_table_strides_, dims_;
  Dims slice_sizes_, slice_strides_, slice_value_strides_;
};

// IndexError, worded as PyTorch does.
[[noreturn]] void fail_index(const char* op, int64_t index, int64_t dim, int64_t size);

}  // namespace ctorch::ops
