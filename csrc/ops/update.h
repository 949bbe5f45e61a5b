// Optimizer steps: one call changes all parameters, their state included.
#pragma once

#include "core/tensor.h"

namespace ctorch::ops {

// Gradient descent; the formulas are in kernels/update.h. The lists run in parallel; momentum_buffers is
// empty without momentum. In the `first` step a buffer, all zeros, takes up the whole gradient whatever the
// dampening.
void sgd_step(TensorList params, TensorList grads, TensorList momentum_buffers, double lr, double momentum,
              double dampening, double weight_decay, bool nesterov, bool maximize, bool first);

// Adam; `decoupled` takes the weight decay off the parameters (AdamW). max_exp_avg_sqs is empty without
// amsgrad. `steps` holds for each parameter a tensor of one float32, the number of its steps, which the call
// counts up.
void adam_step(TensorList params, TensorList grads, TensorList exp_avgs, TensorList exp_avg_sqs,
               TensorList max_exp_avg_sqs, TensorList steps, double lr, double beta1, double beta2,
               double eps, double weight_decay, bool amsgrad, bool maximize, bool decoupled);

}  // namespace ctorch::ops
