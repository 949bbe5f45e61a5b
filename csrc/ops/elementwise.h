// Element-wise operations. What is no more than its functor comes from unary<F>() and binary<F>(); named here
// are those with arguments, checks or rules of their own, and the arithmetic that other operations use.
#pragma once

#include <array>
#include <string>

#include "kernels/functors/lists.h"
#include "ops/plan.h"
#include "ops/promote.h"

namespace ctorch::ops {

namespace fn = functors;

template <class F>
inline constexpr Functor kFunctor = {F::name,    fn::functor_id<F>, F::inputs,
                                     F::params,  F::masks,          static_cast<int>(std::size(F::masks)),
                                     F::promote, F::result,         F::first_is_bool,
                                     F::bits,    F::wide_numbers};

// The dtype in which inputs of the common dtype are computed.
inline DType promoted(Promote rule, DType common) {
  return rule == Promote::logical    ? DType::boolean
         : rule == Promote::to_float ? to_float_dtype(common)
                                     : common;
}

// Apply F in the inputs' common dtype, promoted by F's rule.
template <class F>
Tensor apply(std::initializer_list<Operand> inputs, std::initializer_list<Scalar> params, DType common,
             Out out) {
  return run_elementwise(kFunctor<F>, {inputs.begin(), inputs.size()}, {params.begin(), params.size()},
                         promoted(F::promote, common), out);
}
template <class F>
Tensor unary(const Tensor& input, Out out) {
  return apply<F>({input}, {}, input.dtype(), out);
}
template <class F>
Tensor binary(const Tensor& input, const Operand& other, Out out) {
  return apply<F>({input, other}, {}, result_type(input, other), out);
}
// Rounding leaves integers as they are; questions have one answer for all of them.
template <class F>
Tensor rounding(const Tensor& input, Out out);
template <class F>
Tensor question(const Tensor& input, Out out);
// A backward function of the gradient and one saved tensor.
template <class F>
Tensor backward(const Tensor& grad, const Tensor& saved) {
  return apply<F>({grad, saved}, {}, result_type(grad, saved), {});
}

Tensor neg(const Tensor& input, Out out);
Tensor positive(const Tensor& input);
Tensor square(const Tensor& input, Out out);
Tensor round_decimals(const Tensor& input, int64_t decimals, Out out);
Tensor conj_physical(const Tensor& input, Out out);
Tensor polygamma(int64_t n, const Tensor& input, Out out);
Tensor logit(const Tensor& input, std::optional<double> eps, Out out);
Tensor nan_to_num(const Tensor& input, double nan, std::optional<double> posinf, std::optional<double> neginf,
                  Out out);

Tensor add(const Operand& input, const Operand& other, const Scalar& alpha, Out out);
Tensor sub(const Operand& input, const Operand& other, const Scalar& alpha, Out out);
Tensor rsub(const Tensor& input, const Operand& other, const Scalar& alpha);
Tensor mul(const Operand& input, const Operand& other, Out out);
Tensor div(const Operand& input, const Operand& other, Out out);
Tensor div_rounded(const Operand& input, const Operand& other,
                   const std::optional<std::string>& rounding_mode, Out out);
Tensor floor_divide(const Operand& input, const Operand& other, Out out);
Tensor fmod(const Tensor& input, const Operand& other, Out out);
Tensor remainder(const Operand& input, const Operand& other, Out out);
Tensor pow(const Operand& input, const Operand& exponent, Out out);
Tensor float_power(const Operand& input, const Operand& exponent, Out out);
Tensor maximum(const Tensor& input, const Operand& other, Out out);
Tensor minimum(const Tensor& input, const Operand& other, Out out);
Tensor heaviside(const Tensor& input, const Tensor& values, Out out);
Tensor xlogy(const Operand& input, const Operand& other, Out out);
Tensor shift_left(const Operand& input, const Operand& other, Out out);
Tensor shift_right(const Operand& input, const Operand& other, Out out);
Tensor bitwise_and(const Operand& input, const Operand& other, Out out);
Tensor bitwise_or(const Operand& input, const Operand& other, Out out);
Tensor bitwise_xor(const Operand& input, const Operand& other, Out out);

Tensor isclose(const Tensor& input, const Tensor& other, double rtol, double atol, bool equal_nan);
bool allclose(const Tensor& input, const Tensor& other, double rtol, double atol, bool equal_nan);
bool equal(const Tensor& input, const Tensor& other);

Tensor where(const Tensor& condition, const Operand& input, const Operand& other, Out out);
Tensor masked_fill(const Tensor& input, const Tensor& mask, const Operand& value, Out out);
Tensor lerp(const Tensor& input, const Tensor& end, const Operand& weight, Out out);
Tensor addcmul(const Tensor& input, const Tensor& tensor1, const Tensor& tensor2, const Scalar& value,
               Out out);
Tensor addcdiv(const Tensor& input, const Tensor& tensor1, const Tensor& tensor2, const Scalar& value,
               Out out);
Tensor clamp(const Tensor& input, const std::optional<Operand>& min, const std::optional<Operand>& max,
             Out out);
Tensor clamp_min(const Tensor& input, const Operand& min, Out out);
Tensor clamp_max(const Tensor& input, const Operand& max, Out out);

// Activations; each has a fused backward function.
Tensor threshold(const Tensor& input, const Scalar& threshold, const Scalar& value, Out out);
Tensor threshold_backward(const Tensor& grad, const Tensor& input, const Scalar& threshold);
Tensor leaky_relu(const Tensor& input, const Scalar& negative_slope, Out out);
Tensor leaky_relu_backward(const Tensor& grad, const Tensor& input, const Scalar& negative_slope);
Tensor gelu(const Tensor& input, const std::string& approximate, Out out);
Tensor gelu_backward(const Tensor& grad, const Tensor& input, const std::string& approximate);
Tensor elu(const Tensor& input, const Scalar& alpha, const Scalar& scale, const Scalar& input_scale, Out out);
Tensor elu_backward(const Tensor& grad, const Scalar& alpha, const Scalar& scale, const Scalar& input_scale,
                    bool is_result, const Tensor& self_or_result);
Tensor softplus(const Tensor& input, const Scalar& beta, const Scalar& threshold, Out out);
Tensor softplus_backward(const Tensor& grad, const Tensor& input, const Scalar& beta,
                         const Scalar& threshold);
Tensor hardtanh(const Tensor& input, const Scalar& min_val, const Scalar& max_val, Out out);
Tensor hardtanh_backward(const Tensor& grad, const Tensor& input, const Scalar& min_val,
                         const Scalar& max_val);
Tensor hardshrink(const Tensor& input, const Scalar& lambd, Out out);
Tensor softshrink(const Tensor& input, const Scalar& lambd, Out out);
Tensor shrink_backward(const Tensor& grad, const Tensor& input, const Scalar& lambd);

}  // namespace ctorch::ops

#include "ops/elementwise_inl.h"
