#include "bindings/def_op.h"
#include "ops/edge_pad.h"

namespace ctorch::py {

void init_ops_edge_pad() {
  def_op<&ops::edge_pad>("_edge_pad(Tensor input, int[] pad, str mode) -> Tensor",
                         "input with its own elements around it; nn.functional.pad of no negative numbers.",
                         kInternal);
  def_op<&ops::edge_pad_backward>("_edge_pad_backward(Tensor grad_output, int[] pad, str mode) -> Tensor",
                                  "The gradient of _edge_pad().", kInternal);
}

}  // namespace ctorch::py
