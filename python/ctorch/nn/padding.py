"""Padding: elements added at the ends of dimensions."""

from __future__ import annotations

from collections.abc import Sequence

from .. import _C
from .._C import Tensor


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Add elements at both ends of the last dimensions.

    Args:
        pad: (before, after) of the last dimension, then of the one before it, and so on. Negative numbers
            take elements away.
        mode: "constant", "reflect" (mirrored at the end element), "replicate" (the end element) or
            "circular". The last three pad 1 to 3 dimensions, all but the one or two leading ones.
        value: the constant; 0 if None.
    Raises: NotImplementedError for another mode or number of dimensions; RuntimeError where the input is too
        small for the padding.
    """
    if len(pad) % 2 != 0:
        raise RuntimeError("Padding length must be divisible by 2")
    if len(pad) > 2 * input.dim():
        raise RuntimeError(
            "Padding length should be less than or equal to two times the input dimension but got "
            "padding length "
            f"{len(pad)} and input of dimension {input.dim()}"
        )
    if mode == "constant":
        return _C.constant_pad_nd(input, pad, 0 if value is None else value)
    if value is not None and value != 0:
        raise RuntimeError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    _check_combination(input, pad, mode)
    _check_sizes(input, pad, mode)
    grow, crop = [max(width, 0) for width in pad], [min(width, 0) for width in pad]
    if mode == "circular":  # what is taken away does not come back at the other end
        if 0 in _padded(input, pad):
            return _C.constant_pad_nd(input, pad)
        input = _C.constant_pad_nd(input, crop) if any(crop) else input
        return _C._edge_pad(input, grow, mode) if any(grow) else input
    input = _C._edge_pad(input, grow, mode) if any(grow) else input
    return _C.constant_pad_nd(input, crop) if any(crop) else input


def _check_combination(input: Tensor, pad: Sequence[int], mode: str) -> None:
    """As in PyTorch, the modes other than "constant" pad all but the one or two leading dimensions."""
    spatial = len(pad) // 2
    if spatial not in (1, 2, 3) or input.dim() - spatial not in (1, 2):
        raise NotImplementedError(
            f"pad: mode {mode} pads the last 1, 2 or 3 dimensions after one or two leading ones, got padding of "
            f"length {len(pad)} and input of shape {tuple(input.shape)}"
        )
    if 0 in input.shape[-spatial - 1 :]:
        raise RuntimeError(
            f"pad: mode {mode} needs non-zero dimensions other than the batch, got input of shape "
            f"{tuple(input.shape)}"
        )
    if mode != "circular" and input.dtype is _C.bool:
        raise NotImplementedError(f"pad: mode {mode} is not implemented for dtype bool")


def _padded(input: Tensor, pad: Sequence[int]) -> list[int]:
    """The new sizes of the padded dimensions, from the last on."""
    return [input.size(-1 - i) + pad[2 * i] + pad[2 * i + 1] for i in range(len(pad) // 2)]


def _check_sizes(input: Tensor, pad: Sequence[int], mode: str) -> None:
    for i, padded in enumerate(_padded(input, pad)):
        size, widths = input.size(-1 - i), (pad[2 * i], pad[2 * i + 1])
        limit = {"reflect": size - 1, "circular": size}.get(mode)
        if limit is not None and max(widths) > limit:
            raise RuntimeError(
                f"pad: mode {mode} adds at most {limit} elements to a dimension of size {size}, got {widths}"
            )
        if padded < (0 if mode == "circular" else 1):
            raise RuntimeError(
                f"pad: a dimension of size {size} is too small for padding {widths}: the result would have "
                f"size {padded}"
            )
