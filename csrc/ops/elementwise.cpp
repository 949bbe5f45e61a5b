#include "ops/elementwise.h"

#include <cmath>
#include <cstring>

#include "ops/copy.h"
#include "ops/reduce.h"
#include "ops/view.h"

namespace ctorch::ops {
namespace {

DType dtype_of_operand(const Operand& o) { return o.is_tensor() ? o.tensor().dtype() : o.scalar().dtype(); }

// Operations on a bool tensor and a number compute in the number's category; this asks whether all is bool.
bool all_true(const Tensor& t) {
  Tensor c = contiguous(t);
  return c.numel() == 0 || std::memchr(c.data(), 0, static_cast<size_t>(c.numel())) == nullptr;
}

// Integer division by zero is an error; floats have infinities. A divisor of a wider dtype counts as what is
// left of it in the dtype of the computation: 256 is 0 as a uint8.
void check_divisor(const Operand& divisor, DType common) {
  if (!is_integral(common)) return;
  bool zero = divisor.is_tensor() ? !all_true(to_dtype(to_dtype(divisor.tensor(), common), DType::boolean))
                                  : !item(scalar_tensor(divisor.scalar(), common)).to_bool();
  check(!zero, "ZeroDivisionError");
}

void check_alpha(DType common, const Scalar& alpha) {
  check(!alpha.is_bool() || is_bool(common), "Boolean alpha only supported for Boolean results.");
  check(is_differentiable(common) || alpha.is_integer() || alpha.is_bool(),
        "For integral input tensors, argument alpha must not be a floating point number.");
  check(is_complex(common) || !alpha.is_complex(),
        "For non-complex input tensors, argument alpha must not be a complex number.");
}

bool is_one(const Scalar& s) { return s.is_integer() && s.to_int64() == 1; }

Scalar negate(const Scalar& s) {
  if (s.is_complex()) return Scalar(-s.to_complex());
  if (s.is_floating()) return Scalar(-s.to_double());
  return Scalar(-s.to_int64());
}

}  // namespace

Tensor copy_result(const char* op, const Tensor& input, Out out) {
  if (out && out.target->is_same(input)) return input;
  const Operand inputs[] = {input};
  return copy_(make_result(op, input.sizes(), input.dtype(), inputs, out), input);
}

Tensor fill_result(const char* op, const Tensor& input, DType dtype, const Scalar& value, Out out) {
  const Operand inputs[] = {input};
  return fill_(make_result(op, input.sizes(), dtype, inputs, out), value);
}

// ---- one argument
// ------------------------------------------------------------------------------------------------------

Tensor neg(const Tensor& input, Out out) {
  check(!is_bool(input.dtype()),
        "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, "
        "use the `~` or "
        "`logical_not()` operator instead.");
  return unary<fn::Neg>(input, out);
}

Tensor positive(const Tensor& input) {
  check(!is_bool(input.dtype()), "The `+` operator, on a bool tensor is not supported.");
  return input;
}

Tensor square(const Tensor& input, Out out) {
  if (is_bool(input.dtype())) return pow(input, Scalar(2), out);
  return mul(input, input, out);
}

Tensor round_decimals(const Tensor& input, int64_t decimals, Out out) {
  if (decimals == 0) return rounding<fn::Round>(input, out);
  check_implemented(!is_integral(input.dtype()), "\"round\" with decimals not implemented for '",
                    dtype_scalar_name(input.dtype()), "'");
  double scale = std::pow(10.0, static_cast<double>(std::abs(decimals)));
  return apply<fn::RoundScaled>({input}, {Scalar(scale), Scalar(decimals < 0)}, input.dtype(), out);
}

Tensor conj_physical(const Tensor& input, Out out) {
  return is_complex(input.dtype()) ? unary<fn::ConjPhysical>(input, out)
                                   : copy_result("conj_physical", input, out);
}

Tensor polygamma(int64_t n, const Tensor& input, Out out) {
  check(n >= 0, "polygamma(n, x) does not support negative n.");
  if (n == 0) return unary<fn::Digamma>(input, out);
  return apply<fn::Polygamma>({input}, {Scalar(n)}, input.dtype(), out);
}

Tensor logit(const Tensor& input, std::optional<double> eps, Out out) {
  return apply<fn::Logit>({input}, {Scalar(eps.value_or(-1.0))}, input.dtype(), out);
}

Tensor nan_to_num(const Tensor& input, double nan, std::optional<double> posinf, std::optional<double> neginf,
                  Out out) {
  DType dt = input.dtype();
  if (!is_differentiable(dt)) return copy_result("nan_to_num", input, out);
  // The largest finite value of the dtype.
  double largest = 3.4028234663852886e38;
  DType real = to_real(dt);
  if (real == DType::float64) largest = std::numeric_limits<double>::max();
  if (real == DType::float16) largest = 65504;
  if (real == DType::bfloat16) largest = 3.3895313892515355e38;
  return apply<fn::NanToNum>(
      {input}, {Scalar(nan), Scalar(posinf.value_or(largest)), Scalar(neginf.value_or(-largest))}, dt, out);
}

// ---- arithmetic
// --------------------------------------------------------------------------------------------------------

Tensor add(const Operand& input, const Operand& other, const Scalar& alpha, Out out) {
  DType common = result_type(input, other);
  // PyTorch multiplies complex tensors by alpha even where it is 1, which shows in infinities.
  if (is_one(alpha) && !(is_complex(common) && other.is_tensor()))
    return apply<fn::Add>({input, other}, {}, common, out);
  check_alpha(common, alpha);
  return apply<fn::AddScaled>({input, other}, {alpha}, common, out);
}

Tensor sub(const Operand& input, const Operand& other, const Scalar& alpha, Out out) {
  bool a = is_bool(dtype_of_operand(input)), b = is_bool(dtype_of_operand(other));
  check(!(a && b),
        "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or "
        "`logical_xor()` operator instead.");
  check(!a && !b,
        "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a "
        "mask, use the `~` or "
        "`logical_not()` operator instead.");
  DType common = result_type(input, other);
  if (is_one(alpha) && !(is_complex(common) && other.is_tensor()))
    return apply<fn::Sub>({input, other}, {}, common, out);
  check_alpha(common, alpha);
  return apply<fn::AddScaled>({input, other}, {negate(alpha)}, common, out);
}

Tensor rsub(const Tensor& input, const Operand& other, const Scalar& alpha) {
  return sub(other, input, alpha, {});
}

Tensor mul(const Operand& input, const Operand& other, Out out) {
  return apply<fn::Mul>({input, other}, {}, result_type(input, other), out);
}

Tensor div(const Operand& input, const Operand& other, Out out) {
  return apply<fn::Div>({input, other}, {}, result_type(input, other), out);
}

Tensor floor_divide(const Operand& input, const Operand& other, Out out) {
  DType common = result_type(input, other);
  check_divisor(other, common);
  return apply<fn::DivFloor>({input, other}, {}, common, out);
}

Tensor div_rounded(const Operand& input, const Operand& other,
                   const std::optional<std::string>& rounding_mode, Out out) {
  if (!rounding_mode) return div(input, other, out);
  if (*rounding_mode == "floor") return floor_divide(input, other, out);
  check(*rounding_mode == "trunc",
        "div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '", *rounding_mode, "'");
  DType common = result_type(input, other);
  check_divisor(other, common);
  return apply<fn::DivTrunc>({input, other}, {}, common, out);
}

Tensor fmod(const Tensor& input, const Operand& other, Out out) {
  DType common = result_type(input, other);
  check_divisor(other, common);
  return apply<fn::Fmod>({input, other}, {}, common, out);
}

Tensor remainder(const Operand& input, const Operand& other, Out out) {
  DType common = result_type(input, other);
  check_divisor(other, common);
  return apply<fn::Remainder>({input, other}, {}, common, out);
}

Tensor pow(const Operand& input, const Operand& exponent, Out out) {
  DType common = result_type(input, exponent);
  if (!exponent.is_tensor()) {
    const Scalar& e = exponent.scalar();
    check_fits(e, common, "pow");
    if (is_integral(common)) check(e.to_int64() >= 0, "Integers to negative integer powers are not allowed.");
    // Frequent exponents have exact and fast forms.
    if (input.is_tensor() && input.tensor().dtype() == common && !e.is_complex()) {
      const Tensor& x = input.tensor();
      double value = e.to_double();
      if (value == 0) return fill_result("pow", x, common, Scalar(1), out);
      if (value == 1) return copy_result("pow", x, out);
      if (value == 2 && !is_bool(common)) return mul(x, x, out);
      if (is_floating(common)) {
        if (value == 0.5) return unary<fn::Sqrt>(x, out);
        if (value == -0.5) return unary<fn::Rsqrt>(x, out);
        if (value == -1) return unary<fn::Reciprocal>(x, out);
      }
    }
  }
  return apply<fn::Pow>({input, exponent}, {}, common, out);
}

Tensor float_power(const Operand& input, const Operand& exponent, Out out) {
  DType common = is_complex(result_type(input, exponent)) ? DType::complex128 : DType::float64;
  check(!out || out.target->dtype() == common || !out.inplace, "the base given to float_power_ has dtype ",
        dtype_scalar_name(out.target ? out.target->dtype() : common),
        " but the operation's result requires dtype ", dtype_scalar_name(common));
  auto wide = [&](const Operand& o) { return o.is_tensor() ? to_dtype(o.tensor(), common) : Tensor(); };
  Tensor a = wide(input), b = wide(exponent);
  Operand base = a ? Operand(a) : input, power = b ? Operand(b) : exponent;
  if (!power.is_tensor()) return pow(base, power, out);
  return apply<fn::Pow>({base, power}, {}, common, out);
}

Tensor maximum(const Tensor& input, const Operand& other, Out out) {
  return binary<fn::Maximum>(input, other, out);
}
Tensor minimum(const Tensor& input, const Operand& other, Out out) {
  return binary<fn::Minimum>(input, other, out);
}

Tensor heaviside(const Tensor& input, const Tensor& values, Out out) {
  check(input.dtype() == values.dtype(),
        "heaviside is not yet implemented for tensors with different dtypes.");
  return binary<fn::Heaviside>(input, values, out);
}

#define CT_BINARY(name, Functor_)                                               \
  Tensor name(const Operand& input, const Operand& other, Out out) {            \
    return apply<Functor_>({input, other}, {}, result_type(input, other), out); \
  }
CT_BINARY(xlogy, fn::Xlogy)
CT_BINARY(shift_left, fn::LeftShift)
CT_BINARY(shift_right, fn::RightShift)
CT_BINARY(bitwise_and, fn::BitwiseAnd)
CT_BINARY(bitwise_or, fn::BitwiseOr)
CT_BINARY(bitwise_xor, fn::BitwiseXor)
#undef CT_BINARY

// ---- comparisons
// -------------------------------------------------------------------------------------------------------

Tensor isclose(const Tensor& input, const Tensor& other, double rtol, double atol, bool equal_nan) {
  check(input.dtype() == other.dtype(), dtype_scalar_name(input.dtype()), " did not match ",
        dtype_scalar_name(other.dtype()));
  check(rtol >= 0, "rtol must be greater than or equal to zero, but got ", rtol);
  check(atol >= 0, "atol must be greater than or equal to zero, but got ", atol);
  // Integers are compared in float64.
  DType common = is_differentiable(input.dtype()) ? input.dtype() : DType::float64;
  if (common != input.dtype() && rtol == 0 && atol == 0) return binary<fn::Eq>(input, other, {});
  return apply<fn::Isclose>({input, other}, {Scalar(rtol), Scalar(atol), Scalar(equal_nan)}, common, {});
}

bool allclose(const Tensor& input, const Tensor& other, double rtol, double atol, bool equal_nan) {
  return all_true(isclose(input, other, rtol, atol, equal_nan));
}

bool equal(const Tensor& input, const Tensor& other) {
  return input.sizes() == other.sizes() && all_true(binary<fn::Eq>(input, other, {}));
}

// ---- three arguments
// ---------------------------------------------------------------------------------------------------

Tensor where(const Tensor& condition, const Operand& input, const Operand& other, Out out) {
  check(condition.dtype() == DType::boolean || condition.dtype() == DType::uint8,
        "where expected condition to be a boolean tensor, but got a tensor with dtype ",
        dtype_scalar_name(condition.dtype()));
  DType common = result_type(input, other);
  for (const Operand* o : {&input, &other})
    if (!o->is_tensor()) check_fits(o->scalar(), common, "where");
  // The kernel only moves bits, and every dtype has that of its size.
  return apply<fn::Where>({condition, input, other}, {}, common, out);
}

namespace {

// In place, where an expanded tensor has several elements in one place: it is filled if the mask is true for
// any of them.
Tensor fill_expanded(const Tensor& target, const Tensor& mask, const Operand& value) {
  Tensor hit = expand(mask, target.sizes());
  Dims sizes = target.sizes(), shared;
  for (int64_t d = 0; d < target.dim(); ++d) {
    if (target.strides()[d] != 0 || sizes[d] <= 1) continue;
    shared.push_back(d);
    sizes[d] = 1;
  }
  Tensor once = target.view_as(std::move(sizes), target.strides(), target.offset());
  apply<fn::Where>({any(hit, IntList(shared), true), value, once}, {}, target.dtype(), Out{&once, true});
  return target;
}

bool is_expanded(const Tensor& t) {
  for (int64_t d = 0; d < t.dim(); ++d)
    if (t.strides()[d] == 0 && t.sizes()[d] > 1) return t.numel() > 0;
  return false;
}

}  // namespace

Tensor masked_fill(const Tensor& input, const Tensor& mask, const Operand& value, Out out) {
  check(mask.dtype() == DType::boolean, "masked_fill only supports boolean masks, but got mask with dtype ",
        mask.dtype());
  if (value.is_tensor()) {
    check(value.tensor().dim() == 0,
          "masked_fill only supports a 0-dimensional value tensor, but got tensor with ",
          value.tensor().dim(), " dimension(s).");
    DType from = value.tensor().dtype();
    check(is_complex(input.dtype()) || !is_complex(from), "masked_fill: value of dtype ", from,
          " cannot be converted to ", input.dtype());
  } else {
    check_fits(value.scalar(), input.dtype(), "masked_fill");
  }
  if (out.inplace && is_expanded(*out.target)) return fill_expanded(*out.target, mask, value);
  return apply<fn::Where>({mask, value, input}, {}, input.dtype(), out);
}

Tensor lerp(const Tensor& input, const Tensor& end, const Operand& weight, Out out) {
  check(input.dtype() == end.dtype(), "expected dtype ", input.dtype(), " for `end` but got dtype ",
        end.dtype());
  check(!weight.is_tensor() || weight.tensor().dtype() == input.dtype(), "expected dtype ", input.dtype(),
        " for `weight` but got dtype ", dtype_of_operand(weight));
  return apply<fn::Lerp>({input, end, weight}, {}, input.dtype(), out);
}

Tensor addcmul(const Tensor& input, const Tensor& tensor1, const Tensor& tensor2, const Scalar& value,
               Out out) {
  Promotion p;
  p.add(input);
  p.add(tensor1);
  p.add(tensor2);
  DType common = p.result();
  check(is_differentiable(common) || !value.is_floating(),
        "For integral input tensors, argument value must not be a floating point number.");
  return apply<fn::Addcmul>({input, tensor1, tensor2}, {value}, common, out);
}

Tensor addcdiv(const Tensor& input, const Tensor& tensor1, const Tensor& tensor2, const Scalar& value,
               Out out) {
  check(is_differentiable(tensor1.dtype()) || is_differentiable(tensor2.dtype()),
        "Integer division with addcdiv is no longer supported, and in a future release addcdiv will perform "
        "a true division of tensor1 and tensor2.");
  Promotion p;
  p.add(input);
  p.add(tensor1);
  p.add(tensor2);
  return apply<fn::Addcdiv>({input, tensor1, tensor2}, {value}, p.result(), out);
}

Tensor clamp_min(const Tensor& input, const Operand& min, Out out) {
  return clamp(input, min, std::nullopt, out);
}
Tensor clamp_max(const Tensor& input, const Operand& max, Out out) {
  return clamp(input, std::nullopt, max, out);
}

Tensor clamp(const Tensor& input, const std::optional<Operand>& min, const std::optional<Operand>& max,
             Out out) {
  check(min || max, "torch.clamp: At least one of 'min' or 'max' must not be None");
  Promotion p;
  p.add(input);
  if (min) p.add(*min);
  if (max) p.add(*max);
  DType common = p.result();
  check(!is_complex(common), "clamp is not supported for complex types");
  for (const std::optional<Operand>* bound : {&min, &max})
    if (*bound && !(*bound)->is_tensor()) check_fits((*bound)->scalar(), common, "clamp");
  if (!max) return apply<fn::Maximum>({input, *min}, {}, common, out);
  if (!min) return apply<fn::Minimum>({input, *max}, {}, common, out);
  return apply<fn::Clamp>({input, *min, *max}, {}, common, out);
}

// ---- activations
// -------------------------------------------------------------------------------------------------------

Tensor threshold(const Tensor& input, const Scalar& threshold, const Scalar& value, Out out) {
  return apply<fn::Threshold>({input}, {threshold, value}, input.dtype(), out);
}
Tensor threshold_backward(const Tensor& grad, const Tensor& input, const Scalar& threshold) {
  return apply<fn::ThresholdBackward>({grad, input}, {threshold}, result_type(grad, input), {});
}
Tensor leaky_relu(const Tensor& input, const Scalar& negative_slope, Out out) {
  return apply<fn::LeakyRelu>({input}, {negative_slope}, input.dtype(), out);
}
Tensor leaky_relu_backward(const Tensor& grad, const Tensor& input, const Scalar& negative_slope) {
  return apply<fn::LeakyReluBackward>({grad, input}, {negative_slope}, result_type(grad, input), {});
}

namespace {
bool is_tanh(const std::string& approximate) {
  check(approximate == "none" || approximate == "tanh",
        "gelu: approximate argument must be either none or tanh, got ", approximate);
  return approximate == "tanh";
}
}  // namespace

Tensor gelu(const Tensor& input, const std::string& approximate, Out out) {
  return is_tanh(approximate) ? unary<fn::GeluTanh>(input, out) : unary<fn::Gelu>(input, out);
}
Tensor gelu_backward(const Tensor& grad, const Tensor& input, const std::string& approximate) {
  return is_tanh(approximate) ? backward<fn::GeluTanhBackward>(grad, input)
                              : backward<fn::GeluBackward>(grad, input);
}

Tensor elu(const Tensor& input, const Scalar& alpha, const Scalar& scale, const Scalar& input_scale,
           Out out) {
  return apply<fn::Elu>({input}, {Scalar(alpha.to_double() * scale.to_double()), scale, input_scale},
                        input.dtype(), out);
}
Tensor elu_backward(const Tensor& grad, const Scalar& alpha, const Scalar& scale, const Scalar& input_scale,
                    bool is_result, const Tensor& self_or_result) {
  check(!is_result || alpha.to_double() >= 0,
        "In-place elu backward calculation is triggered with a negative slope which is not supported. This "
        "is caused by calling in-place forward "
        "function with a negative slope, please call out-of-place version instead.");
  return apply<fn::EluBackward>(
      {grad, self_or_result},
      {Scalar(alpha.to_double() * scale.to_double()), scale, input_scale, Scalar(is_result)},
      result_type(grad, self_or_result), {});
}

Tensor softplus(const Tensor& input, const Scalar& beta, const Scalar& threshold, Out out) {
  return apply<fn::Softplus>({input}, {beta, threshold}, input.dtype(), out);
}
Tensor softplus_backward(const Tensor& grad, const Tensor& input, const Scalar& beta,
                         const Scalar& threshold) {
  return apply<fn::SoftplusBackward>({grad, input}, {beta, threshold}, result_type(grad, input), {});
}

Tensor hardtanh(const Tensor& input, const Scalar& min_val, const Scalar& max_val, Out out) {
  check(!is_bool(input.dtype()), "Bool inputs not supported for hardtanh");
  DType dt = input.dtype();
  if (is_integral(dt) && !is_signed(dt))
    check(min_val.to_double() >= 0 && max_val.to_double() >= 0,
          "cannot do hardtanh on an unsigned type with negative limits");
  return apply<fn::Clamp>({input, min_val, max_val}, {}, dt, out);
}
Tensor hardtanh_backward(const Tensor& grad, const Tensor& input, const Scalar& min_val,
                         const Scalar& max_val) {
  return apply<fn::HardtanhBackward>({grad, input}, {min_val, max_val}, result_type(grad, input), {});
}

Tensor hardshrink(const Tensor& input, const Scalar& lambd, Out out) {
  return apply<fn::Hardshrink>({input}, {lambd}, input.dtype(), out);
}
Tensor softshrink(const Tensor& input, const Scalar& lambd, Out out) {
  check(lambd.to_double() >= 0, "lambda must be greater or equal to 0, but found to be ", lambd.to_double(),
        ".");
  return apply<fn::Softshrink>({input}, {lambd}, input.dtype(), out);
}
Tensor shrink_backward(const Tensor& grad, const Tensor& input, const Scalar& lambd) {
  return apply<fn::ShrinkBackward>({grad, input}, {lambd}, result_type(grad, input), {});
}

}  // namespace ctorch::ops
