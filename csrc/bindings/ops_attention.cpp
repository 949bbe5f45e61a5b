#include "bindings/def_op.h"
#include "ops/attention.h"

namespace ctorch::py {

void init_ops_attention() {
  def_op<&ops::attention>(
      "_attention(Tensor query, Tensor key, Tensor value, Tensor? attn_mask, float dropout_p, bool "
      "is_causal, "
      "float scale, Tensor? rng_state) -> (Tensor, Tensor)",
      "softmax(scale query key^T + attn_mask) value over (batch, heads, rows, width), and the logarithm of "
      "the "
      "sums that scaled the rows of weights. rng_state: the default generator's before the call, for "
      "backward.",
      kInternal);
  def_op<&ops::attention_backward>(
      "_attention_backward(Tensor grad, Tensor query, Tensor key, Tensor value, Tensor? attn_mask, float "
      "dropout_p, bool is_causal, float scale, Tensor? rng_state, Tensor out, Tensor row_sums) -> (Tensor, "
      "Tensor, Tensor)",
      "Gradients of _attention() with respect to query, key and value.", kInternal);
}

}  // namespace ctorch::py
