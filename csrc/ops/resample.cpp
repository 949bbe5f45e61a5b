#include "ops/resample.h"

#include "kernels/table.h"
#include "ops/copy.h"

namespace ctorch::ops {
namespace {

constexpr const char* kOp = "_resample";

// The tables checked, and all but the operands filled in. `t` is row-major and has `y_size` or `x_size` at
// dim.
ResampleArgs tables(const Tensor& t, const Tensor& positions, const Tensor& weights, int64_t dim,
                    int64_t x_size) {
  const DType dt = t.dtype();
  check_implemented(dt == DType::float32 || dt == DType::float64, kOp, ": expected float32 or float64, got ",
                    dt);
  check(positions.dtype() == DType::int64 && weights.dtype() == dt, kOp,
        ": expected positions of int64 and weights of ", dt, ", got ", positions.dtype(), " and ",
        weights.dtype());
  check(positions.dim() == 2 && positions.sizes() == weights.sizes(), kOp,
        ": expected positions and weights of one shape (n, taps), got ", positions, " and ", weights);
  const int64_t* where = positions.data<int64_t>();
  for (int64_t i = 0; i < positions.numel(); ++i)
    check(where[i] >= 0 && where[i] < x_size, kOp, ": position ", where[i], " is outside a dim of size ",
          x_size);
  ResampleArgs args{.dtype = dt,
                    .outer = 1,
                    .x_size = x_size,
                    .y_size = positions.sizes()[0],
                    .inner = 1,
                    .taps = positions.sizes()[1],
                    .positions = where,
                    .weights = weights.data(),
                    .from = t.data(),
                    .to = nullptr};
  for (int64_t d = 0; d < t.dim(); ++d)
    if (d != dim) (d < dim ? args.outer : args.inner) *= t.sizes()[d];
  return args;
}

Tensor run(const Tensor& source, ResampleArgs args, int64_t dim, int64_t size,
           void (*kernel)(const ResampleArgs&)) {
  Dims sizes = source.sizes();
  sizes[dim] = size;
  const Tensor result = empty(sizes, source.dtype(), source.device());
  args.to = result.data();
  if (result.numel() > 0) kernel(args);
  return result;
}

}  // namespace

Tensor resample(const Tensor& input, const Tensor& positions, const Tensor& weights, int64_t dim) {
  const int64_t d = wrap_dim(dim, input.dim(), kOp);
  const Tensor x = contiguous(input), where = contiguous(positions), factors = contiguous(weights);
  const ResampleArgs args = tables(x, where, factors, d, x.sizes()[d]);
  return run(x, args, d, args.y_size, cpu_kernels().resample.forward);
}

Tensor resample_backward(const Tensor& grad_output, const Tensor& positions, const Tensor& weights,
                         int64_t dim, int64_t size) {
  const int64_t d = wrap_dim(dim, grad_output.dim(), kOp);
  const Tensor y = contiguous(grad_output), where = contiguous(positions), factors = contiguous(weights);
  const ResampleArgs args = tables(y, where, factors, d, size);
  check(y.sizes()[d] == args.y_size, kOp, "_backward: expected grad_output with ", args.y_size, " at dim ", d,
        ", got ", y);
  return run(y, args, d, size, cpu_kernels().resample.backward);
}

}  // namespace ctorch::ops
