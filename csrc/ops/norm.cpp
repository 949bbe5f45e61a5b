// Norms of rows: layer norm and RMS norm. Those of channels and groups are in norm_channels.cpp.
#include "ops/norm.h"

#include <limits>

#include "ops/copy.h"
#include "ops/create.h"
#include "ops/elementwise.h"
#include "ops/norm_checks.h"
#include "ops/reduce.h"
#include "ops/view.h"

namespace ctorch::ops {
namespace {

using detail::check_parameter_dtypes;
using detail::kernel_for;

struct Rows {
  int64_t rows = 1, n = 1;
  Dims statistics;  // the shape of mean and rstd

  Rows(const Tensor& input, IntList shape, const OptionalTensor& weight, const OptionalTensor& bias,
       const char* op) {
    check(!shape.empty(),
          "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element, "
          "but got normalized_shape = []");
    const int64_t outer = input.dim() - static_cast<int64_t>(shape.size());
    const bool fits =
        outer >= 0 &&
        same(IntList(input.sizes()).subspan(static_cast<size_t>(std::max<int64_t>(outer, 0))), shape);
    check(fits, op, ": given normalized_shape=", ShapeText{shape}, ", expected input with shape [*, ",
          ShapeText{shape}, "], but got input of size ", input.sizes());
    check_parameter(weight, shape, "weight", op);
    check_parameter(bias, shape, "bias", op);
    for (int64_t d = 0; d < input.dim(); ++d) {
      (d < outer ? rows : n) *= input.sizes()[d];
      statistics.push_back(d < outer ? input.sizes()[d] : 1);
    }
  }

 private:
  static void check_parameter(const OptionalTensor& t, IntList shape, const char* name, const char* op) {
    check(!t || same(t->sizes(), shape), op, ": expected ", name,
          " to be of same shape as normalized_shape, but got ", name, " of shape ", t ? t->sizes() : Dims(),
          " and normalized_shape = ", ShapeText{shape});
  }
};

// A parameter as the kernels read it: row-major, of the input's dtype. Undefined if there is none.
Tensor parameter(const OptionalTensor& t, DType dt) { return t ? contiguous(to_dtype(*t, dt)) : Tensor(); }
const void* data_of(const Tensor& t) { return t ? t.data() : nullptr; }

Tensor3 normalize_rows(const char* op, const Tensor& input, IntList shape, const OptionalTensor& weight,
                       const OptionalTensor& bias, double eps, bool centre, bool want_statistics) {
  const Rows r(input, shape, weight, bias, op);
  const DType dt = input.dtype();
  auto kernel = kernel_for(cpu_kernels().norm.rows, op, dt);
  // rms_norm, which does not centre, converts its weight, as PyTorch's does.
  if (centre) check_parameter_dtypes(input, {{"weight", weight}, {"bias", bias}}, op);
  Tensor x = contiguous(input), w = parameter(weight, dt), b = parameter(bias, dt),
         y = empty(x.sizes(), dt, x.device());
  Tensor mean, rstd;
  if (want_statistics) {
    mean = empty(r.statistics, dt, x.device());
    rstd = empty(r.statistics, dt, x.device());
  }
  if (x.numel()) {
    kernel({.rows = r.rows,
            .n = r.n,
            .x = x.data(),
            .weight = data_of(w),
            .bias = data_of(b),
            .y = y.data(),
            .mean = mean ? mean.data() : nullptr,
            .rstd = rstd ? rstd.data() : nullptr,
            .eps = eps,
            .centre = centre});
  } else if (want_statistics) {
    fill_(mean, 0);
    fill_(rstd, r.n ? 0.0 : std::numeric_limits<double>::quiet_NaN());
  }
  return {y, mean, rstd};
}

Tensor3 normalize_rows_backward(const char* op, const Tensor& grad, const Tensor& input, IntList shape,
                                const OptionalTensor& mean, const OptionalTensor& rstd,
                                const OptionalTensor& weight, double eps, bool centre) {
  const Rows r(input, shape, weight, std::nullopt, op);
  const DType dt = input.dtype();
  auto kernel = kernel_for(cpu_kernels().norm.rows_backward, op, dt);
  check(grad.sizes() == input.sizes(), op, ": expected grad and input of one shape, got ", grad, " and ",
        input);
  Tensor x = contiguous(input), g = contiguous(to_dtype(grad, dt)), w = parameter(weight, dt);
  Tensor m = parameter(mean, dt), s = parameter(rstd, dt);
  Tensor dx = empty(x.sizes(), dt, x.device());
  Tensor dw = empty(shape, dt, x.device()), db = empty(shape, dt, x.device());
  if (x.numel() == 0) {
    zero_(dw);
    zero_(db);
    return {dx, dw, db};
  }
  kernel({.rows = r.rows,
          .n = r.n,
          .grad = g.data(),
          .x = x.data(),
          .mean = data_of(m),
          .rstd = data_of(s),
          .weight = data_of(w),
          .dx = dx.data(),
          .dweight = dw.data(),
          .dbias = db.data(),
          .eps = eps,
          .centre = centre});
  return {dx, dw, db};
}

// Of complex input, rare, in separate steps. As PyTorch has it, the square is x^2 and not |x|^2.
Tensor complex_rms_norm(const Tensor& input, IntList shape, const OptionalTensor& weight, double eps) {
  const Rows r(input, shape, weight, std::nullopt, "rms_norm");
  Dims dims;
  for (int64_t d = 0; d < static_cast<int64_t>(shape.size()); ++d) dims.push_back(-1 - d);
  Tensor square = mean(mul(input, input, {}), IntList(dims), true, std::nullopt);
  Tensor result = mul(input, unary<fn::Rsqrt>(add(square, Scalar(eps), 1, {}), {}), {});
  return weight ? mul(result, *weight, {}) : result;
}

double epsilon_of(DType dt) {
  switch (dt) {
    case DType::complex128:
    case DType::float64: return std::numeric_limits<double>::epsilon();
    case DType::float16: return 0x1p-10;
    case DType::bfloat16: return 0x1p-7;
    default: return std::numeric_limits<float>::epsilon();
  }
}

}  // namespace

Tensor layer_norm(const Tensor& input, IntList normalized_shape, const OptionalTensor& weight,
                  const OptionalTensor& bias, double eps) {
  return std::get<0>(normalize_rows("layer_norm", input, normalized_shape, weight, bias, eps, true, false));
}
Tensor3 native_layer_norm(const Tensor& input, IntList normalized_shape, const OptionalTensor& weight,
                          const OptionalTensor& bias, double eps) {
  return normalize_rows("native_layer_norm", input, normalized_shape, weight, bias, eps, true, true);
}
Tensor3 layer_norm_backward(const Tensor& grad, const Tensor& input, IntList normalized_shape,
                            const OptionalTensor& mean, const OptionalTensor& rstd,
                            const OptionalTensor& weight, double eps) {
  return normalize_rows_backward("layer_norm_backward", grad, input, normalized_shape, mean, rstd, weight,
                                 eps, true);
}
Tensor rms_norm(const Tensor& input, IntList normalized_shape, const OptionalTensor& weight,
                std::optional<double> eps) {
  if (is_complex(input.dtype()))
    return complex_rms_norm(input, normalized_shape, weight, eps.value_or(epsilon_of(input.dtype())));
  return std::get<0>(normalize_rows("rms_norm", input, normalized_shape, weight, std::nullopt,
                                    eps.value_or(epsilon_of(input.dtype())), false, false));
}
std::tuple<Tensor, Tensor> rms_norm_backward(const Tensor& grad, const Tensor& input,
                                             IntList normalized_shape, const OptionalTensor& weight,
                                             std::optional<double> eps) {
  auto [dx, dw, db] =
      normalize_rows_backward("rms_norm_backward", grad, input, normalized_shape, std::nullopt, std::nullopt,
                              weight, eps.value_or(epsilon_of(input.dtype())), false);
  return {dx, dw};
}

}  // namespace ctorch::ops
