#include "ops/conv.h"

#include "core/prepared.h"
#include "core/scratch.h"
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

// input and weight are given by their shapes.
Geometry make_geometry(IntList input, IntList weight, const ConvOptions& options) {
  Geometry g{};
  g.dims = static_cast<int64_t>(weight.size()) - 2;
  g.transposed = options.transposed;
  check(g.dims >= 1 && g.dims <= kConvDims, "convolution: expected weight of 3 to 5 dimensions, got shape ",
        ShapeText{weight});
  const char* op = op_name(g);
  const auto input_dims = static_cast<int64_t>(input.size());
  check(input_dims == g.dims + 1 || input_dims == g.dims + 2, op, ": expected ", g.dims + 1,
        "D (unbatched) or ", g.dims + 2, "D (batched) input, got shape ", ShapeText{input});
  g.batched = input_dims == g.dims + 2;
  g.stride = per_dim(options.stride, g.dims, "stride", op);
  g.dilation = per_dim(options.dilation, g.dims, "dilation", op);
  g.output_padding = per_dim(options.output_padding, g.dims, "output_padding", op);
  if (options.padding.size() > 1 && static_cast<int64_t>(options.padding.size()) == 2 * g.dims) {
    g.low = Dims(options.padding.first(options.padding.size() / 2));
    g.high = Dims(options.padding.last(options.padding.size() / 2));
  } else {
    g.low = g.high = per_dim(options.padding, g.dims, "padding", op);
  }
  g.groups = options.groups;
  check(g.groups > 0, op, ": expected a positive number of groups, got ", g.groups);
  for (int64_t d = 0; d < g.dims; ++d) {
    check(g.stride[d] > 0, op, ": expected positive strides, got ", g.stride);
    check(g.dilation[d] > 0, op, ": expected positive dilations, got ", g.dilation);
    check(g.low[d] >= 0 && g.high[d] >= 0, op, ": expected padding that is not negative, got ", g.low);
    check(g.output_padding[d] >= 0, op, ": expected output_padding that is not negative, got ",
          g.output_padding);
    check(!g.transposed || g.output_padding[d] < std::max(g.stride[d], g.dilation[d]), op,
          ": output_padding must be smaller than stride or dilation, got ", g.output_padding);
    check(weight[static_cast<size_t>(2 + d)] > 0, op, ": expected a filter that is not empty, got weight ",
          ShapeText{weight});
  }
  check(weight[0] > 0 && weight[0] % g.groups == 0, op,
        ": expected weight.shape[0] to be a multiple of groups=", g.groups, ", got weight ",
        ShapeText{weight});
  const int64_t wanted = g.transposed ? weight[0] : weight[1] * g.groups;
  check(input[g.batched ? 1 : 0] == wanted, op, ": groups=", g.groups, " and weight ", ShapeText{weight},
        " need ", wanted, " input channels, got input ", ShapeText{input});
  return g;
}

void check_dtypes(const Tensor& a, const Tensor& b, const char* names, const Geometry& g) {
  check(a.dtype() == b.dtype(), op_name(g), ": ", names, " should have the same dtype, got ", a.dtype(),
        " and ", b.dtype());
  check_implemented(is_differentiable(a.dtype()) || a.dtype() == DType::int64, op_name(g),
                    ": not implemented for dtype ", a.dtype());
}

// The shape of the result, without the batch if the input has none.
Dims result_sizes(const Geometry& g, IntList input, IntList weight) {
  Dims sizes = input;
  const int64_t channel = g.batched ? 1 : 0;
  sizes[channel] = g.transposed ? weight[1] * g.groups : weight[0];
  for (int64_t d = 0; d < g.dims; ++d) {
    const int64_t at = channel + 1 + d, size = sizes[at];
    // Every later sum or product of these stays within 64 bits.
    constexpr int64_t kMost = int64_t{1} << 60;
    auto product = [&](int64_t a, int64_t b, const char* what) {
      int64_t result = 0;
      check(!__builtin_mul_overflow(a, b, &result) && result < kMost, op_name(g), ": ", what, " of ", a,
            " is too large for input ", ShapeText{input}, " and weight ", ShapeText{weight});
      return result;
    };
    const int64_t reach = product(g.dilation[d], weight[static_cast<size_t>(2 + d)] - 1, "a dilation");
    product(g.low[d], 1, "a padding");
    product(g.high[d], 1, "a padding");
    if (g.transposed) {
      const int64_t span = product(g.stride[d], std::max<int64_t>(size - 1, 0), "a stride");
      sizes[at] = span - g.low[d] - g.high[d] + reach + g.output_padding[d] + 1;
    } else {
      const int64_t room = size + g.low[d] + g.high[d] - reach - 1;
      check(room >= 0, op_name(g), ": Kernel size can't be greater than actual input size, got input ",
            ShapeText{input}, ", weight ", ShapeText{weight}, " and padding ", g.low);
      sizes[at] = room / g.stride[d] + 1;
    }
    check(sizes[at] >= (g.transposed ? 1 : 0), op_name(g), ": the output would have size ", sizes[at],
          " in dim ", at, ", got input ", ShapeText{input}, " and weight ", ShapeText{weight});
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
  std::optional<int64_t> step;
  int64_t next = 0;
  for (int d = kConvDims - 1; d >= 0; --d) {
    if (size[d] == 1) continue;
    if (!step) {
      step = strides[2 + d];  // 0 in an expanded image
    } else if (strides[2 + d] != next) {
      return std::nullopt;
    }
    next = strides[2 + d] * size[d];
  }
  return step.value_or(1);
}

// to (channels, points) = filter (channels, from_channels) from (from_channels, points) + bias, per image and
// group, of all points of the image.
GemmArgs pointwise_product(const ConvArgs& a, bool backward, int64_t x, int64_t y) {
  const int64_t x_group = a.x_channels / a.groups, y_group = a.y_channels / a.groups;
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
         .batch = {0, y_group * a.w_strides[0]}};
  const GemmOperand<const void*> image{
      .data = a.x, .row = a.x_strides[1], .col = x, .batch = {a.x_strides[0], x_group * a.x_strides[1]}};
  const GemmOperand<const void*> result{
      .data = a.y, .row = a.y_strides[1], .col = y, .batch = {a.y_strides[0], y_group * a.y_strides[1]}};
  const auto& from = backward ? result : image;
  const auto& to = backward ? image : result;
  g.b = from;
  g.c = {.data = backward ? a.x : a.y, .row = to.row, .col = to.col, .batch = {to.batch[0], to.batch[1]}};
  if (a.bias) g.d = {.data = a.bias, .row = a.bias_stride, .col = 0, .batch = {0, g.m * a.bias_stride}};
  return g;
}

// The transposed product has the filter as its right side, which is prepared once for all images, or for
// good. Its rows are the points: for images of few points they fill the register tiles better than columns
// do. False where that does not pay.
bool pointwise_by_rows(const Tensor& weight, GemmArgs g) {
  constexpr int64_t kLeastDepth =
      128;  // the result is written by columns, which costs as much as some 10 of it
  const GemmTable& kernels = cpu_kernels().gemm;
  if (g.batch_size[1] != 1 || g.k < kLeastDepth || kernels.joins(g)) return false;
  std::swap(g.m, g.n);
  std::swap(g.a, g.b);
  std::swap(g.a.row, g.a.col);
  std::swap(g.b.row, g.b.col);
  std::swap(g.c.row, g.c.col);
  std::swap(g.d.row, g.d.col);
  const int64_t bytes = kernels.prepared_bytes(g);
  if (bytes == 0) return false;
  const PreparedForm form =
      prepared_form(weight, {g.b.row, g.b.col}, bytes, [&](void* to) { kernels.prepare(g, to); });
  if (!form && g.batch_size[0] == 1) return false;
  Scratch once(form ? 0 : static_cast<size_t>(bytes));
  if (!form) kernels.prepare(g, once.as<char>());
  g.prepared = form ? form->data() : once.as<char>();
  kernels.gemm(g);
  return true;
}

// A filter of one point that steps over planes: the rows of the result, each a matrix of a batch, as one
// product. False where the kernel does not join them, and for so few points that a kept form of the filter
// is worth more.
bool pointwise_with_steps(const ConvArgs& a) {
  constexpr int64_t kFewPoints = 512;
  for (int d = 0; d < kConvDims; ++d) {
    if (a.w_size[d] != 1 || a.padding[d] != 0 || a.stride[d] * (a.y_size[d] - 1) >= a.x_size[d]) return false;
  }
  if (a.y_strides[4] != 1 || a.batch * a.y_size[0] * a.y_size[1] * a.y_size[2] < kFewPoints) return false;
  GemmArgs g = pointwise_product(a, false, a.stride[2] * a.x_strides[4], a.y_strides[4]);
  g.n = a.y_size[2];
  for (int d = 0; d < kConvDims - 1; ++d) {
    g.batch_size[g.batch_dims] = a.y_size[d];
    g.b.batch[g.batch_dims] = a.stride[d] * a.x_strides[2 + d];
    g.c.batch[g.batch_dims++] = a.y_strides[2 + d];
  }
  if (!cpu_kernels().gemm.joins(g)) return false;
  cpu_kernels().gemm.gemm(g);
  return true;
}

bool pointwise(const Tensor& weight, const ConvArgs& a, bool backward) {
  const bool steps = a.stride[0] != 1 || a.stride[1] != 1 || a.stride[2] != 1;
  if (steps && !backward) return pointwise_with_steps(a);
  if (!is_pointwise(a) || cpu_kernels().conv.joins_points(a, backward)) return false;
  const std::optional<int64_t> x = point_stride(a.x_size, a.x_strides),
                               y = point_stride(a.y_size, a.y_strides);
  if (!x || !y) return false;
  const GemmArgs g = pointwise_product(a, backward, *x, *y);
  if (!pointwise_by_rows(weight, g)) cpu_kernels().gemm.gemm(g);
  return true;
}

constexpr int64_t kLeastKept = 4096;  // bytes that are worth looking up

// With the filter as the kernel wants it, where it is kept. A kernel's form of a filter depends on the filter
// and on how it is applied, not on the images, but for the choice among its kinds.
void run(const Tensor& weight, ConvArgs a, bool backward) {
  const ConvTable& kernels = cpu_kernels().conv;
  const ConvForm wanted = kernels.form(a, backward);
  PreparedForm form;
  if (wanted.bytes >= kLeastKept) {
    PreparedKey key = {backward, a.groups, wanted.kind};
    for (int d = 0; d < kConvDims; ++d) key.insert(key.end(), {a.stride[d], a.padding[d], a.dilation[d]});
    form = prepared_form(weight, std::move(key), wanted.bytes,
                         [&](void* to) { kernels.prepare(a, backward, to); });
    if (form) a.prepared = form->data();
  }
  backward ? kernels.backward_x(a) : kernels.forward(a);
}

// Half types are summed in float: most kernels convolve float copies.
Tensor as_float(const Tensor& t) { return to_dtype(t, DType::float32); }
OptionalTensor as_float(const OptionalTensor& t) { return t ? OptionalTensor(as_float(*t)) : t; }

bool has_pixels(const Tensor& t) { return !t.is_contiguous() && is_channels_last(t.sizes(), t.strides()); }

}  // namespace

Tensor convolution(const Tensor& input, const Tensor& weight, const OptionalTensor& bias,
                   const ConvOptions& options) {
  const Geometry g = make_geometry(input.sizes(), weight.sizes(), options);
  check_dtypes(input, weight, "input and weight", g);
  const Dims sizes = result_sizes(g, input.sizes(), weight.sizes());
  if (bias) {
    const int64_t channels = sizes[g.batched ? 1 : 0];
    check(bias->dim() == 1 && bias->numel() == channels, op_name(g), ": expected bias of shape (", channels,
          "), got ", bias->sizes(), " for input ", input.sizes(), " and weight ", weight.sizes());
    check_dtypes(input, *bias, "input and bias", g);
  }
  const Tensor result = empty_in_format_of(input, weight, sizes);
  if (result.numel() == 0) return result;
  ConvArgs a = g.transposed ? make_args(g, input, weight, result) : make_args(g, result, weight, input);
  if (bias) {
    a.bias = bias->data();
    a.bias_stride = bias->strides()[0];
  }
  if (pointwise(weight, a, g.transposed)) return result;
  if (!cpu_kernels().conv.takes(a, g.transposed)) {
    const Tensor sums = convolution(as_float(input), as_float(weight), as_float(bias), options);
    return copy_(result, sums);
  }
  if ((has_pixels(input) || has_pixels(result)) && cpu_kernels().conv.prefers_planes(a, g.transposed))
    return copy_(result, convolution(contiguous(input), contiguous(weight), bias, options));
  run(weight, a, g.transposed);
  return result;
}

Tensor convolution_backward_input(const Tensor& grad_output, const Tensor& weight, IntList input_size,
                                  const ConvOptions& options) {
  const Geometry g = make_geometry(input_size, weight.sizes(), options);
  check_dtypes(grad_output, weight, "grad_output and weight", g);
  const Dims wanted = result_sizes(g, input_size, weight.sizes());
  check(grad_output.sizes() == wanted, op_name(g), ": expected grad_output of shape ", wanted, ", got ",
        grad_output.sizes());
  const Tensor result = empty_in_format_of(grad_output, weight, input_size);
  if (result.numel() == 0) return result;
  if (grad_output.numel() == 0) return zero_(result);
  const bool backward = !g.transposed;
  const ConvArgs a =
      backward ? make_args(g, grad_output, weight, result) : make_args(g, result, weight, grad_output);
  if (pointwise(weight, a, backward)) return result;
  if (!cpu_kernels().conv.takes(a, backward))
    return copy_(result,
                 convolution_backward_input(as_float(grad_output), as_float(weight), input_size, options));
  if ((has_pixels(grad_output) || has_pixels(result)) && cpu_kernels().conv.prefers_planes(a, backward)) {
    return copy_(
        result, convolution_backward_input(contiguous(grad_output), contiguous(weight), input_size, options));
  }
  run(weight, a, backward);
  return result;
}

Tensor convolution_backward_weight(const Tensor& grad_output, const Tensor& input, IntList weight_size,
                                   const ConvOptions& options) {
  const Geometry g = make_geometry(input.sizes(), weight_size, options);
  check_dtypes(grad_output, input, "grad_output and input", g);
  const Dims wanted = result_sizes(g, input.sizes(), weight_size);
  check(grad_output.sizes() == wanted, op_name(g), ": expected grad_output of shape ", wanted, ", got ",
        grad_output.sizes());
  const Tensor result = empty(weight_size, input.dtype(), input.device());
  if (grad_output.numel() == 0 || input.numel() == 0) return zero_(result);
  const ConvArgs a =
      g.transposed ? make_args(g, input, result, grad_output) : make_args(g, grad_output, result, input);
  if (!cpu_kernels().conv.takes_backward_w(a)) {
    return copy_(result,
                 convolution_backward_weight(as_float(grad_output), as_float(input), weight_size, options));
  }
  if (has_pixels(grad_output) || has_pixels(input)) {
    // Winograd's kernel takes pixels too, but a copy is cheap beside it.
    return convolution_backward_weight(contiguous(grad_output), contiguous(input), weight_size, options);
  }
  cpu_kernels().conv.backward_w(a);
  return result;
}

Dims named_padding(const std::string& name, const Tensor& weight, IntList stride, IntList dilation,
                   const char* op) {
  const int64_t dims = weight.dim() - 2;
  check(name == "same" || name == "valid", op, ": Invalid padding string: '", name, "'");
  check(dims > 0, op, ": expected weight with spatial dimensions, got shape ", weight.sizes());
  Dims padding(2 * dims);
  if (name == "valid") return padding;
  const Dims step = per_dim(dilation, dims, "dilation", op);
  for (int64_t s : stride) check(s == 1, op, ": padding='same' is not supported for strided convolutions");
  for (int64_t d = 0; d < dims; ++d) {
    const int64_t total = step[d] * (weight.sizes()[2 + d] - 1);
    padding[d] = total / 2;
    padding[dims + d] = total - total / 2;
  }
  return padding;
}

}  // namespace ctorch::ops
