#include "bindings/def_op.h"
#include "ops/resample.h"

namespace ctorch::py {

void init_ops_resample() {
  def_op<&ops::resample>("_resample(Tensor input, Tensor positions, Tensor weights, int dim) -> Tensor",
                         "Weighted sums of a few elements along dim: result i is that of input[positions[i]] "
                         "with weights[i].",
                         kInternal);
  def_op<&ops::resample_backward>(
      "_resample_backward(Tensor grad_output, Tensor positions, Tensor weights, int dim, int size) -> Tensor",
      "The gradient of _resample() with respect to an input with `size` at dim.", kInternal);
}

}  // namespace ctorch::py
