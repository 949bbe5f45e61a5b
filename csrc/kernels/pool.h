// Pooling: the maximum or the mean over windows of up to three spatial dimensions, and the gradients.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace ctorch {

inline constexpr int kPoolDims = 3;

// Window i of a dim covers the elements i * stride - padding + dilation * r, 0 <= r < kernel, that exist; or,
// if adaptive, those from floor(i * x_size / y_size) to ceil((i + 1) * x_size / y_size).
struct PoolAxis {
  int64_t x_size = 1, y_size = 1, kernel = 1, stride = 1, padding = 0, dilation = 1;
};

// Element (sample, channel, d, h, w) of an operand stands at data[sample * batch + channel * plane + d *
// axis[0]
// + h * axis[1] + w * axis[2]].
template <class Pointer>
struct PoolOperand {
  Pointer data = nullptr;
  int64_t batch = 0, plane = 0;
  int64_t axis[kPoolDims] = {};
};

// Operands of (batch, channels, spatial...), x of the sizes of the input and y of the pooled ones. Missing
// leading dims have size 1. What is written must have no two elements in one place.
struct PoolArgs {
  DType dtype;
  int64_t batch, channels;
  PoolAxis axis[kPoolDims];
  bool adaptive = false;
  PoolOperand<const void*> x{}, y_grad{};
  PoolOperand<void*> y{}, x_grad{};
  int64_t* indices = nullptr;  // for max, if wanted, laid out as y: where in its plane of x an element stands
  // For mean: whether padding counts as elements, and a divisor to use instead of the count (0: none).
  bool count_include_pad = true;
  int64_t divisor = 0;
};

struct PoolTable {
  void (*max)(const PoolArgs&);
  void (*max_backward)(const PoolArgs&);  // finds the maxima in x again: cheaper than keeping their indices
  void (*mean)(const PoolArgs&);
  void (*mean_backward)(const PoolArgs&);
};

}  // namespace ctorch
