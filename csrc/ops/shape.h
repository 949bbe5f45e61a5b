// Operations that move elements to other places: repeated, mirrored, shifted, padded, on or off diagonals.
#pragma once

#include <optional>

#include "core/tensor.h"

namespace ctorch::ops {

Tensor repeat(const Tensor& self, IntList repeats);
Tensor flip(const Tensor& self, IntList dims);
Tensor roll(const Tensor& self, IntList shifts, IntList dims);
Tensor tril(const Tensor& self, int64_t diagonal, Out out);
Tensor triu(const Tensor& self, int64_t diagonal, Out out);
Tensor tril_indices(int64_t row, int64_t col, int64_t offset, DType dtype);
Tensor triu_indices(int64_t row, int64_t col, int64_t offset, DType dtype);
Tensor diag_embed(const Tensor& self, int64_t offset, int64_t dim1, int64_t dim2);
Tensor constant_pad_nd(const Tensor& self, IntList pad, const Scalar& value);

}  // namespace ctorch::ops
