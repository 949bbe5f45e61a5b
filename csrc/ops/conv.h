// Convolution over one to three spatial dimensions, its transpose and its gradients.
#pragma once

#include "core/tensor.h"

namespace ctorch::ops {

// input (N, C, ...) or (C, ...), weight (O, C / groups, ...), or (C, O / groups, ...) if transposed.
// `padding` has a value per spatial dimension, or first those at the beginnings and then those at the ends;
// other lists a value per dimension.
Tensor convolution(const Tensor& input, const Tensor& weight, const OptionalTensor& bias, IntList stride,
                   IntList padding, IntList dilation, bool transposed, IntList output_padding,
                   int64_t groups);

// The gradients of convolution() with respect to input, weight and bias, those that output_mask asks for (the
// others are undefined).
std::tuple<Tensor, Tensor, Tensor> convolution_backward(const Tensor& grad_output, const Tensor& input,
                                                        const Tensor& weight,
                                                        std::optional<IntList> bias_sizes, IntList stride,
                                                        IntList padding, IntList dilation, bool transposed,
                                                        IntList output_padding, int64_t groups,
                                                        IntList output_mask);

}  // namespace ctorch::ops
