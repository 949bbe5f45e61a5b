// Convolution over one to three spatial dimensions, its transpose and its gradients.
#pragma once

#include <string>

#include "core/tensor.h"

namespace ctorch::ops {

// The options of a convolution. `padding` has a value per spatial dimension, or first those at the beginnings
// and then those at the ends; the other lists have a value per dimension or one for all.
struct ConvOptions {
  IntList stride, padding, dilation;
  bool transposed;
  IntList output_padding;
  int64_t groups;
};

// input (N, C, ...) or (C, ...); weight (O, C / groups, ...), or (C, O / groups, ...) if transposed; bias
// (O).
Tensor convolution(const Tensor& input, const Tensor& weight, const OptionalTensor& bias,
                   const ConvOptions& options);
// The gradients with respect to input and weight. The three are linear in each operand, and each is the
// gradient of the others.
Tensor convolution_backward_input(const Tensor& grad_output, const Tensor& weight, IntList input_size,
                                  const ConvOptions& options);
Tensor convolution_backward_weight(const Tensor& grad_output, const Tensor& input, IntList weight_size,
                                   const ConvOptions& options);

// What must be added at the beginnings and ends of the dims for padding="same" or "valid".
Dims named_padding(const std::string& name, const Tensor& weight, IntList stride, IntList dilation,
                   const char* op);

}  // namespace ctorch::ops
