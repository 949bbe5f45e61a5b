#include "ops/softmax.h"

#include "kernels/table.h"
#include "ops/copy.h"
#include "ops/index_target.h"

namespace ctorch::ops {
namespace {

using Kernels = const SoftmaxFn (&)[kNumDTypes];

SoftmaxFn kernel_for(Kernels kernels, const char* op, DType dtype) {
  SoftmaxFn kernel = kernels[static_cast<int>(dtype)];
  check_implemented(kernel, op, ": expected a floating dtype, got ", dtype);
  return kernel;
}

// A row-major tensor seen as (outer, n, inner) around a dim.
SoftmaxArgs lines_of(const Tensor& t, int64_t dim) {
  SoftmaxArgs args{.outer = 1, .n = 1, .inner = 1, .in = t.data(), .grad = nullptr, .out = nullptr};
  for (int64_t d = 0; d < t.dim(); ++d)
    (d < dim ? args.outer : d == dim ? args.n : args.inner) *= t.sizes()[d];
  return args;
}

Tensor forward(Kernels kernels, const char* op, const Tensor& input, int64_t dim, std::optional<DType> dtype,
               Out out) {
  const int64_t d = wrap_dim(dim, input.dim(), op);
  const DType dt = dtype.value_or(input.dtype());
  SoftmaxFn kernel = kernel_for(kernels, op, dt);
  Tensor source = contiguous(to_dtype(input, dt));
  if (out && out.target->storage() == source.storage()) source = clone(source);
  Tensor result = make_result(source.sizes(), dt, source.device(), out, op);
  if (source.numel()) {
    SoftmaxArgs args = lines_of(source, d);
    args.out = result.data();
    kernel(args);
  }
  return finish_result(result, out);
}

Tensor backward(Kernels kernels, const char* op, const Tensor& grad, const Tensor& output, int64_t dim,
                DType input_dtype) {
  const int64_t d = wrap_dim(dim, output.dim(), op);
  check(grad.sizes() == output.sizes(), op, ": expected grad_output and output of one shape, got ", grad,
        " and ", output);
  SoftmaxFn kernel = kernel_for(kernels, op, output.dtype());
  Tensor y = contiguous(output), g = contiguous(to_dtype(grad, output.dtype()));
  Tensor result = empty(y.sizes(), y.dtype(), y.device());
  if (y.numel()) {
    SoftmaxArgs args = lines_of(y, d);
    args.grad = g.data();
    args.out = result.data();
    kernel(args);
  }
  return to_dtype(result, input_dtype);
}

}  // namespace

Tensor softmax(const Tensor& input, int64_t dim, std::optional<DType> dtype, Out out) {
  return forward(cpu_kernels().softmax.softmax, "softmax", input, dim, dtype, out);
}
Tensor log_softmax(const Tensor& input, int64_t dim, std::optional<DType> dtype, Out out) {
  return forward(cpu_kernels().softmax.log_softmax, "log_softmax", input, dim, dtype, out);
}
Tensor softmax_backward(const Tensor& grad_output, const Tensor& output, int64_t dim, DType input_dtype) {
  return backward(cpu_kernels().softmax.softmax_backward, "_softmax_backward_data", grad_output, output, dim,
                  input_dtype);
}
Tensor log_softmax_backward(const Tensor& grad_output, const Tensor& output, int64_t dim, DType input_dtype) {
  return backward(cpu_kernels().softmax.log_softmax_backward, "_log_softmax_backward_data", grad_output,
                  output, dim, input_dtype);
}

}  // namespace ctorch::ops
