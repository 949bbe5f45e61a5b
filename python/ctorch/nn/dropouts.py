"""Dropout: elements or channels left out at random, with PyTorch's random numbers."""

from __future__ import annotations

import math
import warnings

from .. import _C
from .._C import Tensor
from .inplace import maybe_inplace


def _check_probability(p: float) -> None:
    if p < 0.0 or p > 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """While ``training``, set elements to 0 with probability ``p`` and divide the others by 1 - p."""
    _check_probability(p)
    return maybe_inplace(inplace, _C.dropout, input, p, training)


def _channel_noise(input: Tensor) -> Tensor:
    """Room for a number for each channel, (N, C, 1, ...)."""
    if input.dim() < 2:
        raise RuntimeError("Feature dropout requires at least 2 dimensions in the input")
    return input.new_empty([*input.shape[:2]] + [1] * (input.dim() - 2))


def _dropout_channels(input: Tensor, p: float, training: bool) -> Tensor:
    if not training or p == 0 or input.numel() == 0:
        return input
    if p == 1:
        return input * 0
    return input * _channel_noise(input).bernoulli_(1 - p).div_(1 - p)


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Dropout of whole channels: of (N, C, L) or (C, L)."""
    _check_probability(p)
    if input.dim() not in (2, 3):
        raise RuntimeError(f"dropout1d: Expected 2D or 3D input, but received a {input.dim()}D input.")
    batched = input if input.dim() == 3 else input.unsqueeze(0)
    result = maybe_inplace(inplace, _dropout_channels, batched, p, training)
    return result if input.dim() == 3 else result.squeeze(0)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Dropout of whole channels of (N, C, H, W); as PyTorch has it, (N, C, L) is taken too."""
    _check_probability(p)
    if input.dim() not in (3, 4):
        warnings.warn(
            f"dropout2d: Received a {input.dim()}-D input to dropout2d, which is deprecated "
            "and will result in an error in a future release.",
            stacklevel=2,
        )
    return maybe_inplace(inplace, _dropout_channels, input, p, training)


def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Dropout of whole channels: of (N, C, D, H, W) or (C, D, H, W)."""
    _check_probability(p)
    if input.dim() not in (4, 5):
        warnings.warn(
            f"dropout3d: Received a {input.dim()}-D input to dropout3d, which is deprecated "
            "and will result in an error in a future release.",
            stacklevel=2,
        )
    batched = input if input.dim() == 5 else input.unsqueeze(0)
    result = maybe_inplace(inplace, _dropout_channels, batched, p, training)
    return result if input.dim() == 5 else result.squeeze(0)


_ALPHA = 1.7580993408473766  # selu's value at minus infinity, with the opposite sign: its scale times alpha


def _alpha(input: Tensor, p: float, training: bool, channels: bool) -> Tensor:
    """What is left out becomes -_ALPHA; a scale and a shift keep mean 0 and variance 1."""
    if not training or p == 0 or input.numel() == 0:
        return input
    if p == 1:
        return input * 0
    kept = (_channel_noise(input) if channels else _C.empty_like(input)).bernoulli_(1 - p)
    scale = 1 / math.sqrt((_ALPHA * _ALPHA * p + 1) * (1 - p))
    shift = (kept - 1).mul_(_ALPHA * scale).add_(_ALPHA * scale * p)
    return input * kept.mul_(scale) + shift


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropout that keeps mean 0 and variance 1, for networks of selu().

    Args:
        p: the probability that an element becomes selu's value at minus infinity; then all are scaled and
            shifted.
    Raises: ValueError for a ``p`` outside [0, 1].
    """
    _check_probability(p)
    return maybe_inplace(inplace, _alpha, input, p, training, False)


def feature_alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """alpha_dropout() of whole channels, of (N, C, ...)."""
    _check_probability(p)
    return maybe_inplace(inplace, _alpha, input, p, training, True)
