"""Derivatives of normalisations. A plain backward pass runs the fused kernels; one that is itself recorded
(create_graph=True) runs the same formulas as operations that have derivatives.
"""

from __future__ import annotations

import math

import ctorch
from ctorch import _C
from ctorch.autograd.registry import define, not_differentiable


def _scaled(g, weight, shape):
    return g if weight is None else g * weight.reshape(shape)


def _normalised_grad(g, h, scale, dims):
    """The gradient through h = (x - mean(x)) scale, for g that of h."""
    return scale * (g - g.mean(dims, keepdim=True) - h * (g * h).mean(dims, keepdim=True))


# ---- rows ----


def _row_dims(input, normalized_shape):
    first = input.dim() - len(normalized_shape)
    return list(range(first)), list(range(first, input.dim()))


def _sum_rows(t, outer):
    return t.sum(outer) if outer else t


def _layer_norm(g, input, normalized_shape, weight, eps, mean=None, rstd=None):
    if not ctorch.is_grad_enabled():
        return _C.layer_norm_backward(g, input, normalized_shape, mean, rstd, weight, eps)
    outer, inner = _row_dims(input, normalized_shape)
    distance = input - input.mean(inner, keepdim=True)
    scale = ((distance * distance).mean(inner, keepdim=True) + eps).rsqrt()
    h = distance * scale
    dx = _normalised_grad(g if weight is None else g * weight, h, scale, inner)
    return dx, _sum_rows(g * h, outer), _sum_rows(g, outer)


def _layer_norm_formula(g, input, normalized_shape, weight, eps):
    return _layer_norm(g, input, normalized_shape, weight, eps)


define(
    "layer_norm",
    input=_layer_norm_formula,
    weight=_layer_norm_formula,
    bias=_layer_norm_formula,
    node="NativeLayerNormBackward0",
)


# As in PyTorch, no gradient flows through the statistics.
def _native_layer_norm(g, input, normalized_shape, weight, eps, out1, out2):
    return _layer_norm(g, input, normalized_shape, weight, eps, out1.detach(), out2.detach())


define("native_layer_norm", input=_native_layer_norm, weight=_native_layer_norm, bias=_native_layer_norm)


def _rms_norm(g, input, normalized_shape, weight, eps):
    if not ctorch.is_grad_enabled():
        return _C.rms_norm_backward(g, input, normalized_shape, weight, eps)
    outer, inner = _row_dims(input, normalized_shape)
    if eps is None:
        eps = ctorch.finfo(input.dtype).eps
    scale = ((input * input).mean(inner, keepdim=True) + eps).rsqrt()
    h = input * scale
    d = g if weight is None else g * weight
    return scale * (d - h * (d * h).mean(inner, keepdim=True)), _sum_rows(g * h, outer)


define("rms_norm", input=_rms_norm, weight=_rms_norm)


# ---- channels and groups ----


def _batch_norm(g, input, weight, running_mean, running_var, training, eps, save_mean=None, save_invstd=None):
    if not ctorch.is_grad_enabled():
        return _C.batch_norm_backward(
            g, input, weight, running_mean, running_var, save_mean, save_invstd, training, eps
        )
    dims = [d for d in range(input.dim()) if d != 1]
    shape = [1, -1] + [1] * (input.dim() - 2)
    if training:
        distance = input - input.mean(dims, keepdim=True)
        scale = ((distance * distance).mean(dims, keepdim=True) + eps).rsqrt()
    else:
        distance = input - running_mean.reshape(shape)
        scale = (running_var.reshape(shape) + eps).rsqrt()
    h = distance * scale
    d = _scaled(g, weight, shape)
    dx = _normalised_grad(d, h, scale, dims) if training else d * scale
    return dx, (g * h).sum(dims), g.sum(dims)


def _batch_norm_formula(g, input, weight, running_mean, running_var, training, eps):
    return _batch_norm(g, input, weight, running_mean, running_var, training, eps)


def _native_batch_norm(g, input, weight, running_mean, running_var, training, eps, out1, out2):
    return _batch_norm(
        g, input, weight, running_mean, running_var, training, eps, out1.detach(), out2.detach()
    )


define(
    "batch_norm",
    input=_batch_norm_formula,
    weight=_batch_norm_formula,
    bias=_batch_norm_formula,
    node="NativeBatchNormBackward0",
)
define("native_batch_norm", input=_native_batch_norm, weight=_native_batch_norm, bias=_native_batch_norm)


def _group_norm(g, input, weight, groups, eps, mean=None, rstd=None):
    if not ctorch.is_grad_enabled():
        return _C.group_norm_backward(g, input, mean, rstd, weight, groups, eps)
    n, c = input.shape[:2]
    shape = [1, c] + [1] * (input.dim() - 2)
    rows = input.reshape(n, groups, c // groups * math.prod(input.shape[2:]))
    distance = rows - rows.mean(2, keepdim=True)
    scale = ((distance * distance).mean(2, keepdim=True) + eps).rsqrt()
    h = distance * scale
    d = _scaled(g, weight, shape).reshape(rows.shape)
    dx = _normalised_grad(d, h, scale, [2]).reshape(input.shape)
    dims = [k for k in range(input.dim()) if k != 1]
    return dx, (g * h.reshape(input.shape)).sum(dims), g.sum(dims)


def _group_norm_formula(g, input, num_groups, weight, eps):
    return _group_norm(g, input, weight, num_groups, eps)


def _native_group_norm(g, input, weight, N, C, HxW, group, eps, out1, out2):
    statistics = out1.detach(), out2.detach()
    if input.shape[:2] == (N, C):
        return _group_norm(g, input, weight, group, eps, *statistics)
    dx, dw, db = _group_norm(g.reshape(N, C, HxW), input.reshape(N, C, HxW), weight, group, eps, *statistics)
    return dx.reshape(input.shape), dw, db


define(
    "group_norm",
    input=_group_norm_formula,
    weight=_group_norm_formula,
    bias=_group_norm_formula,
    node="NativeGroupNormBackward0",
)
define(
    "native_group_norm",
    input=_native_group_norm,
    weight=_native_group_norm,
    bias=_native_group_norm,
    node="NativeGroupNormBackward0",
)
not_differentiable("layer_norm_backward", "rms_norm_backward", "batch_norm_backward", "group_norm_backward")
