"""Sliding blocks: the patches of images as columns, and images as sums of patches."""

from __future__ import annotations

from collections.abc import Sequence

from .. import _C
from .._C import Tensor

Pair = int | Sequence[int]


def unfold(
    input: Tensor, kernel_size: Pair, dilation: Pair = 1, padding: Pair = 0, stride: Pair = 1
) -> Tensor:
    """Return the sliding blocks of ``input`` as columns.

    Args:
        input: (N, C, H, W) or (C, H, W), not of integers.
        kernel_size, dilation, stride: of the blocks; an int or a pair.
        padding: zeros added on each side first.
    Returns: (N, C * kH * kW, L) or (C * kH * kW, L), L being the number of blocks.
    Raises: RuntimeError if no block fits.
    """
    return _C._im2col(input, kernel_size, dilation, padding, stride)


def fold(
    input: Tensor,
    output_size: Pair,
    kernel_size: Pair,
    dilation: Pair = 1,
    padding: Pair = 0,
    stride: Pair = 1,
) -> Tensor:
    """Return the sum of sliding blocks at their places: the transpose of ``unfold``.

    Args:
        input: (N, C * kH * kW, L) or (C * kH * kW, L), not of integers.
        output_size: (H, W), the size that was unfolded; the other arguments are those of ``unfold``.
    Returns: (N, C, H, W) or (C, H, W).
    Raises: RuntimeError if ``input`` does not have as many rows or columns as the blocks need.
    """
    return _C._col2im(input, output_size, kernel_size, dilation, padding, stride)
