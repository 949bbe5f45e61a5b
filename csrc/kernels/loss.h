// Losses: of pairs of elements, and of class scores against class numbers.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace ctorch {

enum class PairLoss : int8_t { mse, l1, smooth_l1, huber, bce, bce_logits };
inline constexpr int kPairLosses = 6;

// float32 and float64 only. Dense operands of n elements. With `out` the losses (backward: the gradients with
// respect to x) are written, else summed into *sum.
struct PairLossArgs {
  int64_t n;
  const void* x;
  const void* target;
  const void* weight;      // null, or n factors (bce, bce_logits)
  const void* pos_weight;  // null, or n factors (bce_logits)
  double param;            // smooth_l1: beta; huber: delta
  void* out;
  double* sum;
  const void* grad;  // backward: one value, or n
  bool grad_is_scalar;
  double scale;  // backward: a factor of every gradient
};

// float32 and float64 only. x is (samples, classes, inner), row-major; target has (samples, inner) class
// numbers.
struct ClassLossArgs {
  int64_t samples, classes, inner;
  const void* x;
  const int64_t* target;
  const void* weight;    // null, or one factor per class
  int64_t ignore_index;  // targets of this value count for nothing
  double smoothing;      // cross entropy: this share of each target is spread over all classes
  void* losses;          // per target
  void* weights;         // forward: per target, its class's weight (1 without weights), 0 if ignored
  const void* grad;      // backward: per target, scaled
  void* dx;              // backward
};

struct LossTable {
  void (*pair[kPairLosses][kNumDTypes])(const PairLossArgs&);
  void (*pair_backward[kPairLosses][kNumDTypes])(const PairLossArgs&);
  void (*nll[kNumDTypes])(const ClassLossArgs&);
  void (*nll_backward[kNumDTypes])(const ClassLossArgs&);  // dx holds zeros
  void (*cross_entropy[kNumDTypes])(const ClassLossArgs&);
  void (*cross_entropy_backward[kNumDTypes])(const ClassLossArgs&);
};

}  // namespace ctorch
