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

// Groups of lines of `inner` contiguous elements in x, grad and y, each brought to one mean and one variance.
// weight and bias have one value per channel, to which a line belongs. In group norm a group is several
// channels of a sample, a line each; in batch norm it is a channel of all samples. Forward writes y, mean and
// var; backward, which reads mean and rstd or without rstd computes both anew, the gradient of x to y, and
// for every line of every group the sums of grad and of grad (x - mean) rstd.
struct GroupNormArgs {
  int64_t groups, lines, inner;
  int64_t group_stride, line_stride;  // in elements
  int64_t channels, group_channels;   // the channel of line 0 of a group is that of the group before + these
  bool channel_per_line;              // or one for all lines
  const void* x;
  const void* grad;
  const double* weight;
  const double* bias;
  void* y;
  bool stream;  // y is stored past the caches
  double* mean;
  double* var;
  const double* rstd;
  double* sum_grad;
  double* sum_grad_h;
  double eps;

  int64_t line(int64_t group, int64_t k) const { return group * group_stride + k * line_stride; }
  int64_t channel(int64_t group, int64_t k) const {
    return (group * group_channels + (channel_per_line ? k : 0)) % channels;
  }
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
