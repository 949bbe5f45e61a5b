"""Derivatives of resampling, whose gradient is its transpose. Its tables are constants."""

from __future__ import annotations

from ctorch import _C
from ctorch.autograd.registry import define

define(
    "_resample",
    input=lambda g, positions, weights, dim, input_shape: _C._resample_backward(
        g, positions, weights, dim, input_shape[dim]
    ),
    positions=None,
    weights=None,
)
define(
    "_resample_backward",
    grad_output=lambda g, positions, weights, dim: _C._resample(g, positions, weights, dim),
    positions=None,
    weights=None,
)
