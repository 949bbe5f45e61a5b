// Normalisation over the last dims, over channels, over groups of channels; and the gradients.
#pragma once

#include <optional>
#include <tuple>

#include "core/tensor.h"

namespace ctorch::ops {

using Tensor3 = std::tuple<Tensor, Tensor, Tensor>;

Tensor layer_norm(const Tensor& input, IntList normalized_shape, const OptionalTensor& weight,
                  const OptionalTensor& bias, double eps);
// With the mean and 1 / sqrt(variance + eps) of every row.
Tensor3 native_layer_norm(const Tensor& input, IntList normalized_shape, const OptionalTensor& weight,
                          const OptionalTensor& bias, double eps);
// The gradients of input, weight and bias. mean and rstd, where absent, are computed anew.
Tensor3 layer_norm_backward(const Tensor& grad, const Tensor& input, IntList normalized_shape,
                            const OptionalTensor& mean, const OptionalTensor& rstd,
                            const OptionalTensor& weight, double eps);
// input / sqrt(mean(input^2) + eps), times weight. eps defaults to that of the dtype.
Tensor rms_norm(const Tensor& input, IntList normalized_shape, const OptionalTensor& weight,
                std::optional<double> eps);
std::tuple<Tensor, Tensor> rms_norm_backward(const Tensor& grad, const Tensor& input,
                                             IntList normalized_shape, const OptionalTensor& weight,
                                             std::optional<double> eps);

// Channels are dim 1. In training the statistics of the batch are used, and the running ones are moved
// towards them; else the running ones are used. The second and third result are the mean and 1 /
// sqrt(variance + eps) of training, else empty.
Tensor3 native_batch_norm(const Tensor& input, const OptionalTensor& weight, const OptionalTensor& bias,
                          const OptionalTensor& running_mean, const OptionalTensor& running_var,
                          bool training, double momentum, double eps);
// The gradients of input, weight and bias. save_mean and save_invstd, where absent or empty, are found anew.
Tensor3 batch_norm_backward(const Tensor& grad, const Tensor& input, const OptionalTensor& weight,
                            const OptionalTensor& running_mean, const OptionalTensor& running_var,
                            const OptionalTensor& save_mean, const OptionalTensor& save_invstd, bool training,
                            double eps);

// input is (N, C, HxW) in elements; the results are of input's shape, (N, group) and (N, group).
Tensor3 native_group_norm(const Tensor& input, const OptionalTensor& weight, const OptionalTensor& bias,
                          int64_t N, int64_t C, int64_t HxW, int64_t group, double eps);
Tensor group_norm(const Tensor& input, int64_t num_groups, const OptionalTensor& weight,
                  const OptionalTensor& bias, double eps);
Tensor3 group_norm_backward(const Tensor& grad, const Tensor& input, const OptionalTensor& mean,
                            const OptionalTensor& rstd, const OptionalTensor& weight, int64_t group,
                            double eps);

}  // namespace ctorch::ops
