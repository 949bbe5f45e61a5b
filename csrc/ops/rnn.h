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
//   data       (N, I): the rows of all time steps
//   h0, c0     (B, P), (B, H): the states before the first step; c0 for "lstm" alone
//   weight_ih  (G H, I), weight_hh (G H, P), bias_ih and bias_hh (G H): G gates, 4 for "lstm" (i, f, g, o), 3
//              for "gru" (r, z, n), 1 for "tanh" and "relu"
//   weight_hr  (P, H), for "lstm" alone
//
// Returns the output (N, P), the last h (B, P) and c (B, H) of each sequence, and for backward: the activated
// gates, c after each step (gru: the part of n that r multiplies), and h before its projection; empty where
// there is none.
struct RnnOperands {
  const Tensor &data, &h0;
  const OptionalTensor& c0;
  const Tensor &weight_ih, &weight_hh;
  const OptionalTensor &bias_ih, &bias_hh, &weight_hr;
  IntList batch_sizes;
  const std::string& cell;
  bool reverse;
};
using RnnResults = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;
RnnResults rnn_layer(const RnnOperands& x);
// The gradients of data, h0, c0, weight_ih, weight_hh, bias_ih, bias_hh and weight_hr, given those of the
// first three results (undefined ones count as 0) and what the layer returned. Those of data and of the
// weights, a product each, are empty unless they are asked for.
using RnnGradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;
RnnGradients rnn_layer_backward(const OptionalTensor& grad_out, const OptionalTensor& grad_h,
                                const OptionalTensor& grad_c, const RnnOperands& x, const Tensor& out,
                                const Tensor& activated, const Tensor& cells, const Tensor& unprojected,
                                bool grad_data, bool grad_weights);

}  // namespace ctorch::ops
