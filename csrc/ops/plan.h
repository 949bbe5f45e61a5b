// How an element-wise operation walks its operands: broadcasting, the order of the dims, which operands go
// through a buffer, the split among threads. Copies use the same geometry.
#pragma once

#include <span>

#include "core/tensor.h"
#include "kernels/copy.h"
#include "kernels/elementwise.h"
#include "kernels/functors/meta.h"

namespace ctorch::ops {

// A functor without its type.
struct Functor {
  const char* name;
  int id;  // its row in the kernel table
  int inputs, params;
  const unsigned* masks;
  int num_masks;
  Promote promote;
  Result result;
  bool first_is_bool;
  bool bits;
  bool wide_numbers;
};

// Apply a functor to tensors and numbers. `common` is the dtype of the result where that is Result::same;
// half types are computed in float, other operands are converted to `common` on the way, block by block. The
// result has PyTorch's layout: that of the inputs if they are dense in one order. With `out`, PyTorch's rules
// for shape, dtype and overlap of outputs hold.
Tensor run_elementwise(const Functor& functor, std::span<const Operand> inputs,
                       std::span<const Scalar> params, DType common, Out out);

// Convert n contiguous elements, by way of a third dtype where no kernel does it in one step.
void convert_elements(void* to, DType to_dtype, const void* from, DType from_dtype, int64_t n);

// Write `value` as an element of the dtype.
void store_scalar(void* to, DType dtype, const Scalar& value);

// Copy src, of shape `to`'s or broadcast to it by strides, into `to`; they do not overlap.
void copy_elements(const Tensor& to, const Tensor& src, const Dims& src_strides);

// The tensor for a result of this shape, as `out` says: fresh and laid out after the inputs, or the target of
// `out`, checked and resized.
Tensor make_result(const char* op, IntList shape, DType dtype, std::span<const Operand> inputs, Out out);

namespace detail {

inline constexpr int kMaxDims = 64;

// Dims innermost first, merged where all operands allow.
struct Geometry {
  int operands = 0;
  int dims = 0;
  int64_t size[kMaxDims];
  struct Walk {
    char* data;
    int64_t stride[kMaxDims];  // bytes
  } walk[kMaxOperands];
  int64_t numel = 1;

  // Order by the strides of operand 0, then the others; make those of operand 0 positive; drop dims of size
  // 1; merge.
  void simplify();
  // The dims in the order of TensorIterator: perm[0] is the innermost. Operands from `first` on decide.
  void order(int first, int* perm) const;
};

}  // namespace detail
}  // namespace ctorch::ops
