// Resampling of one dim by tables of positions and weights: what interpolation is made of.
#pragma once

#include "core/tensor.h"

namespace ctorch::ops {

// positions (n, taps), int64, and weights (n, taps) make of dim its n results: result i is the sum over the
// taps of weights[i, tap] * input[positions[i, tap]] along dim. input and weights are float32 or float64.
Tensor resample(const Tensor& input, const Tensor& positions, const Tensor& weights, int64_t dim);
// Its transpose: the gradient with respect to the input, whose dim has `size`.
Tensor resample_backward(const Tensor& grad_output, const Tensor& positions, const Tensor& weights,
                         int64_t dim, int64_t size);

}  // namespace ctorch::ops
