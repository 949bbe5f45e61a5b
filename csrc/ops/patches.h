// Sliding blocks of images: as columns, and summed at their places.
#pragma once

#include "core/tensor.h"

namespace ctorch::ops {

// Each of one int, or of two for rows and columns.
struct BlockOptions {
  IntList kernel_size, dilation, padding, stride;
};

// (N, C, H, W) or (C, H, W) to (N, C * kH * kW, L) or (C * kH * kW, L), L the number of blocks.
Tensor im2col(const Tensor& input, const BlockOptions& options);
// The transpose: the sum of the blocks at their places in (N, C, *output_size).
Tensor col2im(const Tensor& input, IntList output_size, const BlockOptions& options);

}  // namespace ctorch::ops
