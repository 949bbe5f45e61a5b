"""Derivatives of padding by a tensor's own elements: a linear map and its transpose."""

from __future__ import annotations

from ctorch import _C
from ctorch.autograd.registry import define

define("_edge_pad", input=lambda g, pad, mode: _C._edge_pad_backward(g, pad, mode))
define("_edge_pad_backward", grad_output=lambda g, pad, mode: _C._edge_pad(g, pad, mode))
