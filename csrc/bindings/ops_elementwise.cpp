// Element-wise operations at the door. Those that are no more than a functor are registered from the
// functors' lists.
#include <string>

#include "bindings/def_op.h"
#include "ops/copy.h"
#include "ops/elementwise.h"

namespace ctorch::py {
namespace {

namespace fn = functors;

template <auto Fn, class F>
void def_unary(unsigned forms, bool out = true) {
  std::string schema =
      std::string(F::name) + (out ? "(Tensor input, *, Out out=None) -> Tensor" : "(Tensor input) -> Tensor");
  def_op<Fn>(schema.c_str(), F::doc, forms);
}
template <class... Fs>
void def_plain(TypeList<Fs...>, unsigned forms) {
  (def_unary<&ops::unary<Fs>, Fs>(forms), ...);
}
template <class... Fs>
void def_rounding(TypeList<Fs...>) {
  (def_unary<&ops::rounding<Fs>, Fs>(kUnary), ...);
}
template <class... Fs>
void def_questions(TypeList<Fs...>) {
  // isnan, isinf and isfinite take no out= in PyTorch.
  (def_unary<&ops::question<Fs>, Fs>(kBoth, !std::is_same_v<Fs, fn::Isnan> &&
                                                !std::is_same_v<Fs, fn::Isinf> &&
                                                !std::is_same_v<Fs, fn::Isfinite>),
   ...);
}
template <class... Fs>
void def_binary(TypeList<Fs...>, const char* other) {
  (def_op<&ops::binary<Fs>>(
       (std::string(Fs::name) + "(Tensor input, " + other + " other, *, Out out=None) -> Tensor").c_str(),
       Fs::doc, kAll),
   ...);
}
template <class... Fs>
void def_backward(TypeList<Fs...>) {
  (def_op<&ops::backward<Fs>>(
       (std::string(Fs::name) + "(Tensor grad_output, Tensor saved) -> Tensor").c_str(), "", kInternal),
   ...);
}

Tensor conj(const Tensor& input) { return is_complex(input.dtype()) ? ops::conj_physical(input, {}) : input; }

Tensor copy(const Tensor& input, const Tensor& src, bool, Out out) {
  return ops::copy_(out ? *out.target : ops::clone(input), src);
}
Tensor fill(const Tensor& input, const Operand& value, Out out) {
  if (out && !out.inplace) ops::resize_output(*out.target, input.sizes(), "fill");
  const Tensor target = out ? *out.target : empty_like(input);
  if (!value.is_tensor()) return ops::fill_(target, value.scalar());
  check(value.tensor().dim() == 0, "fill_ only supports 0-dimension value tensor but got tensor with ",
        value.tensor().dim(), " dimensions.");
  return ops::copy_(target, value.tensor());
}
Tensor zero(const Tensor& input, Out out) { return fill(input, Scalar(0), out); }

void def_arithmetic() {
  def_op<&ops::add>("add(Tensor input, Operand other, *, Scalar alpha=1, Out out=None) -> Tensor",
                    "input + alpha * other.", kAll);
  def_op<&ops::sub>("sub(Tensor input, Operand other, *, Scalar alpha=1, Out out=None) -> Tensor",
                    "input - alpha * other.", kAll);
  def_op<&ops::rsub>("rsub(Tensor input, Operand other, *, Scalar alpha=1) -> Tensor",
                     "other - alpha * input.", kFunction);
  def_op<&ops::mul>("mul(Tensor input, Operand other, *, Out out=None) -> Tensor", "input * other.", kAll);
  def_op<&ops::div_rounded>(
      "div(Tensor input, Operand other, *, str? rounding_mode=None, Out out=None) -> Tensor",
      "input / other, of integers too; rounded with rounding_mode 'trunc' (towards zero) or 'floor'.", kAll);
  def_op<&ops::div>("true_divide(Tensor input, Operand other, *, Out out=None) -> Tensor",
                    "input / other, of integers too.", kAll);
  def_op<&ops::floor_divide>("floor_divide(Tensor input, Operand other, *, Out out=None) -> Tensor",
                             "input / other, rounded down.", kAll);
  def_op<&ops::add>("add.number(Scalar input, Operand other, *, Scalar alpha=1, Out out=None) -> Tensor", "",
                    kFunction);
  def_op<&ops::sub>("sub.number(Scalar input, Operand other, *, Scalar alpha=1, Out out=None) -> Tensor", "",
                    kFunction);
  def_op<&ops::mul>("mul.number(Scalar input, Operand other, *, Out out=None) -> Tensor", "", kFunction);
  def_op<&ops::div_rounded>(
      "div.number(Scalar input, Operand other, *, str? rounding_mode=None, Out out=None) -> Tensor", "",
      kFunction);
  def_op<&ops::div>("true_divide.number(Scalar input, Operand other, *, Out out=None) -> Tensor", "",
                    kFunction);
  def_op<&ops::floor_divide>("floor_divide.number(Scalar input, Operand other, *, Out out=None) -> Tensor",
                             "", kFunction);
  def_op<&ops::fmod>("fmod(Tensor input, Operand other, *, Out out=None) -> Tensor", fn::Fmod::doc, kAll);
  def_op<&ops::remainder>("remainder(Tensor input, Operand other, *, Out out=None) -> Tensor",
                          fn::Remainder::doc, kAll);
  def_op<&ops::remainder>("remainder.number(Scalar input, Tensor other, *, Out out=None) -> Tensor", "",
                          kFunction);
  def_op<&ops::pow>("pow(Tensor input, Operand exponent, *, Out out=None) -> Tensor",
                    "input to the power exponent.", kAll);
  def_op<&ops::pow>("pow.number(Scalar input, Tensor exponent, *, Out out=None) -> Tensor", "", kFunction);
  def_op<&ops::float_power>("float_power(Tensor input, Operand exponent, *, Out out=None) -> Tensor",
                            "input to the power exponent, computed in float64.", kAll);
  def_op<&ops::float_power>("float_power.number(Scalar input, Tensor exponent, *, Out out=None) -> Tensor",
                            "", kFunction);
  def_op<&ops::xlogy>("xlogy(Tensor input, Operand other, *, Out out=None) -> Tensor", fn::Xlogy::doc,
                      kAll | kInplaceFunction);
  def_op<&ops::xlogy>("xlogy.number(Scalar input, Tensor other, *, Out out=None) -> Tensor", "", kFunction);
  def_op<&ops::heaviside>("heaviside(Tensor input, Tensor values, *, Out out=None) -> Tensor",
                          "0 where input is negative, 1 where positive, values where it is 0.", kAll);
  def_op<&ops::bitwise_and>("bitwise_and(Tensor input, Operand other, *, Out out=None) -> Tensor",
                            fn::BitwiseAnd::doc, kAll);
  def_op<&ops::bitwise_or>("bitwise_or(Tensor input, Operand other, *, Out out=None) -> Tensor",
                           fn::BitwiseOr::doc, kAll);
  def_op<&ops::bitwise_xor>("bitwise_xor(Tensor input, Operand other, *, Out out=None) -> Tensor",
                            fn::BitwiseXor::doc, kAll);
  def_op<&ops::shift_left>("bitwise_left_shift(Tensor input, Operand other, *, Out out=None) -> Tensor",
                           fn::LeftShift::doc, kAll);
  def_op<&ops::shift_right>("bitwise_right_shift(Tensor input, Operand other, *, Out out=None) -> Tensor",
                            fn::RightShift::doc, kAll);
  def_op<&ops::bitwise_and>("bitwise_and.number(Scalar input, Tensor other, *, Out out=None) -> Tensor", "",
                            kFunction);
  def_op<&ops::bitwise_or>("bitwise_or.number(Scalar input, Tensor other, *, Out out=None) -> Tensor", "",
                           kFunction);
  def_op<&ops::bitwise_xor>("bitwise_xor.number(Scalar input, Tensor other, *, Out out=None) -> Tensor", "",
                            kFunction);
  def_op<&ops::shift_left>("bitwise_left_shift.number(Scalar input, Tensor other, *, Out out=None) -> Tensor",
                           "", kFunction);
  def_op<&ops::shift_right>(
      "bitwise_right_shift.number(Scalar input, Tensor other, *, Out out=None) -> Tensor", "", kFunction);
  def_alias("subtract", "sub");
  def_alias("multiply", "mul");
  def_alias("divide", "div");
  def_alias("arctan2", "atan2");
  def_alias("__lshift__", "bitwise_left_shift");
  def_alias("__rshift__", "bitwise_right_shift");
}

void def_comparisons() {
  def_op<&ops::isclose>(
      "isclose(Tensor input, Tensor other, float rtol=1e-05, float atol=1e-08, bool equal_nan=False) -> "
      "Tensor",
      "Whether |input - other| <= atol + rtol * |other|, element by element.");
  def_op<&ops::allclose>(
      "allclose(Tensor input, Tensor other, float rtol=1e-05, float atol=1e-08, bool equal_nan=False) -> "
      "bool",
      "Whether isclose() holds everywhere.");
  def_op<&ops::equal>("equal(Tensor input, Tensor other) -> bool",
                      "Whether two tensors have the same shape and elements.");
  for (auto [alias, name] : {std::pair{"not_equal", "ne"},
                             {"less", "lt"},
                             {"less_equal", "le"},
                             {"greater", "gt"},
                             {"greater_equal", "ge"}})
    def_alias(alias, name);
}

void def_choices() {
  def_op<&ops::where>("where(Tensor condition, Operand input, Operand other, *, Out out=None) -> Tensor",
                      "input where condition is true, other elsewhere.", kFunction);
  def_op<&ops::masked_fill>("masked_fill(Tensor input, Tensor mask, Operand value) -> Tensor",
                            "value where mask is true, input elsewhere.", kAll);
  def_op<&ops::lerp>("lerp(Tensor input, Tensor end, Operand weight, *, Out out=None) -> Tensor",
                     "input + weight * (end - input).", kAll);
  def_op<&ops::addcmul>(
      "addcmul(Tensor input, Tensor tensor1, Tensor tensor2, *, Scalar value=1, Out out=None) -> Tensor",
      "input + value * tensor1 * tensor2.", kAll);
  def_op<&ops::addcdiv>(
      "addcdiv(Tensor input, Tensor tensor1, Tensor tensor2, *, Scalar value=1, Out out=None) -> Tensor",
      "input + value * tensor1 / tensor2.", kAll);
  def_op<&ops::clamp>("clamp(Tensor input, Operand? min=None, Operand? max=None, *, Out out=None) -> Tensor",
                      "input limited to [min, max].", kUnary);
  def_op<&ops::clamp_min>("clamp_min(Tensor input, Operand min, *, Out out=None) -> Tensor",
                          "input, but at least min.", kUnary);
  def_op<&ops::clamp_max>("clamp_max(Tensor input, Operand max, *, Out out=None) -> Tensor",
                          "input, but at most max.", kUnary);
  def_alias("clip", "clamp");
}

void def_activations() {
  def_op<&ops::threshold>(
      "threshold(Tensor input, Scalar threshold, Scalar value, *, Out out=None) -> Tensor",
      "input where it is above threshold, value elsewhere.", kFunction | kInplaceFunction);
  def_op<&ops::leaky_relu>("leaky_relu(Tensor input, Scalar negative_slope=0.01, *, Out out=None) -> Tensor",
                           "input where it is positive, negative_slope * input elsewhere.", kInternal);
  def_op<&ops::gelu>("gelu(Tensor input, *, str approximate='none', Out out=None) -> Tensor",
                     "input * P(X <= input) for a normal X; with approximate='tanh' nearly so.", kInternal);
  def_op<&ops::elu>(
      "elu(Tensor input, Scalar alpha=1.0, Scalar scale=1, Scalar input_scale=1, *, Out out=None) -> Tensor",
      "scale * input where that is positive, scale * alpha * (e^(input * input_scale) - 1) elsewhere.",
      kInternal);
  def_op<&ops::softplus>(
      "softplus(Tensor input, Scalar beta=1, Scalar threshold=20, *, Out out=None) -> Tensor",
      "log(1 + e^(beta * input)) / beta; input where beta * input is above threshold.", kInternal);
  def_op<&ops::hardtanh>(
      "hardtanh(Tensor input, Scalar min_val=-1.0, Scalar max_val=1.0, *, Out out=None) -> Tensor",
      "input limited to [min_val, max_val].", kInternal);
  def_op<&ops::hardshrink>("hardshrink(Tensor input, Scalar lambd=0.5, *, Out out=None) -> Tensor",
                           "input where |input| > lambd, 0 elsewhere.", kBoth);
  def_op<&ops::softshrink>("softshrink(Tensor input, Scalar lambd=0.5, *, Out out=None) -> Tensor",
                           "input moved by lambd towards 0, and 0 where |input| <= lambd.", kInternal);

  def_op<&ops::threshold_backward>(
      "threshold_backward(Tensor grad_output, Tensor input, Scalar threshold) -> Tensor", "", kInternal);
  def_op<&ops::leaky_relu_backward>(
      "leaky_relu_backward(Tensor grad_output, Tensor input, Scalar negative_slope) -> Tensor", "",
      kInternal);
  def_op<&ops::gelu_backward>(
      "gelu_backward(Tensor grad_output, Tensor input, *, str approximate='none') -> Tensor", "", kInternal);
  def_op<&ops::elu_backward>(
      "elu_backward(Tensor grad_output, Scalar alpha, Scalar scale, Scalar input_scale, bool is_result, "
      "Tensor saved) -> Tensor",
      "", kInternal);
  def_op<&ops::softplus_backward>(
      "softplus_backward(Tensor grad_output, Tensor input, Scalar beta, Scalar threshold) -> Tensor", "",
      kInternal);
  def_op<&ops::hardtanh_backward>(
      "hardtanh_backward(Tensor grad_output, Tensor input, Scalar min_val, Scalar max_val) -> Tensor", "",
      kInternal);
  def_op<&ops::shrink_backward>("shrink_backward(Tensor grad_output, Tensor input, Scalar lambd) -> Tensor",
                                "", kInternal);
  def_backward(fn::PlainBackwards());
}

}  // namespace

void init_ops_elementwise() {
  def_plain(fn::PlainUnary(), kUnary);
  def_rounding(fn::RoundingUnary());
  def_questions(fn::QuestionUnary());
  def_op<&ops::neg>("neg(Tensor input, *, Out out=None) -> Tensor", fn::Neg::doc, kUnary);
  def_op<&ops::positive>("positive(Tensor input) -> Tensor", "input.", kBoth);
  def_op<&ops::square>("square(Tensor input, *, Out out=None) -> Tensor", "input * input.", kUnary);
  def_op<&ops::round_decimals>("round.decimals(Tensor input, *, int decimals, Out out=None) -> Tensor", "",
                               kUnary);
  def_op<&conj>("conj(Tensor input) -> Tensor", "The complex conjugate; input itself if it is real.");
  def_op<&ops::conj_physical>("conj_physical(Tensor input, *, Out out=None) -> Tensor", fn::ConjPhysical::doc,
                              kUnary);
  def_op<&ops::polygamma>("polygamma(int n, Tensor input, *, Out out=None) -> Tensor",
                          "The n-th derivative of digamma().", kFunction);
  def_op<&ops::logit>("logit(Tensor input, float? eps=None, *, Out out=None) -> Tensor",
                      "log(input / (1 - input)), of input limited to [eps, 1 - eps] if eps is given.",
                      kUnary);
  def_op<&ops::nan_to_num>(
      "nan_to_num(Tensor input, float nan=0.0, float? posinf=None, float? neginf=None, *, Out out=None) -> "
      "Tensor",
      "input with nan and infinities replaced, by 0 and the largest finite numbers if not given.", kUnary);
  for (auto [alias, name] : {std::pair{"absolute", "abs"},
                             {"negative", "neg"},
                             {"fix", "trunc"},
                             {"arcsin", "asin"},
                             {"arccos", "acos"},
                             {"arctan", "atan"},
                             {"arcsinh", "asinh"},
                             {"arccosh", "acosh"},
                             {"arctanh", "atanh"}})
    def_alias(alias, name);
  def_arithmetic();
  def_binary(fn::PlainBinary(), "Tensor");
  def_binary(fn::NumberBinary(), "Operand");
  def_comparisons();
  def_choices();
  def_unary<&ops::unary<fn::Relu>, fn::Relu>(kUnary);
  def_plain(TypeList<fn::Silu, fn::Hardsigmoid, fn::Hardswish, fn::Mish, fn::LogSigmoid>(), kInternal);
  def_activations();

  def_op<&copy>("copy(Tensor input, Tensor src, bool non_blocking=False) -> Tensor",
                "The elements of src, converted and broadcast, in place of those of input.", kInplace);
  def_op<&fill>("fill(Tensor input, Operand value) -> Tensor", "value everywhere.",
                kFunction | kInplace | kInplaceFunction);
  def_op<&zero>("zero(Tensor input) -> Tensor", "0 everywhere.", kInplace | kInplaceFunction);
}

}  // namespace ctorch::py
