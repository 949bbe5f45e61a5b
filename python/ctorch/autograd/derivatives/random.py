"""Derivatives of random operations: what is drawn does not depend on what was there before."""

from __future__ import annotations

from ctorch import _C
from ctorch.autograd.registry import define, not_differentiable


def _zero(g):
    return _C.zeros_like(g)


for _fill in ("uniform_", "normal_", "exponential_", "geometric_", "log_normal_", "cauchy_"):
    define(_fill, input=_zero)
define("random_", input=_zero, node="RandomBackward2")
define("random_.to", input=_zero, node="RandomBackward1")
define("random_.from", input=_zero, node="RandomBackward0")
define("bernoulli_.Tensor", input=_zero, p=_zero, node="BernoulliBackward1")
define("bernoulli_.float", input=_zero, node="BernoulliBackward2")
define("bernoulli", input=_zero)
define("normal.Tensor_float", mean=_zero, node="NormalBackward1")
define("normal.float_Tensor", std=_zero, node="NormalBackward2")
define("normal.Tensor_Tensor", mean=_zero, std=_zero, node="NormalBackward3")
not_differentiable("rand_like", "randn_like", "randint_like", "multinomial")

# dropout() itself calls _dropout() through the door, which has the mask.
not_differentiable("dropout")
define("_dropout", input=lambda g, out1, p: _C._dropout_scale(g, out1, p), node="MulBackward0")
define("_dropout_scale", input=lambda g, mask, p: _C._dropout_scale(g, mask, p), node="MulBackward0")


def _native_dropout_backward(g, out1, p, train):
    if train is False:
        return g
    return _C.native_dropout_backward(g, out1, 0.0 if p == 1 else 1 / (1 - p))


define("native_dropout", input=_native_dropout_backward)
define(
    "native_dropout_backward",
    grad_output=lambda g, mask, scale: _C.native_dropout_backward(g, mask, scale),
    node="NativeDropoutBackwardBackward0",
)
