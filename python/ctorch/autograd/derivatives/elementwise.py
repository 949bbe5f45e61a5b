"""Derivatives of element-wise operations."""

from __future__ import annotations

import math

import ctorch
from ctorch import _C
from ctorch.autograd.registry import define, not_differentiable

_LN2, _LN10 = math.log(2.0), math.log(10.0)
_TWO_BY_SQRT_PI = 2.0 / math.sqrt(math.pi)


def _zero(g):
    return _C.zeros_like(g)


def _real_if(g, dtype):
    """The real part of a gradient that goes to a real input."""
    return g if dtype.is_complex or not g.is_complex() else g.real


# ---- copies and fills -------------------------------------------------------------------------------------------------

define("copy", input=_zero, src=lambda g, src_dtype: _real_if(g, src_dtype), node="CopyBackwards")
define("fill", input=_zero, value=lambda g: g.sum(), node="FillBackward2")
define("zero", input=_zero)
define("positive", input=lambda g: g)
define("conj", input=lambda g: g.conj())
define("conj_physical", input=lambda g: g.conj())

# ---- one argument -----------------------------------------------------------------------------------------------------

define("abs", input=lambda g, input: g * input.sgn())
define("neg", input=lambda g: -g)
define("sign", input=_zero)
define("floor", input=_zero)
define("ceil", input=_zero)
define("round", input=_zero)
define("trunc", input=_zero)
define("frac", input=lambda g: g)
define("square", input=lambda g, input: g * (2 * input).conj(), node="PowBackward0")
define("reciprocal", input=lambda g, out: -g * (out * out).conj())
define("sqrt", input=lambda g, out: g / (2 * out).conj())
define("rsqrt", input=lambda g, out: -0.5 * g * (out**3).conj())
define("exp", input=lambda g, out: g * out.conj())
define("exp2", input=lambda g, out: g * out.conj() * _LN2)
define("expm1", input=lambda g, out: g * (out.conj() + 1))
define("log", input=lambda g, input: g / input.conj())
define("log2", input=lambda g, input: g / (input.conj() * _LN2))
define("log10", input=lambda g, input: g / (input.conj() * _LN10))
define("log1p", input=lambda g, input: g / (input + 1).conj(), node="Log1PBackward0")
define("sin", input=lambda g, input: g * input.cos().conj())
define("cos", input=lambda g, input: g * -input.sin().conj())
define("tan", input=lambda g, out: g * (1 + out * out).conj())
define("asin", input=lambda g, input: g * (1 - input * input).rsqrt().conj())
define("acos", input=lambda g, input: g * -(1 - input * input).rsqrt().conj())
define("atan", input=lambda g, input: g / (input * input + 1).conj())
define("sinh", input=lambda g, input: g * input.cosh().conj())
define("cosh", input=lambda g, input: g * input.sinh().conj())
define("asinh", input=lambda g, input: g * (input * input + 1).rsqrt().conj())


def _acosh(g, input):
    # The square root of the product would leave the branch for complex input.
    return g * ((input - 1).rsqrt() * (input + 1).rsqrt()).conj()


define("acosh", input=_acosh)
define("atanh", input=lambda g, input: g / (1 - input * input).conj())


def _tanh(g, out):
    return g * (1 - out * out).conj() if out.is_complex() else _C.tanh_backward(g, out)


def _sigmoid(g, out):
    return g * ((1 - out) * out).conj() if out.is_complex() else _C.sigmoid_backward(g, out)


define("tanh", input=_tanh)
define("sigmoid", input=_sigmoid)
define(
    "tanh_backward",
    grad_output=lambda g, saved: _C.tanh_backward(g, saved),
    saved=lambda g, grad_output, saved: -2 * g * grad_output * saved,
)
define(
    "sigmoid_backward",
    grad_output=lambda g, saved: _C.sigmoid_backward(g, saved),
    saved=lambda g, grad_output, saved: g * grad_output * (1 - 2 * saved),
)
define("erf", input=lambda g, input: g * _TWO_BY_SQRT_PI * (-(input * input)).exp())
define("erfc", input=lambda g, input: g * -_TWO_BY_SQRT_PI * (-(input * input)).exp())
define("erfinv", input=lambda g, out: g * (0.5 * math.sqrt(math.pi)) * (out * out).exp())
define("lgamma", input=lambda g, input: g * input.digamma())
define("digamma", input=lambda g, input: g * _C.polygamma(1, input))
define("polygamma", input=lambda g, n, input: g * _C.polygamma(n + 1, input))
define("deg2rad", input=lambda g: g * (math.pi / 180))
define("rad2deg", input=lambda g: g * (180 / math.pi))


def _logit(g, input, eps):
    slope = g / (input * (1 - input))
    if eps is None:
        inside = (input >= 0) & (input <= 1)
        return _C.where(inside, slope, math.nan)
    return _C.where((input >= eps) & (input <= 1 - eps), slope, 0.0)


define("logit", input=_logit)
define("nan_to_num", input=lambda g, input: g * input.isfinite())


def _sgn(g, input, out):
    if not input.is_complex():
        return _C.zeros_like(g)
    size = input.abs()
    across = 0.5 * (g / size - (g / size).conj() * out * out)
    return across.masked_fill(size == 0, 0.0)


define("sgn", input=_sgn)


def _angle(g, input):
    if not input.is_complex():
        return _C.zeros_like(g)
    real, imag = input.real, input.imag
    square = real * real + imag * imag
    return _C.complex(-imag / square * g, real / square * g).masked_fill(square == 0, 0.0)


define("angle", input=_angle)

# ---- arithmetic -------------------------------------------------------------------------------------------------------


def _alpha(g, alpha):
    return g if alpha == 1 else g * (alpha.conjugate() if isinstance(alpha, complex) else alpha)


def _conj(x):
    return x.conj() if isinstance(x, ctorch.Tensor) else x.conjugate()


define(
    "add",
    input=lambda g, input_dtype: _real_if(g, input_dtype),
    other=lambda g, other_dtype, alpha: _real_if(_alpha(g, alpha), other_dtype),
)
define(
    "sub",
    input=lambda g, input_dtype: _real_if(g, input_dtype),
    other=lambda g, other_dtype, alpha: _real_if(-_alpha(g, alpha), other_dtype),
)
define(
    "rsub",
    input=lambda g, input_dtype, alpha: _real_if(-_alpha(g, alpha), input_dtype),
    other=lambda g, other_dtype: _real_if(g, other_dtype),
    node={"other": "RsubBackward1"},
)
define(
    "mul",
    input=lambda g, other, input_dtype: _real_if(g * _conj(other), input_dtype),
    other=lambda g, input, other_dtype: _real_if(g * input.conj(), other_dtype),
)


def _div_input(g, other, input_dtype, rounding_mode=None):
    if rounding_mode is not None:
        return _C.zeros_like(g)
    return _real_if(g / _conj(other), input_dtype)


def _div_other(g, input, other, other_dtype, rounding_mode=None):
    if rounding_mode is not None:
        return _C.zeros_like(g)
    return _real_if(-g * ((input / other) / other).conj(), other_dtype)


define(
    "div",
    input=lambda g, other, input_dtype, rounding_mode: _div_input(g, other, input_dtype, rounding_mode),
    other=lambda g, input, other, other_dtype, rounding_mode: _div_other(
        g, input, other, other_dtype, rounding_mode
    ),
)
define(
    "true_divide",
    input=lambda g, other, input_dtype: _div_input(g, other, input_dtype),
    other=lambda g, input, other, other_dtype: _div_other(g, input, other, other_dtype),
    node="DivBackward0",
)
not_differentiable("floor_divide")
define(
    "fmod",
    input=lambda g: g,
    other=lambda g, input, other: -g * _C.div(input, other, rounding_mode="trunc"),
    node={"": "FmodBackward1", "other": "FmodBackward0"},
)
define(
    "remainder",
    input=lambda g: g,
    other=lambda g, input, other: -g * _C.div(input, other, rounding_mode="floor"),
    node={"": "RemainderBackward1", "other": "RemainderBackward0"},
)


def _pow_input(g, input, exponent, input_dtype):
    if not isinstance(exponent, ctorch.Tensor):
        if exponent == 0:
            return _C.zeros_like(g)
        return _real_if(g * (exponent * input ** (exponent - 1)).conj(), input_dtype)
    slope = _C.where(exponent == 0, _C.zeros_like(input), exponent * input ** (exponent - 1))
    return _real_if(g * slope.conj(), input_dtype)


def _pow_exponent(g, input, exponent, out, exponent_dtype):
    if not isinstance(input, ctorch.Tensor):
        if input == 0:
            slope = (
                _C.where(exponent == 0, _C.zeros_like(out), out * -math.inf)
                if not out.is_complex()
                else _C.zeros_like(out)
            )
            slope = _C.where(exponent > 0, _C.zeros_like(out), slope) if not exponent.is_complex() else slope
            return _real_if(g * slope.conj(), exponent_dtype)
        log = _C.log(_C.scalar_tensor(input, dtype=out.dtype))
        return _real_if(g * (out * log).conj(), exponent_dtype)
    zero = (input == 0) & (exponent.real >= 0 if exponent.is_complex() else exponent >= 0)
    slope = _C.where(zero, _C.zeros_like(out), out * input.log())
    return _real_if(g * slope.conj(), exponent_dtype)


_POW = {"": "PowBackward1", "exponent": "PowBackward0", "input": "PowBackward2"}
define("pow", input=_pow_input, exponent=_pow_exponent, node=_POW)
define("float_power", input=_pow_input, exponent=_pow_exponent, node=_POW)

# ---- two tensors ------------------------------------------------------------------------------------------------------


def _share(g, mine, theirs, better):
    """A gradient to the extreme argument; equal ones share it. A nan takes it all."""
    tie = (mine == theirs) * 0.5
    return g * (tie + (better | mine.isnan()))


define(
    "maximum",
    input=lambda g, input, other: _share(g, input, other, input > other),
    other=lambda g, input, other: _share(g, other, input, other > input),
)
define(
    "minimum",
    input=lambda g, input, other: _share(g, input, other, input < other),
    other=lambda g, input, other: _share(g, other, input, other < input),
)
define(
    "fmax",
    input=lambda g, input, other: g.masked_fill(
        (input >= other).logical_or(other.isnan()).logical_not(), 0.0
    ),
    other=lambda g, input, other: g.masked_fill((input >= other).logical_or(other.isnan()), 0.0),
)
define(
    "fmin",
    input=lambda g, input, other: g.masked_fill(
        (input <= other).logical_or(other.isnan()).logical_not(), 0.0
    ),
    other=lambda g, input, other: g.masked_fill((input <= other).logical_or(other.isnan()), 0.0),
)


def _atan2_scale(g, input, other):
    square = input * input + other * other
    return (g / square).masked_fill(square == 0, 0.0)


define(
    "atan2",
    input=lambda g, input, other: _atan2_scale(g, input, other) * other,
    other=lambda g, input, other: _atan2_scale(g, input, other) * -input,
)
define("hypot", input=lambda g, input, out: g * (input / out), other=lambda g, other, out: g * (other / out))


def _copysign(g, input, out):
    ratio = out / input
    return g * ratio.masked_fill(input == 0, 0.0)


define("copysign", input=_copysign, other=_zero, node={"other": "CopysignBackward1"})
define("nextafter", input=lambda g: g, other=_zero)
define("heaviside", input=None, values=None)
define(
    "logaddexp",
    input=lambda g, input, other: g / (1 + (other - input).exp()),
    other=lambda g, input, other: g / (1 + (input - other).exp()),
)
define(
    "logaddexp2",
    input=lambda g, input, other: g / (1 + (other - input).exp2()),
    other=lambda g, input, other: g / (1 + (input - other).exp2()),
)


def _xlogy_input(g, input, other):
    log = (
        other.log()
        if isinstance(other, ctorch.Tensor)
        else math.log(other)
        if other > 0
        else -math.inf
        if other == 0
        else math.nan
    )
    return (g * log).masked_fill((input == 0) & (other <= 0), 0.0)


define(
    "xlogy",
    input=_xlogy_input,
    other=lambda g, input, other: g * input / other,
    node={"input": "XlogyBackward1", "other": "XlogyBackward2"},
)

# ---- three tensors ----------------------------------------------------------------------------------------------------

define(
    "where",
    condition=None,
    input=lambda g, condition, input_dtype: _real_if(_C.where(condition, g, 0), input_dtype),
    other=lambda g, condition, other_dtype: _real_if(_C.where(condition, 0, g), other_dtype),
)
define(
    "masked_fill",
    input=lambda g, mask: g.masked_fill(mask, 0),
    mask=None,
    value=lambda g, mask: _C.where(mask, g, 0).sum(),
    node={"": "MaskedFillBackward1", "value": "MaskedFillBackward0"},
)
define(
    "lerp",
    input=lambda g, weight: g * (1 - _conj(weight)),
    end=lambda g, weight: g * _conj(weight),
    weight=lambda g, input, end: g * (end - input).conj(),
    node={"": "LerpBackward1", "weight": "LerpBackward0"},
)
define(
    "addcmul",
    input=lambda g, input_dtype: _real_if(g, input_dtype),
    tensor1=lambda g, tensor2, value, tensor1_dtype: _real_if(g * (tensor2 * value).conj(), tensor1_dtype),
    tensor2=lambda g, tensor1, value, tensor2_dtype: _real_if(g * (tensor1 * value).conj(), tensor2_dtype),
)
define(
    "addcdiv",
    input=lambda g, input_dtype: _real_if(g, input_dtype),
    tensor1=lambda g, tensor2, value, tensor1_dtype: _real_if(g * (value / tensor2).conj(), tensor1_dtype),
    tensor2=lambda g, tensor1, tensor2, value, tensor2_dtype: _real_if(
        -g * (value * tensor1 / (tensor2 * tensor2)).conj(), tensor2_dtype
    ),
)


def _clamp_input(g, input, min, max):
    inside = None
    if min is not None:
        inside = input >= min
    if max is not None:
        below = input <= max
        inside = below if inside is None else inside & below
    return _C.where(inside, g, 0)  # type: ignore[arg-type]


def _clamp_min(g, input, min, max):
    wins = input < min
    return _C.where(wins if max is None else wins & (min < max), g, 0)


def _clamp_max(g, input, min, max):
    wins = input > max
    return _C.where(wins if min is None else wins | (max < min), g, 0)


define("clamp", input=_clamp_input, min=_clamp_min, max=_clamp_max, node={"min max": "ClampBackward1"})
define(
    "clamp_min",
    input=lambda g, input, min: _C.where(input >= min, g, 0),
    min=lambda g, input, min: _C.where(input < min, g, 0),
    node={"": "ClampMinBackward1", "min": "ClampMinBackward0"},
)
define(
    "clamp_max",
    input=lambda g, input, max: _C.where(input <= max, g, 0),
    max=lambda g, input, max: _C.where(input > max, g, 0),
    node={"": "ClampMaxBackward1", "max": "ClampMaxBackward0"},
)

# ---- activations ------------------------------------------------------------------------------------------------------

define("relu", input=lambda g, out: _C.threshold_backward(g, out, 0))
define("threshold", input=lambda g, input, threshold: _C.threshold_backward(g, input, threshold))
define(
    "threshold_backward",
    grad_output=lambda g, input, threshold: _C.threshold_backward(g, input, threshold),
    input=_zero,
)
define("leaky_relu", input=lambda g, input, negative_slope: _C.leaky_relu_backward(g, input, negative_slope))
define(
    "leaky_relu_backward",
    grad_output=lambda g, input, negative_slope: _C.leaky_relu_backward(g, input, negative_slope),
    input=_zero,
)
define("hardtanh", input=lambda g, input, min_val, max_val: _C.hardtanh_backward(g, input, min_val, max_val))
define(
    "hardtanh_backward",
    grad_output=lambda g, input, min_val, max_val: _C.hardtanh_backward(g, input, min_val, max_val),
    input=_zero,
)
define("hardsigmoid", input=lambda g, input: _C.hardsigmoid_backward(g, input))
define("hardsigmoid_backward", grad_output=lambda g, saved: _C.hardsigmoid_backward(g, saved), saved=_zero)
define("hardswish", input=lambda g, input: _C.hardswish_backward(g, input))
define(
    "hardswish_backward",
    grad_output=lambda g, saved: _C.hardswish_backward(g, saved),
    saved=lambda g, grad_output, saved: g * grad_output * ((saved > -3) & (saved < 3)) / 3,
)
for _name in ("hardshrink", "softshrink"):
    define(_name, input=lambda g, input, lambd: _C.shrink_backward(g, input, lambd))
define(
    "shrink_backward",
    grad_output=lambda g, input, lambd: _C.shrink_backward(g, input, lambd),
    input=_zero,
)


def _gelu_second(g, grad_output, input, approximate):
    if approximate == "none":
        density = (-0.5 * input * input).exp() * (1 / math.sqrt(2 * math.pi))
        return g * grad_output * density * (2 - input * input)
    beta, kappa = math.sqrt(2 / math.pi), 0.044715
    square = input * input
    t = (beta * (input + kappa * square * input)).tanh()
    slope, curve = beta * (1 + 3 * kappa * square), 6 * beta * kappa * input
    sech = 1 - t * t
    return g * grad_output * sech * (slope + 0.5 * input * (curve - 2 * t * slope * slope))


define("gelu", input=lambda g, input, approximate: _C.gelu_backward(g, input, approximate=approximate))
define(
    "gelu_backward",
    grad_output=lambda g, input, approximate: _C.gelu_backward(g, input, approximate=approximate),
    input=_gelu_second,
)


def _silu_second(g, grad_output, saved):
    s = saved.sigmoid()
    slope = s * (1 - s)
    return g * grad_output * slope * (2 + saved * (1 - 2 * s))


def _silu(g, input):
    if not input.is_complex():
        return _C.silu_backward(g, input)
    s = input.sigmoid()
    return g * (s * (1 + input * (1 - s))).conj()


define("silu", input=_silu)
define("silu_backward", grad_output=lambda g, saved: _C.silu_backward(g, saved), saved=_silu_second)


def _mish_second(g, grad_output, saved):
    t, s = _C.softplus(saved).tanh(), saved.sigmoid()
    sech = 1 - t * t
    # d/dx (t + x s (1 - t^2)), where t' = s (1 - t^2) and s' = s (1 - s)
    return g * grad_output * s * sech * (2 + saved * (1 - s - 2 * t * s))


define("mish", input=lambda g, input: _C.mish_backward(g, input))
define("mish_backward", grad_output=lambda g, saved: _C.mish_backward(g, saved), saved=_mish_second)
define("log_sigmoid", input=lambda g, input: _C.log_sigmoid_backward(g, input), node="LogSigmoidBackward0")
define(
    "log_sigmoid_backward",
    grad_output=lambda g, saved: _C.log_sigmoid_backward(g, saved),
    saved=lambda g, grad_output, saved: (
        -g * grad_output * _C.sigmoid_backward(_C.ones_like(saved), saved.sigmoid())
    ),
)
define("softplus", input=lambda g, input, beta, threshold: _C.softplus_backward(g, input, beta, threshold))


def _softplus_second(g, grad_output, input, beta, threshold):
    s = (input * beta).sigmoid()
    return (g * grad_output * s * (1 - s) * beta).masked_fill(input * beta > threshold, 0.0)


define(
    "softplus_backward",
    grad_output=lambda g, input, beta, threshold: _C.softplus_backward(g, input, beta, threshold),
    input=_softplus_second,
)
define(
    "elu",
    input=lambda g, input, alpha, scale, input_scale: _C.elu_backward(
        g, alpha, scale, input_scale, False, input
    ),
)


def _elu_second(g, grad_output, alpha, scale, input_scale, is_result, saved):
    negative = alpha * scale * input_scale
    curve = input_scale * (saved * input_scale).exp() if not is_result else 1.0 / (alpha * scale)
    return g * grad_output * negative * curve * (saved <= 0)


define(
    "elu_backward",
    grad_output=lambda g, alpha, scale, input_scale, is_result, saved: _C.elu_backward(
        g, alpha, scale, input_scale, is_result, saved
    ),
    saved=_elu_second,
)

not_differentiable(
    "isnan", "isinf", "isfinite", "isposinf", "isneginf", "signbit", "logical_not", "logical_and", "logical_or", "logical_xor",
    "eq", "ne", "lt", "le", "gt", "ge", "isclose", "bitwise_not", "bitwise_and", "bitwise_or", "bitwise_xor",
    "bitwise_left_shift", "bitwise_right_shift", "gcd", "lcm",
)  # fmt: skip
