// The templates of elementwise.h that need more than the plan.
#pragma once

#include "ops/copy.h"

namespace ctorch::ops {

// input itself as the result of an operation.
Tensor copy_result(const char* op, const Tensor& input, Out out);
// One value everywhere as the result.
Tensor fill_result(const char* op, const Tensor& input, DType dtype, const Scalar& value, Out out);

template <class F>
Tensor rounding(const Tensor& input, Out out) {
  return is_integral(input.dtype()) ? copy_result(F::name, input, out) : unary<F>(input, out);
}
template <class F>
Tensor question(const Tensor& input, Out out) {
  bool always = std::is_same_v<F, fn::Isfinite>;
  bool asks_sign = std::is_same_v<F, fn::Signbit> && !is_bool(input.dtype());
  bool exact = is_integral(input.dtype()) || is_bool(input.dtype());
  return exact && !asks_sign ? fill_result(F::name, input, DType::boolean, Scalar(always), out)
                             : unary<F>(input, out);
}

}  // namespace ctorch::ops
