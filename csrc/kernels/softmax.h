// Softmax and log-softmax along one dim, and their gradients.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace ctorch {

// All operands are row-major (outer, n, inner); the maps run over n.
struct SoftmaxArgs {
  int64_t outer, n, inner;
  const void* in;    // backward: the forward result
  const void* grad;  // backward only
  void* out;
};

using SoftmaxFn = void (*)(const SoftmaxArgs&);

struct SoftmaxTable {
  SoftmaxFn softmax[kNumDTypes], log_softmax[kNumDTypes];
  SoftmaxFn softmax_backward[kNumDTypes], log_softmax_backward[kNumDTypes];
};

}  // namespace ctorch
