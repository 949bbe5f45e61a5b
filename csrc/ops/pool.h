// Pooling over the last one to three dimensions of (N, C, ...) or (C, ...).
#pragma once

#include "core/tensor.h"

namespace ctorch::ops {

// Lists have a value per spatial dimension or one for all; an empty stride means the kernel's size.
struct PoolOptions {
  int64_t dims;
  IntList kernel_size, stride, padding, dilation;
  bool ceil_mode;
};
struct MeanOptions {
  bool count_include_pad;
  std::optional<int64_t> divisor_override;
};

Tensor max_pool(const Tensor& input, const PoolOptions& options);
std::tuple<Tensor, Tensor> max_pool_with_indices(const Tensor& input, const PoolOptions& options);
Tensor max_pool_backward(const Tensor& grad_output, const Tensor& input, const PoolOptions& options);

Tensor avg_pool(const Tensor& input, const PoolOptions& options, const MeanOptions& mean);
Tensor avg_pool_backward(const Tensor& grad_output, IntList input_size, const PoolOptions& options,
                         const MeanOptions& mean);

// Windows such that the result has output_size.
Tensor adaptive_avg_pool(const Tensor& input, int64_t dims, IntList output_size);
Tensor adaptive_avg_pool_backward(const Tensor& grad_output, IntList input_size, int64_t dims);
std::tuple<Tensor, Tensor> adaptive_max_pool(const Tensor& input, int64_t dims, IntList output_size);

}  // namespace ctorch::ops
