// Scaled dot-product attention over (batch, heads, rows, width).
#pragma once

#include <optional>
#include <tuple>

#include "core/tensor.h"

namespace ctorch::ops {

// softmax(scale query key^T + attn_mask) value, and the base 2 logarithm of the sums that scaled its rows,
// (batch, heads, L). query is (batch, heads, L, E), key (batch, key heads, S, E), value (batch, key heads, S,
// Ev); heads is a multiple of key heads. attn_mask, of bool (which keys are seen) or of query's dtype
// (added), is broadcast to (batch, heads, L, S); is_causal lets query i see the keys up to i. dropout_p > 0
// draws from the default generator in the order of the weights.
std::tuple<Tensor, Tensor> attention(const Tensor& query, const Tensor& key, const Tensor& value,
                                     const OptionalTensor& attn_mask, double dropout_p, bool is_causal,
                                     double scale, const OptionalTensor& rng_state);
// The gradients of query, key and value. rng_state is the state of the generator before the forward pass.
std::tuple<Tensor, Tensor, Tensor> attention_backward(const Tensor& grad, const Tensor& query,
                                                      const Tensor& key, const Tensor& value,
                                                      const OptionalTensor& attn_mask, double dropout_p,
                                                      bool is_causal, double scale,
                                                      const OptionalTensor& rng_state, const Tensor& out,
                                                      const Tensor& row_sums);

}  // namespace ctorch::ops
