// Losses and their gradients. `reduction` is PyTorch's number: 0 none, 1 mean, 2 sum.
#pragma once

#include <optional>

#include "core/tensor.h"

namespace ctorch::ops {

// Of pairs of elements; input and target are broadcast.
Tensor mse_loss(const Tensor& input, const Tensor& target, int64_t reduction);
Tensor l1_loss(const Tensor& input, const Tensor& target, int64_t reduction);
Tensor smooth_l1_loss(const Tensor& input, const Tensor& target, int64_t reduction, double beta);
Tensor huber_loss(const Tensor& input, const Tensor& target, int64_t reduction, double delta);
Tensor binary_cross_entropy(const Tensor& input, const Tensor& target, const OptionalTensor& weight,
                            int64_t reduction);
Tensor binary_cross_entropy_with_logits(const Tensor& input, const Tensor& target,
                                        const OptionalTensor& weight, const OptionalTensor& pos_weight,
                                        int64_t reduction);

// The gradients with respect to input, in the broadcast shape.
Tensor mse_loss_backward(const Tensor& grad_output, const Tensor& input, const Tensor& target,
                         int64_t reduction);
Tensor l1_loss_backward(const Tensor& grad_output, const Tensor& input, const Tensor& target,
                        int64_t reduction);
Tensor smooth_l1_loss_backward(const Tensor& grad_output, const Tensor& input, const Tensor& target,
                               int64_t reduction, double beta);
Tensor huber_loss_backward(const Tensor& grad_output, const Tensor& input, const Tensor& target,
                           int64_t reduction, double delta);
Tensor binary_cross_entropy_backward(const Tensor& grad_output, const Tensor& input, const Tensor& target,
                                     const OptionalTensor& weight, int64_t reduction);
Tensor binary_cross_entropy_with_logits_backward(const Tensor& grad_output, const Tensor& input,
                                                 const Tensor& target, const OptionalTensor& weight,
                                                 const OptionalTensor& pos_weight, int64_t reduction);

// input is (C,), (N, C) or (N, C, d1, ...); target holds class numbers, in the shape of input without C. The
// mean is taken over the weights of the targets that are not ignored.
Tensor nll_loss(const Tensor& input, const Tensor& target, const OptionalTensor& weight, int64_t reduction,
                int64_t ignore_index);
Tensor nll_loss_backward(const Tensor& grad_output, const Tensor& input, const Tensor& target,
                         const OptionalTensor& weight, int64_t reduction, int64_t ignore_index);
// Of the log-probabilities input from target, which with log_target are log-probabilities too.
Tensor kl_div(const Tensor& input, const Tensor& target, int64_t reduction, bool log_target);
// Of scores, and class numbers or (where target is floating) probabilities in the shape of input.
Tensor cross_entropy_loss(const Tensor& input, const Tensor& target, const OptionalTensor& weight,
                          int64_t reduction, int64_t ignore_index, double label_smoothing);
Tensor cross_entropy_classes_backward(const Tensor& grad_output, const Tensor& input, const Tensor& target,
                                      const OptionalTensor& weight, int64_t reduction, int64_t ignore_index,
                                      double label_smoothing);

}  // namespace ctorch::ops
