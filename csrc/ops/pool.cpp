#include "ops/pool.h"

#include <algorithm>
#include <string>

#include "kernels/table.h"
#include "ops/reduce.h"

namespace ctorch::ops {
namespace {

std::string op_name(const char* kind, int64_t dims) { return concat(kind, "_pool", dims, "d"); }

Dims per_dim(IntList values, int64_t dims, const char* name, const std::string& op) {
  check(values.size() == 1 || static_cast<int64_t>(values.size()) == dims, op, ": expected ", name,
        " to be a single int or ", dims, " ints, got ", ShapeText{values});
  return values.size() == 1 ? Dims(dims, values[0]) : Dims(values);
}

int64_t batch_dims(IntList input, int64_t dims) { return static_cast<int64_t>(input.size()) - dims; }

void check_input(IntList input, int64_t dims, const std::string& op) {
  const int64_t leading = batch_dims(input, dims);
  check(leading == 1 || leading == 2, op, ": expected ", dims + 1, "D or ", dims + 2, "D input, got shape ",
        ShapeText{input});
  for (int64_t d = leading - 1; d < static_cast<int64_t>(input.size()); ++d) {
    check(input[static_cast<size_t>(d)] > 0, op,
          ": expected input with non-zero size for non-batch dimensions, got shape ", ShapeText{input});
  }
}

// The windows of a pool, checked.
void fill_axes(PoolArgs& args, IntList input, const PoolOptions& options, const std::string& op) {
  const int64_t dims = options.dims;
  check_input(input, dims, op);
  const Dims kernel = per_dim(options.kernel_size, dims, "kernel_size", op);
  const Dims stride = options.stride.empty() ? kernel : per_dim(options.stride, dims, "stride", op);
  const Dims padding = per_dim(options.padding, dims, "padding", op),
             dilation = per_dim(options.dilation, dims, "dilation", op);
  for (int64_t d = 0; d < dims; ++d) {
    const int64_t size = input[input.size() - static_cast<size_t>(dims - d)];
    check(kernel[d] > 0, op, ": kernel size should be greater than zero, got ", kernel);
    check(stride[d] > 0, op, ": stride should be greater than zero, got ", stride);
    check(dilation[d] > 0, op, ": dilation should be greater than zero, got ", dilation);
    const int64_t reach = dilation[d] * (kernel[d] - 1) + 1;
    check(padding[d] >= 0, op, ": pad must be non-negative, got pad ", padding);
    check(padding[d] <= reach / 2, op, ": pad should be at most half of effective kernel size, got pad ",
          padding, ", kernel_size ", kernel, " and dilation ", dilation);
    const int64_t room = size + 2 * padding[d] - reach + (options.ceil_mode ? stride[d] - 1 : 0);
    int64_t count = room >= 0 ? room / stride[d] + 1 : (room - stride[d] + 1) / stride[d] + 1;
    // The last window must begin inside the input or its left padding.
    if (options.ceil_mode && (count - 1) * stride[d] >= size + padding[d]) --count;
    check(count > 0, op, ": the output size is too small, got input ", ShapeText{input}, " and kernel_size ",
          kernel);
    args.axis[kPoolDims - dims + d] = {.x_size = size,
                                       .y_size = count,
                                       .kernel = kernel[d],
                                       .stride = stride[d],
                                       .padding = padding[d],
                                       .dilation = dilation[d]};
  }
}

void fill_adaptive_axes(PoolArgs& args, IntList input, int64_t dims, IntList output_size,
                        const std::string& op) {
  check_input(input, dims, op);
  const Dims sizes = per_dim(output_size, dims, "output_size", op);
  args.adaptive = true;
  for (int64_t d = 0; d < dims; ++d) {
    check(sizes[d] >= 0, op, ": elements of output_size must be greater than or equal to 0, got ", sizes);
    args.axis[kPoolDims - dims + d] = {.x_size = input[input.size() - static_cast<size_t>(dims - d)],
                                       .y_size = sizes[d]};
  }
}

void check_dtype(DType dt, bool integers, const std::string& op) {
  const bool small = dt == DType::uint8 || dt == DType::int8 || dt == DType::int16 || dt == DType::int32;
  check_implemented(is_floating(dt) || dt == DType::int64 || (integers && small), op,
                    ": not implemented for dtype ", dt);
}

Dims pooled_sizes(const PoolArgs& args, IntList input, int64_t dims) {
  Dims sizes = input;
  for (int64_t d = 0; d < dims; ++d) sizes[sizes.size() - dims + d] = args.axis[kPoolDims - dims + d].y_size;
  return sizes;
}

void set_batch(PoolArgs& args, IntList input, int64_t dims) {
  args.batch = batch_dims(input, dims) == 2 ? input[0] : 1;
  args.channels = input[static_cast<size_t>(batch_dims(input, dims) - 1)];
}

template <class Pointer>
PoolOperand<Pointer> operand(const Tensor& t, int64_t dims) {
  const int64_t leading = batch_dims(t.sizes(), dims);
  PoolOperand<Pointer> o;
  o.data = t.data();
  o.batch = leading == 2 ? t.strides()[0] : 0;
  o.plane = t.strides()[leading - 1];
  for (int64_t d = 0; d < dims; ++d) o.axis[kPoolDims - dims + d] = t.strides()[leading + d];
  return o;
}

// Results have the memory order of the input where that has channels innermost.
bool is_channels_innermost(const Tensor& t) {
  return t.dim() >= 4 && !t.is_contiguous() && is_channels_last(t.sizes(), t.strides());
}
Tensor empty_in_format_of(const Tensor& model, IntList sizes, DType dtype) {
  if (!is_channels_innermost(model) || sizes.size() != static_cast<size_t>(model.dim()))
    return empty(sizes, dtype, model.device());
  return empty_strided(sizes, channels_last_strides(sizes), dtype, model.device());
}

std::tuple<Tensor, Tensor> run_max(PoolArgs& args, const Tensor& input, int64_t dims, bool indices,
                                   const std::string& op) {
  check_dtype(input.dtype(), true, op);
  args.dtype = input.dtype();
  set_batch(args, input.sizes(), dims);
  const Dims sizes = pooled_sizes(args, input.sizes(), dims);
  const Tensor result = empty_in_format_of(input, sizes, input.dtype());
  const Tensor where = indices ? empty_in_format_of(input, sizes, DType::int64) : Tensor();
  args.x = operand<const void*>(input, dims);
  args.y = operand<void*>(result, dims);
  if (indices) args.indices = where.data<int64_t>();
  if (result.numel() > 0) cpu_kernels().pool.max(args);
  return {result, where};
}

Tensor run_mean(PoolArgs& args, const Tensor& input, int64_t dims, const std::string& op) {
  check_dtype(input.dtype(), false, op);
  args.dtype = input.dtype();
  set_batch(args, input.sizes(), dims);
  const Tensor result = empty_in_format_of(input, pooled_sizes(args, input.sizes(), dims), input.dtype());
  args.x = operand<const void*>(input, dims);
  args.y = operand<void*>(result, dims);
  if (result.numel() > 0) cpu_kernels().pool.mean(args);
  return result;
}

// The gradient with respect to the input by one of the backward kernels.
Tensor run_backward(PoolArgs& args, void (*kernel)(const PoolArgs&), const Tensor& grad_output,
                    IntList input_size, int64_t dims, const std::string& op) {
  const Dims wanted = pooled_sizes(args, input_size, dims);
  check(grad_output.sizes() == wanted, op, "_backward: expected grad_output of shape ", wanted, ", got ",
        grad_output.sizes());
  args.dtype = grad_output.dtype();
  set_batch(args, input_size, dims);
  const Tensor result = empty_in_format_of(grad_output, input_size, grad_output.dtype());
  args.y_grad = operand<const void*>(grad_output, dims);
  args.x_grad = operand<void*>(result, dims);
  if (result.numel() > 0) kernel(args);
  return result;
}

void set_mean(PoolArgs& args, const MeanOptions& mean, const std::string& op) {
  check(!mean.divisor_override || *mean.divisor_override != 0, op, ": divisor must be not zero");
  args.count_include_pad = mean.count_include_pad;
  args.divisor = mean.divisor_override.value_or(0);
}

}  // namespace

Tensor max_pool(const Tensor& input, const PoolOptions& options) {
  const std::string op = op_name("max", options.dims);
  PoolArgs args{};
  fill_axes(args, input.sizes(), options, op);
  return std::get<0>(run_max(args, input, options.dims, false, op));
}

std::tuple<Tensor, Tensor> max_pool_with_indices(const Tensor& input, const PoolOptions& options) {
  const std::string op = op_name("max", options.dims);
  PoolArgs args{};
  fill_axes(args, input.sizes(), options, op);
  return run_max(args, input, options.dims, true, op);
}

Tensor max_pool_backward(const Tensor& grad_output, const Tensor& input, const PoolOptions& options) {
  const std::string op = op_name("max", options.dims);
  check(grad_output.dtype() == input.dtype(), op, "_backward: expected grad_output of dtype ", input.dtype(),
        ", got ", grad_output.dtype());
  PoolArgs args{};
  fill_axes(args, input.sizes(), options, op);
  args.x = operand<const void*>(input, options.dims);
  return run_backward(args, cpu_kernels().pool.max_backward, grad_output, input.sizes(), options.dims, op);
}

Tensor avg_pool(const Tensor& input, const PoolOptions& options, const MeanOptions& mean) {
  const std::string op = op_name("avg", options.dims);
  PoolArgs args{};
  fill_axes(args, input.sizes(), options, op);
  set_mean(args, mean, op);
  return run_mean(args, input, options.dims, op);
}

Tensor avg_pool_backward(const Tensor& grad_output, IntList input_size, const PoolOptions& options,
                         const MeanOptions& mean) {
  const std::string op = op_name("avg", options.dims);
  PoolArgs args{};
  fill_axes(args, input_size, options, op);
  set_mean(args, mean, op);
  return run_backward(args, cpu_kernels().pool.mean_backward, grad_output, input_size, options.dims, op);
}

Tensor adaptive_avg_pool(const Tensor& input, int64_t dims, IntList output_size) {
  const std::string op = op_name("adaptive_avg", dims);
  PoolArgs args{};
  fill_adaptive_axes(args, input.sizes(), dims, output_size, op);
  const bool whole =
      std::ranges::all_of(args.axis, [](const PoolAxis& a) { return a.y_size == 1 && a.x_size > 0; });
  if (whole && is_floating(input.dtype()) && input.is_contiguous()) {
    Dims reduced;
    for (int64_t d = 1; d <= dims; ++d) reduced.push_back(-d);
    return mean(input, IntList(reduced), true, std::nullopt);
  }
  return run_mean(args, input, dims, op);
}

Tensor adaptive_avg_pool_backward(const Tensor& grad_output, IntList input_size, int64_t dims) {
  const std::string op = op_name("adaptive_avg", dims);
  PoolArgs args{};
  check(grad_output.dim() == static_cast<int64_t>(input_size.size()), op,
        "_backward: expected grad_output of as many dims as the input, got ", grad_output.sizes());
  fill_adaptive_axes(args, input_size, dims, IntList(grad_output.sizes()).last(static_cast<size_t>(dims)),
                     op);
  return run_backward(args, cpu_kernels().pool.mean_backward, grad_output, input_size, dims, op);
}

std::tuple<Tensor, Tensor> adaptive_max_pool(const Tensor& input, int64_t dims, IntList output_size) {
  const std::string op = op_name("adaptive_max", dims);
  PoolArgs args{};
  fill_adaptive_axes(args, input.sizes(), dims, output_size, op);
  return run_max(args, input, dims, true, op);
}

}  // namespace ctorch::ops
