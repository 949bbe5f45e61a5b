// Recurrent layers: one layer, one direction, all time steps.
#pragma once

#include <string>
#include <tuple>

#include "core/tensor.h"

namespace ctorch::ops {

// The sequences of a batch, longest first, packed by time: batch_sizes[t] rows for step t, which belong to
// the first batch_sizes[t] sequences. N is their sum, B the number of sequences, H the hidden size, P that of
// h (H, but where weight_hr projects it).
//
//   gates      (N, G H): what the input adds to the gates, biases included; G is 4 for "lstm" (i, f, g, o), 3
//   for "gru"
//              (r, z, n), 1 for "tanh" and "relu"
//   h0, c0     (B, P), (B, H): the states before the first step; c0 for "lstm" alone
//   weight_hh  (G H, P); bias_hh (G H), for "gru" alone; weight_hr (P, H), for "lstm" alone
//
// Returns the output (N, P), the last h (B, P) and c (B, H) of each sequence, and for backward: the activated
// gates, c after each step, and h before its projection; empty where there is none.
struct RnnOperands {
  const Tensor &gates, &h0;
  const OptionalTensor& c0;
  const Tensor& weight_hh;
  const OptionalTensor &bias_hh, &weight_hr;
  IntList batch_sizes;
  const std::string& cell;
  bool reverse;
};
using Tensor6 = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;
Tensor6 rnn_layer(const RnnOperands& x);
// The gradients of gates, h0, c0, weight_hh, bias_hh and weight_hr, given those of the first three results
// (undefined ones count as 0) and what the layer returned.
Tensor6 rnn_layer_backward(const OptionalTensor& grad_out, const OptionalTensor& grad_h,
                           const OptionalTensor& grad_c, const RnnOperands& x, const Tensor& out,
                           const Tensor& activated, const Tensor& cells, const Tensor& unprojected);

}  // namespace ctorch::ops
