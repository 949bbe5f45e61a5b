// Normalisation: over rows (layer norm, RMS norm), and the per-channel sums and affine maps of which batch,
// group and instance norm are made.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace ctorch {

// x and y are (rows, n), row-major; weight and bias have n elements or are null; mean and rstd have one per
// row, of the dtype of x. Without `centre` the mean counts as 0 and is not written: RMS norm.
struct RowNormArgs {
  int64_t rows, n;
  const void* x;
  const void* weight;
  const void* bias;
  void* y;
  void* mean;
  void* rstd;
  double eps;
  bool centre;
};
// grad and dx are (rows, n); dx, dweight and dbias may each be null. Without mean and rstd they are computed
// anew, which costs little while the row lies in L1.
struct RowNormBackwardArgs {
  int64_t rows, n;
  const void* grad;
  const void* x;
  const void* mean;
  const void* rstd;
  const void* weight;
  void* dx;
  void* dweight;
  void* dbias;
  double eps;
  bool centre;
};

// Operands are (samples, channels, inner), row-major. Coefficients are of the value type (float for the half
// types), one per channel, or with per_sample one per sample and channel; there, where inner is 1, `repeat`
// samples in turn count as one: the places of an image whose channels are innermost.
struct ChannelArgs {
  int64_t samples, channels, inner, repeat;
  bool per_sample;
  const void* x;
  const void* grad;
  const void* mean;   // sums, and affine with a gradient
  const void* scale;  // y = x * scale + shift, or y = grad * scale + (x - mean) * slope + shift
  const void* slope;
  const void* shift;
  void* y;
  bool stream;         // y is stored past the caches
  double* sum_grad;    // sums: of grad
  double* sum_grad_x;  // sums: of grad * (x - mean)
};

// x, grad and y are (samples, groups x per_group, inner), row-major; a mean and a variance per sample and
// group. weight and bias have one value per channel. Forward writes y, mean and rstd; backward, which reads
// them or without them computes them anew, the gradient of x to y, and for every sample and channel the sums
// of grad and of grad (x - mean) rstd.
struct GroupNormArgs {
  int64_t samples, groups, per_group, inner;
  const void* x;
  const void* grad;
  const double* weight;
  const double* bias;
  void* y;
  bool stream;  // y is stored past the caches
  double* mean;
  double* rstd;
  double* sum_grad;
  double* sum_grad_h;
  double eps;
};

struct NormTable {
  void (*rows[kNumDTypes])(const RowNormArgs&);
  void (*rows_backward[kNumDTypes])(const RowNormBackwardArgs&);
  void (*affine[kNumDTypes])(const ChannelArgs&);
  void (*affine_backward[kNumDTypes])(const ChannelArgs&);
  void (*sums[kNumDTypes])(const ChannelArgs&);
  void (*groups[kNumDTypes])(const GroupNormArgs&);
  void (*groups_backward[kNumDTypes])(const GroupNormArgs&);
};

}  // namespace ctorch
