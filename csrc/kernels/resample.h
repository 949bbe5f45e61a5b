// Resampling of one dim: every result is a weighted sum of a few elements; and the transpose of that.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace ctorch {

// x is (outer, x_size, inner) and y (outer, y_size, inner), both row-major:
// y[o, i, :] = sum over tap of weights[i * taps + tap] * x[o, positions[i * taps + tap], :].
// The weights are of the dtype, float32 or float64.
struct ResampleArgs {
  DType dtype;
  int64_t outer, x_size, y_size, inner, taps;
  const int64_t* positions;
  const void* weights;
  const void* from;  // forward: x; backward: the gradient of y
  void* to;          // forward: y; backward: the gradient of x
};

struct ResampleTable {
  void (*forward)(const ResampleArgs&);
  void (*backward)(const ResampleArgs&);
};

}  // namespace ctorch
