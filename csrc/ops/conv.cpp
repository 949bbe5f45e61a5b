#include "ops/conv.h"

#include "kernels/table.h"
#include "ops/copy.h"

namespace ctorch::ops {
namespace {

// The arguments, checked, in the form of the kernels: x is the larger side (the input, or the result if
// transposed).
struct Geometry {
  int64_t dims;  // spatial
  bool batched;
  Dims stride, low, high, dilation, output_padding;
  int64_t groups;
  bool transposed;
};

const char* op_name(const Geometry& g) {
  static const char* const names[2][3] = {{"conv1d", "conv2d", "conv3d"},
                                          {"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}};
  return names[g.transposed][g.dims - 1];
}

Dims per_dim(IntList values, int64_t dims, const char* name, const char* op) {
  check(values.size() == 1 || static_cast<int64_t>(values.size()) == dims, op, ": expected ", name,
        " to be a single integer or ", dims, " values, got ", ShapeText{values});
  return values.size() == 1 ? Dims(dims, values[0]) : Dims(values);
}

Geometry make_geometry(const Tensor& input, const Tensor& weight, IntList stride, IntList padding,
                       IntList dilation, bool transposed, IntList output_padding, int64_t groups) {
  Geometry g{};
  g.dims = weight.dim() - 2;
  g.transposed = transposed;
  check(g.dims >= 1 && g.dims <= kConvDims, "convolution: expected weight of 3 to 5 dimensions, got shape ",
        weight.sizes());
  const char* op = op_name(g);
  check(input.dim() == g.dims + 1 || input.dim() == g.dims + 2, op, ": expected ", g.dims + 1,
        "D (unbatched) or ", g.dims + 2, "D (batched) input, got shape ", input.sizes());
  g.batched = input.dim() == g.dims + 2;
  g.stride = per_dim(stride, g.dims, "stride", op);
  g.dilation = per_dim(dilation, g.dims, "dilation", op);
  g.output_padding = per_dim(output_padding, g.dims, "output_padding", op);
  if (padding.size() > 1 && static_cast<int64_t>(padding.size()) == 2 * g.dims) {
    g.low = Dims(padding.first(padding.size() / 2));
    g.high = Dims(padding.last(padding.size() / 2));
  } else {
    g.low = g.high = per_dim(padding, g.dims, "padding", op);
  }
  g.groups = groups;
  check(groups > 0, op, ": expected a positive number of groups, got ", groups);
  for (int64_t d = 0; d < g.dims; ++d) {
    check(g.stride[d] > 0, op, ": expected positive strides, got ", g.stride);
    check(g.dilation[d] > 0, op, ": expected positive dilations, got ", g.dilation);
    check(g.low[d] >= 0 && g.high[d] >= 0, op, ": expected padding that is not negative, got ", g.low);
    check(g.output_padding[d] >= 0, op, ": expected output_padding that is not negative, got ",
          g.output_padding);
    check(!transposed || g.output_padding[d] < std::max(g.stride[d], g.dilation[d]), op,
          ": output_padding must be smaller than stride or dilation, got ", g.output_padding);
    check(weight.sizes()[2 + d] > 0, op, ": expected a filter that is not empty, got weight ",
          weight.sizes());
  }
  const int64_t channels = input.sizes()[g.batched ? 1 : 0];
  check(weight.sizes()[0] > 0 && weight.sizes()[0] % groups == 0, op,
        ": expected weight.shape[0] to be a multiple of groups=", groups, ", got weight ", weight.sizes());
  const int64_t wanted = transposed ? weight.sizes()[0] : weight.sizes()[1] * groups;
  check(channels == wanted, op, ": groups=", groups, " and weight ", weight.sizes(), " need ", wanted,
        " input channels, got input ", input.sizes());
  check(input.dtype() == weight.dtype(), op, ": input and weight should have the same dtype, got ",
        input.dtype(), " and ", weight.dtype());
  const DType dt = input.dtype();
  check_implemented(is_differentiable(dt) || dt == DType::int64, op, ": not implemented for dtype ", dt);
  return g;
}

// The shape of the result, without the batch if the input has none.
Dims result_sizes(const Geometry& g, const Tensor& input, const Tensor& weight) {
  Dims sizes = input.sizes();
  const int64_t channel = g.batched ? 1 : 0;
  sizes[channel] = g.transposed ? weight.sizes()[1] * g.groups : weight.sizes()[0];
  for (int64_t d = 0; d < g.dims; ++d) {
    const int64_t at = channel + 1 + d, reach = g.dilation[d] * (weight.sizes()[2 + d] - 1);
    if (g.transposed) {
      sizes[at] =
          (input.sizes()[at] - 1) * g.stride[d] - g.low[d] - g.high[d] + reach + g.output_padding[d] + 1;
    } else {
      const int64_t room = input.sizes()[at] + g.low[d] + g.high[d] - reach - 1;
      check(room >= 0, op_name(g), ": Kernel size can't be greater than actual input size, got input ",
            input.sizes(), ", weight ", weight.sizes(), " and padding ", g.low);
      sizes[at] = room / g.stride[d] + 1;
    }
    check(sizes[at] >= (g.transposed ? 1 : 0), op_name(g), ": the output would have size ", sizes[at],
          " in dim ", at, ", got input ", input.sizes(), " and weight ", weight.sizes());
  }
  return sizes;
}

// A tensor of (N,) C and spatial dims, as the kernels take it.
void place(const Tensor& t, bool batched, int64_t dims, int64_t* size, int64_t* strides) {
  const int64_t channel = batched ? 1 : 0;
  strides[0] = batched ? t.strides()[0] : 0;
  strides[1] = t.strides()[channel];
  for (int64_t d = 0; d < kConvDims; ++d) {
    const int64_t from = d - (kConvDims - dims);
    size[d] = from < 0 ? 1 : t.sizes()[channel + 1 + from];
    strides[2 + d] = from < 0 ? 0 : t.strides()[channel + 1 + from];
  }
}

ConvArgs make_args(const Geometry& g, const Tensor& small, const Tensor& weight, const Tensor& large) {
  ConvArgs a{};
  a.dtype = weight.dtype();
  a.groups = g.groups;
  a.batch = g.batched ? large.sizes()[0] : 1;
  a.x_channels = large.sizes()[g.batched ? 1 : 0];
  a.y_channels = small.sizes()[g.batched ? 1 : 0];
  place(large, g.batched, g.dims, a.x_size, a.x_strides);
  place(small, g.batched, g.dims, a.y_size, a.y_strides);
  place(weight, true, g.dims, a.w_size, a.w_strides);
  for (int64_t d = 0; d < kConvDims; ++d) {
    const int64_t from = d - (kConvDims - g.dims);
    a.stride[d] = from < 0 ? 1 : g.stride[from];
    a.dilation[d] = from < 0 ? 1 : g.dilation[from];
    a.padding[d] = from < 0 ? 0 : g.low[from];
  }
  a.x = large.data();
  a.w = weight.data();
  a.y = small.data();
  return a;
}

// A tensor in the memory order of `like` where that has channels innermost, as PyTorch keeps it.
Tensor empty_in_format_of(const Tensor& like, const Tensor& weight, const Dims& sizes) {
  auto channels_last = [](const Tensor& t) {
    return !t.is_contiguous() && is_channels_last(t.sizes(), t.strides());
  };
  if (sizes.size() >= 4 && like.dim() == sizes.size() && (channels_last(like) || channels_last(weight))) {
    return empty_strided(sizes, channels_last_strides(sizes), like.dtype(), like.device());
  }
  return empty(sizes, like.dtype(), like.device());
}

// A filter of one point, without padding or steps, is a product of matrices for each image.
bool is_pointwise(const ConvArgs& a) {
  for (int d = 0; d < kConvDims; ++d) {
    if (a.w_size[d] != 1 || a.stride[d] != 1 || a.padding[d] != 0 || a.x_size[d] != a.y_size[d]) return false;
  }
  return true;
}
// The spatial dims as one, if the strides allow it.
std::optional<int64_t> point_stride(const int64_t* size, const int64_t* strides) {
  int64_t step = 0, next = 0;
  for (int d = kConvDims - 1; d >= 0; --d) {
    if (size[d] == 1) continue;
    if (step == 0) {
      step = strides[2 + d];
    } else if (strides[2 + d] != next) {
      return std::nullopt;
    }
    next = strides[2 + d] * size[d];
  }
  return step ? step : 1;
}

// to (channels, points) = filter (channels, from_channels) from (from_channels, points) + bias, per image and
// group.
bool pointwise(const ConvArgs& a, bool backward) {
  if (!is_pointwise(a)) return false;
  const std::optional<int64_t> x = point_stride(a.x_size, a.x_strides),
                               y = point_stride(a.y_size, a.y_strides);
  if (!x || !y) return false;
  const int64_t x_group = a.x_channels / a.groups, y_group = a.y_channels / a.groups;
  const int64_t w_group = y_group * a.w_strides[0];
  GemmArgs g{};
  g.dtype = a.dtype;
  g.n = a.x_size[0] * a.x_size[1] * a.x_size[2];
  g.m = backward ? x_group : y_group;
  g.k = backward ? y_group : x_group;
  g.batch_dims = 2;
  g.batch_size[0] = a.batch;
  g.batch_size[1] = a.groups;
  g.a = {.data = a.w,
         .row = a.w_strides[backward ? 1 : 0],
         .col = a.w_strides[backward ? 0 : 1],
         .batch = {0, w_group}};
  const GemmOperand<const void*> image{
      .data = a.x, .row = a.x_strides[1], .col = *x, .batch = {a.x_strides[0], x_group * a.x_strides[1]}};
  const GemmOperand<const void*> result{
      .data = a.y, .row = a.y_strides[1], .col = *y, .batch = {a.y_strides[0], y_group * a.y_strides[1]}};
  const auto& from = backward ? result : image;
  const auto& to = backward ? image : result;
  g.b = from;
  g.c = {.data = backward ? a.x : a.y, .row = to.row, .col = to.col, .batch = {to.batch[0], to.batch[1]}};
  if (a.bias) g.d = {.data = a.bias, .row = a.bias_stride, .col = 0, .batch = {0, g.m * a.bias_stride}};
  cpu_kernels().gemm.gemm(g);
  return true;
}

void run_forward(const ConvArgs& a) {
  if (!pointwise(a, false)) cpu_kernels().conv.forward(a);
}
void run_backward_x(const ConvArgs& a) {
  if (!pointwise(a, true)) cpu_kernels().conv.backward_x(a);
}

}  // namespace

Tensor convolution(const Tensor& input, const Tensor& weight, const OptionalTensor& bias, IntList stride,
                   IntList padding, IntList dilation, bool transposed, IntList output_padding,
                   int64_t groups) {
  const Geometry g =
      make_geometry(input, weight, stride, padding, dilation, transposed, output_padding, groups);
  const Dims sizes = result_sizes(g, input, weight);
  const int64_t channels = sizes[g.batched ? 1 : 0];
  if (bias) {
    check(bias->dim() == 1 && bias->numel() == channels, op_name(g), ": expected bias of shape (", channels,
          "), got ", bias->sizes());
    check(bias->dtype() == input.dtype(), op_name(g), ": input and bias should have the same dtype, got ",
          input.dtype(), " and ", bias->dtype());
  }
  const Tensor result = empty_in_format_of(input, weight, sizes);
  ConvArgs a = transposed ? make_args(g, input, weight, result) : make_args(g, result, weight, input);
  if (bias) {
    a.bias = bias->data();
    a.bias_stride = bias->strides()[0];
  }
  if (result.numel() > 0) transposed ? run_backward_x(a) : run_forward(a);
  return result;
}

std::tuple<Tensor, Tensor, Tensor> convolution_backward(const Tensor& grad_output, const Tensor& input,
                                                        const Tensor& weight,
                                                        std::optional<IntList> bias_sizes, IntList stride,
                                                        IntList padding, IntList dilation, bool transposed,
                                                        IntList output_padding, int64_t groups,
                                                        IntList output_mask) {
  const Geometry g =
      make_geometry(input, weight, stride, padding, dilation, transposed, output_padding, groups);
  check(output_mask.size() == 3, "convolution_backward: expected output_mask to have 3 values, got ",
        output_mask.size());
  check(same(grad_output.sizes(), result_sizes(g, input, weight)),
        "convolution_backward: expected grad_output of shape ", result_sizes(g, input, weight), ", got ",
        grad_output.sizes());
  check(grad_output.dtype() == input.dtype(), "convolution_backward: expected grad_output of dtype ",
        input.dtype(), ", got ", grad_output.dtype());
  (void)bias_sizes;
  std::tuple<Tensor, Tensor, Tensor> grads;
  auto& [grad_input, grad_weight, grad_bias] = grads;
  if (output_mask[0]) {
    grad_input = empty_in_format_of(input, weight, input.sizes());
    const ConvArgs a = transposed ? make_args(g, grad_input, weight, grad_output)
                                  : make_args(g, grad_output, weight, grad_input);
    if (grad_input.numel() > 0) transposed ? run_forward(a) : run_backward_x(a);
  }
  if (output_mask[1]) {
    grad_weight = empty_like(weight);
    if (grad_output.numel() == 0 || input.numel() == 0) {
      zero_(grad_weight);
    } else {
      cpu_kernels().conv.backward_w(transposed ? make_args(g, input, grad_weight, grad_output)
                                               : make_args(g, grad_output, grad_weight, input));
    }
  }
  if (output_mask[2]) {
    grad_bias =
        empty(Dims{grad_output.sizes()[g.batched ? 1 : 0]}, grad_output.dtype(), grad_output.device());
    ConvArgs a = make_args(g, grad_output, weight, grad_output);
    a.w = grad_bias.data();
    a.w_strides[0] = 1;
    cpu_kernels().conv.channel_sums(a);
  }
  return grads;
}

}  // namespace ctorch::ops
