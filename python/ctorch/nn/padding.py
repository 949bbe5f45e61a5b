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
    for i in range(len(pad) // 2):
        dim, before, after = input.dim() - 1 - i, pad[2 * i], pad[2 * i + 1]
        if before or after:
            input = input.index_select(dim, _pad_index(input.size(dim), before, after, mode))
    return input


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


def _pad_index(size: int, before: int, after: int, mode: str) -> Tensor:
    """Which element stands at each place of the padded dimension."""
    limit = {"reflect": size - 1, "circular": size}.get(mode)
    if limit is not None and max(before, after) > limit:
        raise RuntimeError(
            f"pad: mode {mode} adds at most {limit} elements to a dimension of size {size}, got "
            f"({before}, {after})"
        )
    least = 0 if mode == "circular" else 1
    if size + before + after < least:
        raise RuntimeError(
            f"pad: a dimension of size {size} is too small for padding ({before}, {after}): the result would "
            f"have size {size + before + after}"
        )
    index = _C.arange(-before, size + after)
    if mode == "circular":  # what is taken away does not come back at the other end
        first, last = max(-before, 0), size - max(-after, 0)
        return (index - first).remainder(last - first) + first
    if mode == "replicate":
        return index.clamp(0, size - 1)
    return (size - 1) - ((size - 1) - index.abs()).abs()
