"""Sliding blocks: the patches of images as columns, and images as sums of patches."""

from __future__ import annotations

from collections.abc import Sequence

from .. import _C
from .._C import Tensor

Pair = int | Sequence[int]


def _pair(op: str, name: str, value: Pair, least: int) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) == 1:
        pair = pair * 2
    if len(pair) != 2 or min(pair) < least:
        raise RuntimeError(f"{op}: expected {name} to be one int or two, at least {least}, got {value}")
    return pair


class _Blocks:
    """The geometry of the blocks, checked."""

    def __init__(
        self, op: str, size: Sequence[int], kernel: Pair, dilation: Pair, padding: Pair, stride: Pair
    ) -> None:
        self.kernel = _pair(op, "kernel_size", kernel, 1)
        self.dilation = _pair(op, "dilation", dilation, 1)
        self.stride = _pair(op, "stride", stride, 1)
        ph, pw = _pair(op, "padding", padding, 0)
        self.widths = [pw, pw, ph, ph]  # as constant_pad_nd takes them
        self.padded = size[0] + 2 * ph, size[1] + 2 * pw
        self.extent = tuple(d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel))
        self.count = tuple((n - e) // s + 1 for n, e, s in zip(self.padded, self.extent, self.stride))
        if min(self.count) < 1:
            raise RuntimeError(
                f"{op}: blocks of kernel_size {self.kernel} and dilation {self.dilation} do not fit into "
                f"{tuple(size)} with padding {(ph, pw)}"
            )


def unfold(
    input: Tensor, kernel_size: Pair, dilation: Pair = 1, padding: Pair = 0, stride: Pair = 1
) -> Tensor:
    """Return the sliding blocks of ``input`` as columns.

    Args:
        input: (N, C, H, W) or (C, H, W).
        kernel_size, dilation, stride: of the blocks; an int or a pair.
        padding: zeros added on each side first.
    Returns: (N, C * kH * kW, L) or (C * kH * kW, L), L being the number of blocks.
    Raises: RuntimeError if no block fits.
    """
    if input.dim() not in (3, 4) or 0 in input.shape[-3:]:
        raise RuntimeError(
            "unfold: expected a 3D or 4D input with possibly 0 batch size and other non-zero dimensions, got "
            f"shape {tuple(input.shape)}"
        )
    blocks = _Blocks("unfold", input.shape[-2:], kernel_size, dilation, padding, stride)
    x = input if input.dim() == 4 else input.unsqueeze(0)
    x = _C.constant_pad_nd(x, blocks.widths) if any(blocks.widths) else x
    for d in (0, 1):
        x = x.unfold(2 + d, blocks.extent[d], blocks.stride[d])
    x = x[..., :: blocks.dilation[0], :: blocks.dilation[1]].permute(0, 1, 4, 5, 2, 3)
    n, c, kh, kw, lh, lw = x.shape
    result = x.reshape(n, c * kh * kw, lh * lw)
    return result if input.dim() == 4 else result.squeeze(0)


def _spread(x: Tensor, dim: int, step: int) -> Tensor:
    """Zeros between the elements of one of the last two dims, which then lie ``step`` apart."""
    if step == 1:
        return x
    size = x.size(dim)
    wide = _C.constant_pad_nd(
        x.unsqueeze(-1 if dim == -1 else -2), [0, step - 1] if dim == -1 else [0, 0, 0, step - 1]
    )
    return wide.flatten(*((-2, -1) if dim == -1 else (-3, -2))).narrow(dim, 0, step * (size - 1) + 1)


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
        input: (N, C * kH * kW, L) or (C * kH * kW, L).
        output_size: (H, W), the size that was unfolded; the other arguments are those of ``unfold``.
    Returns: (N, C, H, W) or (C, H, W).
    Raises: RuntimeError if ``input`` does not have as many rows or columns as the blocks need.
    """
    size = _pair("fold", "output_size", output_size, 1)
    shape = tuple(input.shape)
    if input.dim() not in (2, 3) or 0 in shape[-2:]:
        raise RuntimeError(
            f"fold: expected a 2D or 3D input with possibly 0 batch size and other non-zero dimensions, got {shape}"
        )
    if not (input.is_floating_point() or input.is_complex() or input.dtype is _C.bool):
        raise NotImplementedError(f"fold: not implemented for dtype {input.dtype}")
    blocks = _Blocks("fold", size, kernel_size, dilation, padding, stride)
    (kh, kw), (lh, lw) = blocks.kernel, blocks.count
    if shape[-2] % (kh * kw) or shape[-1] != lh * lw:
        raise RuntimeError(
            f"fold: output_size {size}, kernel_size {blocks.kernel}, dilation {blocks.dilation}, padding "
            f"{padding} and stride {blocks.stride} need a multiple of {kh * kw} rows and {lh} * {lw} columns, "
            f"got input {shape}"
        )
    n = 1 if input.dim() == 2 else shape[0]
    c = shape[-2] // (kh * kw)
    x = input.reshape(n, c, kh, kw, lh, lw).permute(0, 1, 4, 5, 2, 3)
    x = _spread(_spread(x, -1, blocks.dilation[1]), -2, blocks.dilation[0])
    (hp, wp), (eh, ew), (sh, sw) = blocks.padded, blocks.extent, blocks.stride
    x = _C._unfold_backward(x, (n, c, lh, wp, eh), 3, ew, sw)
    x = _C._unfold_backward(x, (n, c, hp, wp), 2, eh, sh)
    result = _C.constant_pad_nd(x, [-w for w in blocks.widths]) if any(blocks.widths) else x
    return result if input.dim() == 3 else result.squeeze(0)
