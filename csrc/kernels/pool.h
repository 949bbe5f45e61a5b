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

// x is (batch, channels, spatial...) with any strides, y of the pooled sizes and row-major. Missing leading
// dims have size 1.
struct PoolArgs {
  DType dtype;
  int64_t batch, channels;
  PoolAxis axis[kPoolDims];
  bool adaptive = false;
  const void* x = nullptr;
  int64_t x_strides[2 + kPoolDims] = {};
  void* y = nullptr;           // what the forward functions write
  int64_t* indices = nullptr;  // for max, if wanted: where in its plane of x an element of y stands
  const void* y_grad = nullptr;
  void* x_grad = nullptr;  // what the backward functions write, row-major
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
