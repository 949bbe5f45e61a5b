// Optimizer steps: a parameter, its gradient and the optimizer's state for it, all of one floating dtype and
// n elements in the same order. A complex parameter counts as twice as many real numbers.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace ctorch {

// d = +-grad + weight_decay * param;  buffer = keep * buffer + take * d;
// param -= lr * (d | buffer | d + momentum * buffer), without a buffer, with one, with Nesterov's.
struct SgdArgs {
  void* param;
  const void* grad;
  void* buffer;  // null: no momentum
  double lr;
  double momentum;
  double keep;
  double take;
  double weight_decay;
  bool nesterov;
  bool maximize;  // d starts from -grad
};

// d = +-grad + weight_decay * param;  m += (1 - beta1) * (d - m);  v = beta2 * v + (1 - beta2) * d^2;
// param = shrink * param - step_size * m / (sqrt(v) / correction + eps).
struct AdamArgs {
  void* param;
  const void* grad;
  void* exp_avg;         // m
  void* exp_avg_sq;      // v
  void* max_exp_avg_sq;  // null, or the largest v so far, which then stands for v in the last line
  double beta1;
  double beta2;
  double eps;
  double weight_decay;
  double shrink;
  double step_size;
  double correction;
  bool maximize;
};

// Indexed by dtype: float16, bfloat16, float32, float64. They work on the elements [from, to).
struct UpdateTable {
  void (*sgd[kNumDTypes])(const SgdArgs& args, int64_t from, int64_t to);
  void (*adam[kNumDTypes])(const AdamArgs& args, int64_t from, int64_t to);
};

}  // namespace ctorch
