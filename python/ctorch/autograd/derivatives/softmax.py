"""Derivatives of softmax and log_softmax, and of their gradients."""

from __future__ import annotations

from ctorch import _C
from ctorch.autograd.registry import define

define(
    "softmax",
    input=lambda g, out, dim, input_dtype: _C._softmax_backward_data(g, out, dim, input_dtype),
)
define(
    "log_softmax",
    input=lambda g, out, dim, input_dtype: _C._log_softmax_backward_data(g, out, dim, input_dtype),
)


def _dot(a, b, dim):
    return (a * b).sum(dim, keepdim=True)


define(
    "_softmax_backward_data",
    grad_output=lambda g, output, dim, grad_output_dtype: _C._softmax_backward_data(
        g, output, dim, grad_output_dtype
    ),
    output=lambda g, grad_output, output, dim: (
        g * grad_output - g * _dot(grad_output, output, dim) - grad_output * _dot(g, output, dim)
    ),
)
define(
    "_log_softmax_backward_data",
    grad_output=lambda g, output, dim: g - _dot(g, output.exp(), dim),
    output=lambda g, grad_output, output, dim: -g * output.exp() * grad_output.sum(dim, keepdim=True),
)
