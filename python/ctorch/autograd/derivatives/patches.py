"""Derivatives of sliding blocks: each of the two operations is the transpose of the other."""

from __future__ import annotations

from ctorch import _C
from ctorch.autograd.registry import define

define(
    "_im2col",
    input=lambda g, input_shape, kernel_size, dilation, padding, stride: _C._col2im(
        g, input_shape[-2:], kernel_size, dilation, padding, stride
    ),
    node="Im2ColBackward0",
)
define(
    "_col2im",
    input=lambda g, kernel_size, dilation, padding, stride: _C._im2col(
        g, kernel_size, dilation, padding, stride
    ),
    node="Col2ImBackward0",
)
