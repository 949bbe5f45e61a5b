// Moving elements: fills, copies with conversion of dtype and layout.
#pragma once

#include "core/tensor.h"

namespace ctorch::ops {

// Write src, broadcast and converted, into self; overlapping operands are handled. Returns self.
Tensor copy_(const Tensor& self, const Tensor& src);
Tensor fill_(const Tensor& self, const Scalar& value);
Tensor zero_(const Tensor& self);
// Throws if a finite value is beyond the range of dtype (small negative numbers wrap in unsigned dtypes), if
// it is infinite or nan and dtype has integers, or complex and dtype real.
void check_fits(const Scalar& value, DType dtype, const char* op);

// A fresh tensor with the elements of input, in its order of dims if it is dense.
Tensor clone(const Tensor& input);
// A fresh row-major tensor with the elements of input.
Tensor clone_contiguous(const Tensor& input);
// A fresh tensor, like `like` but for the format: channels_last needs 4 dims, channels_last_3d 5.
Tensor empty_like_in(const Tensor& like, MemoryFormat format, std::optional<DType> dtype = std::nullopt);
Tensor clone_in(const Tensor& input, MemoryFormat format);
// input itself if it has the format already, else a copy.
Tensor contiguous_in(const Tensor& input, MemoryFormat format);
// input itself if it is row-major, else clone_contiguous(input).
Tensor contiguous(const Tensor& input);
// input itself if it has the dtype, else a converted copy in the same order of dims.
Tensor to_dtype(const Tensor& input, DType dtype);

// Give an out= tensor the shape of a result, as PyTorch does: it keeps its memory if that suffices. A tensor
// that has elements should have the right shape already; it is resized all the same.
void resize_output(const Tensor& target, IntList sizes, const char* op);
// tensor.resize_(): the first elements stay, further ones are uninitialised.
Tensor resize_(const Tensor& self, IntList sizes);

}  // namespace ctorch::ops
