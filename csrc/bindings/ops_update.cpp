#include "bindings/def_op.h"
#include "ops/update.h"

namespace ctorch::py {

void init_ops_update() {
  def_op<&ops::sgd_step>(
      "_sgd_step(Tensor[] params, Tensor[] grads, Tensor[] momentum_buffers, float lr, float momentum, float "
      "dampening, "
      "float weight_decay, bool nesterov, bool maximize, bool first) -> any",
      "One step of gradient descent on all parameters. Call it without recording.", kInternal);
  def_op<&ops::adam_step>(
      "_adam_step(Tensor[] params, Tensor[] grads, Tensor[] exp_avgs, Tensor[] exp_avg_sqs, Tensor[] "
      "max_exp_avg_sqs, "
      "Tensor[] steps, float lr, float beta1, float beta2, float eps, float weight_decay, bool amsgrad, bool "
      "maximize, "
      "bool decoupled) -> any",
      "One step of Adam on all parameters; counts up steps. Call it without recording.", kInternal);
}

}  // namespace ctorch::py
