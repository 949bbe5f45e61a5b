#include "bindings/def_op.h"
#include "ops/softmax.h"

namespace ctorch::py {

void init_ops_softmax() {
  def_op<&ops::softmax>(
      "softmax(Tensor input, int dim, dtype? dtype=None, *, Out out=None) -> Tensor",
      "e^input, scaled so that it sums to 1 along dim. With a dtype, input is converted to it first.");
  def_op<&ops::log_softmax>(
      "log_softmax(Tensor input, int dim, dtype? dtype=None, *, Out out=None) -> Tensor",
      "The logarithm of softmax(), without its loss of digits.");
  def_op<&ops::softmax_backward>(
      "_softmax_backward_data(Tensor grad_output, Tensor output, int dim, dtype input_dtype) -> Tensor",
      "Gradient of softmax().", kInternal);
  def_op<&ops::log_softmax_backward>(
      "_log_softmax_backward_data(Tensor grad_output, Tensor output, int dim, dtype input_dtype) -> Tensor",
      "Gradient of log_softmax().", kInternal);
}

}  // namespace ctorch::py
