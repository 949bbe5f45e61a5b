// Softmax and log-softmax along a dim, and their gradients.
#pragma once

#include <optional>

#include "core/tensor.h"

namespace ctorch::ops {

// With a dtype, input is converted to it first.
Tensor softmax(const Tensor& input, int64_t dim, std::optional<DType> dtype, Out out = {});
Tensor log_softmax(const Tensor& input, int64_t dim, std::optional<DType> dtype, Out out = {});
// From the gradient of the result and the result itself.
Tensor softmax_backward(const Tensor& grad_output, const Tensor& output, int64_t dim, DType input_dtype);
Tensor log_softmax_backward(const Tensor& grad_output, const Tensor& output, int64_t dim, DType input_dtype);

}  // namespace ctorch::ops
