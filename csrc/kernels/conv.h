// Convolution (cross-correlation, as networks use the word) in up to three spatial dimensions, and its
// gradients.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace ctorch {

inline constexpr int kConvDims = 3;

// The image x (batch, x_channels, ...), the filter w (y_channels, x_channels / groups, ...) and the result y
// (batch, y_channels, ...):
//   y[n, o, q] = sum over c, r of w[o, c, r] * x[n, c, stride * q + dilation * r - padding],  x being 0
//   outside.
// Strides are in elements and may have any sign. Missing leading spatial dims have size 1.
struct ConvArgs {
  DType dtype;  // of all tensors
  int64_t batch, groups, x_channels, y_channels;
  int64_t x_size[kConvDims], y_size[kConvDims], w_size[kConvDims];
  int64_t stride[kConvDims], padding[kConvDims], dilation[kConvDims];
  void *x, *w, *y;
  int64_t x_strides[2 + kConvDims], w_strides[2 + kConvDims], y_strides[2 + kConvDims];
  // Added to what is written per channel (of y, or of x for backward_x); null for none.
  const void* bias = nullptr;
  int64_t bias_stride = 0;
  // The filter as ConvTable::prepare() has written it for these arguments (of any batch), or null.
  const void* prepared = nullptr;
};

// A form of a filter of a kernel's own: how large, and which of its forms. 0 bytes: the filter is read as it
// is.
struct ConvForm {
  int64_t bytes = 0, kind = 0;
};

// Each of the first three functions computes one of the tensors from the other two. float, double, int64,
// complex; and half types where takes() says so.
struct ConvTable {
  void (*forward)(const ConvArgs&);  // y from x and w
  void (*backward_x)(
      const ConvArgs&);  // x, the gradient of the image, from y and w: also transposed convolution
  void (*backward_w)(const ConvArgs&);  // w, the gradient of the filter, from x and y
  // Whether forward or backward_x, or backward_w, computes this in its dtype; if not, float copies have to be
  // convolved.
  bool (*takes)(const ConvArgs&, bool backward_x);
  bool (*takes_backward_w)(const ConvArgs&);
  // Forward or backward_x bring the filter into a form of their own. One that is used again can be kept in
  // it.
  ConvForm (*form)(const ConvArgs&, bool backward_x);
  void (*prepare)(const ConvArgs&, bool backward_x, void* to);
  // Whether images with their channels innermost are better copied into planes first.
  bool (*prefers_planes)(const ConvArgs&, bool backward_x);
  // Whether a filter of one point is better applied by forward or backward_x than as a product for each
  // image.
  bool (*joins_points)(const ConvArgs&, bool backward_x);
};

}  // namespace ctorch
