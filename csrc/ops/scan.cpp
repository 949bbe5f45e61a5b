#include "ops/scan.h"

#include "kernels/table.h"
#include "ops/copy.h"
#include "ops/index_target.h"

namespace ctorch::ops {
namespace {

// A row-major tensor seen as (outer, n, inner) around a dim.
ScanArgs lines_of(const Tensor& t, int64_t dim) {
  ScanArgs args{.outer = 1, .n = 1, .inner = 1, .in = t.data(), .out = nullptr, .indices = nullptr};
  for (int64_t d = 0; d < t.dim(); ++d)
    (d < dim ? args.outer : d == dim ? args.n : args.inner) *= t.sizes()[d];
  return args;
}

Tensor scan(const ScanFn (&kernels)[kNumDTypes], const char* op, const Tensor& input, int64_t dim,
            DType dtype, Out out) {
  const int64_t d = wrap_dim(dim, input.dim(), op);
  ScanFn kernel = kernels[static_cast<int>(dtype)];
  check_implemented(kernel, op, ": not implemented for dtype ", dtype);
  Tensor source = contiguous(to_dtype(input, dtype));
  if (out && out.target->storage() == source.storage() && !out.target->is_same(source))
    source = clone(source);
  Tensor result = make_result(source.sizes(), dtype, source.device(), out, op);
  if (source.numel()) {
    ScanArgs args = lines_of(source, d);
    args.out = result.data();
    kernel(args);
  }
  return finish_result(result, out);
}

// Integers are summed as int64, unless a dtype is asked for or the sum is to go into a tensor of another.
DType scan_dtype(const Tensor& input, std::optional<DType> dtype, Out out) {
  if (dtype) return *dtype;
  if (out.inplace) return out.target->dtype();
  const DType dt = input.dtype();
  return is_floating(dt) || is_complex(dt) ? dt : DType::int64;
}

std::tuple<Tensor, Tensor> scan_extreme(const ScanFn (&kernels)[kNumDTypes], const char* op,
                                        const Tensor& input, int64_t dim) {
  const int64_t d = wrap_dim(dim, input.dim(), op);
  ScanFn kernel = kernels[static_cast<int>(input.dtype())];
  check_implemented(kernel, op, ": not implemented for dtype ", input.dtype());
  Tensor source = contiguous(input);
  Tensor values = empty(source.sizes(), source.dtype(), source.device()),
         indices = empty(source.sizes(), DType::int64, source.device());
  if (source.numel()) {
    ScanArgs args = lines_of(source, d);
    args.out = values.data();
    args.indices = indices.data<int64_t>();
    kernel(args);
  }
  return {values, indices};
}

}  // namespace

Tensor cumsum(const Tensor& input, int64_t dim, std::optional<DType> dtype, Out out) {
  return scan(cpu_kernels().scan.cumsum, "cumsum", input, dim, scan_dtype(input, dtype, out), out);
}
Tensor cumprod(const Tensor& input, int64_t dim, std::optional<DType> dtype, Out out) {
  return scan(cpu_kernels().scan.cumprod, "cumprod", input, dim, scan_dtype(input, dtype, out), out);
}
Tensor logcumsumexp(const Tensor& input, int64_t dim, Out out) {
  return scan(cpu_kernels().scan.logcumsumexp, "logcumsumexp", input, dim, input.dtype(), out);
}
std::tuple<Tensor, Tensor> cummax(const Tensor& input, int64_t dim) {
  return scan_extreme(cpu_kernels().scan.cummax, "cummax", input, dim);
}
std::tuple<Tensor, Tensor> cummin(const Tensor& input, int64_t dim) {
  return scan_extreme(cpu_kernels().scan.cummin, "cummin", input, dim);
}

}  // namespace ctorch::ops
