"""Pools: the largest element, the mean or the norm of windows, and the way back from the largest elements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, prod
from typing import Any

from .. import _C
from .._C import Tensor

Sizes = int | Sequence[int]

avg_pool3d = _C.avg_pool3d


def max_pool1d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Return the largest element in each window over the last dimension; see ``max_pool2d``."""
    stride = kernel_size if stride is None else stride
    pool = _C.max_pool1d_with_indices if return_indices else _C.max_pool1d
    return pool(input, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool2d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Return the largest element in each window over the last two dimensions.

    Args:
        stride: distance of the windows; the kernel size if None.
        padding: elements of minus infinity added on each side, at most half the kernel.
        ceil_mode: keep windows that reach over the end.
        return_indices: return also where in the (H, W) plane each maximum stands.
    """
    stride = kernel_size if stride is None else stride
    pool = _C.max_pool2d_with_indices if return_indices else _C.max_pool2d
    return pool(input, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool3d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Return the largest element in each window over the last three dimensions; see ``max_pool2d``."""
    stride = kernel_size if stride is None else stride
    if return_indices:
        return _C.max_pool3d_with_indices(input, kernel_size, stride, padding, dilation, ceil_mode)
    return _C.max_pool3d(input, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool1d_with_indices(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Tensor, Tensor]:
    """``max_pool1d`` with ``return_indices``, which has no effect here."""
    return max_pool1d(input, kernel_size, stride, padding, dilation, ceil_mode, True)


def max_pool2d_with_indices(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Tensor, Tensor]:
    """``max_pool2d`` with ``return_indices``, which has no effect here."""
    return max_pool2d(input, kernel_size, stride, padding, dilation, ceil_mode, True)


def max_pool3d_with_indices(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Tensor, Tensor]:
    """``max_pool3d`` with ``return_indices``, which has no effect here."""
    return max_pool3d(input, kernel_size, stride, padding, dilation, ceil_mode, True)


def avg_pool1d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Return the mean of each window over the last dimension; see ``avg_pool2d``."""
    stride = kernel_size if stride is None else stride
    return _C.avg_pool1d(input, kernel_size, stride, padding, ceil_mode, count_include_pad)


def avg_pool2d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    out: Tensor | None = None,
) -> Tensor:
    """Return the mean of each window over the last two dimensions.

    Args:
        stride: distance of the windows; the kernel size if None.
        padding: zeros added on each side, at most half the kernel.
        ceil_mode: keep windows that reach over the end.
        count_include_pad: the padding's zeros count as elements.
        divisor_override: divide by this number and not by the number of elements.
    """
    stride = kernel_size if stride is None else stride
    return _C.avg_pool2d(
        input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, out=out
    )


# Windows chosen by the size of the result --------------------------------------------------------------------


def _sizes(input: Tensor, output_size: Any) -> Any:
    """``output_size`` with the input's size where it has None."""
    if isinstance(output_size, int):
        return output_size
    if input.dim() <= len(output_size):
        raise ValueError(f"Input dimension should be at least {len(output_size) + 1}")
    return [n if n is not None else input.size(i - len(output_size)) for i, n in enumerate(output_size)]


def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """Return the means over windows chosen so that the last dimension has ``output_size``."""
    return _C.adaptive_avg_pool1d(input, output_size)


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Return the means over windows chosen so that the last two dimensions have ``output_size``.

    Args:
        output_size: an int or a pair; None keeps the input's size.
    """
    return _C.adaptive_avg_pool2d(input, _sizes(input, output_size))


def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """Return the means over windows chosen so that the last three dimensions have ``output_size``."""
    return _C.adaptive_avg_pool3d(input, _sizes(input, output_size))


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Return the maxima of windows chosen so that the last dimension has ``output_size``."""
    result = _C.adaptive_max_pool1d(input, output_size)
    return result if return_indices else result[0]


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Return the maxima of windows chosen so that the last two dimensions have ``output_size``.

    Args:
        output_size: an int or a pair; None keeps the input's size.
        return_indices: return also where in the (H, W) plane each maximum stands.
    """
    result = _C.adaptive_max_pool2d(input, _sizes(input, output_size))
    return result if return_indices else result[0]


def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Return the maxima of windows chosen so that the last three dimensions have ``output_size``."""
    result = _C.adaptive_max_pool3d(input, _sizes(input, output_size))
    return result if return_indices else result[0]


def adaptive_max_pool1d_with_indices(
    input: Tensor, output_size: Any, return_indices: bool = False
) -> tuple[Tensor, Tensor]:
    """``adaptive_max_pool1d`` with ``return_indices``, which has no effect here."""
    return adaptive_max_pool1d(input, output_size, True)


def adaptive_max_pool2d_with_indices(
    input: Tensor, output_size: Any, return_indices: bool = False
) -> tuple[Tensor, Tensor]:
    """``adaptive_max_pool2d`` with ``return_indices``, which has no effect here."""
    return adaptive_max_pool2d(input, output_size, True)


def adaptive_max_pool3d_with_indices(
    input: Tensor, output_size: Any, return_indices: bool = False
) -> tuple[Tensor, Tensor]:
    """``adaptive_max_pool3d`` with ``return_indices``, which has no effect here."""
    return adaptive_max_pool3d(input, output_size, True)


# The way back ------------------------------------------------------------------------------------------------


def _per_dim(value: Sizes, n: int) -> list[int]:
    return [value] * n if isinstance(value, int) else list(value)


def _unpooled_size(
    input: Tensor, kernel: list[int], stride: list[int], padding: list[int], output_size: Sequence[int] | None
) -> list[int]:
    n = len(kernel)
    usual = [(x - 1) * s + k - 2 * p for x, s, k, p in zip(input.shape[-n:], stride, kernel, padding)]
    if output_size is None:
        return usual
    size = list(output_size)
    if len(size) == n + 2:
        size = size[2:]
    if len(size) != n:
        raise ValueError(
            f"output_size should be a sequence containing {n} or {n + 2} elements, but it has a length of "
            f"'{len(size)}'"
        )
    for d, (want, middle, s) in enumerate(zip(size, usual, stride)):
        if not middle - s < want < middle + s:
            raise ValueError(
                f'invalid output_size "{output_size}" (dim {d} must be between {middle - s} and {middle + s})'
            )
    return size


def _max_unpool(
    n: int,
    input: Tensor,
    indices: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    output_size: Sequence[int] | None,
) -> Tensor:
    op = f"max_unpool{n}d"
    if input.dim() not in (n + 1, n + 2):
        raise RuntimeError(
            f"{op}: expected an input of {n + 1} or {n + 2} dims, got shape {tuple(input.shape)}"
        )
    if not input.is_floating_point():
        raise NotImplementedError(f"{op}: not implemented for dtype {input.dtype}")
    if indices.dtype is not _C.int64:
        raise RuntimeError(f"{op}: expected indices of dtype int64, got {indices.dtype}")
    if indices.shape != input.shape:
        raise RuntimeError(
            f"{op}: expected indices of the shape of input, {tuple(input.shape)}, got {tuple(indices.shape)}"
        )
    if 0 in input.shape[-n - 1 :]:
        raise RuntimeError(
            f"{op}: expected non-zero dimensions other than the batch, got input {tuple(input.shape)}"
        )
    kernel = _per_dim(kernel_size, n)
    steps = kernel if stride is None else _per_dim(stride, n)
    if min(steps) <= 0:
        raise RuntimeError(f"{op}: strides should be greater than zero, got {steps}")
    size = _unpooled_size(input, kernel, steps, _per_dim(padding, n), output_size)
    zeros = input.new_zeros((*input.shape[:-n], prod(size)))
    placed = zeros.scatter(-1, indices.flatten(-n), input.flatten(-n))
    return placed.reshape(*input.shape[:-n], *size)


def max_unpool1d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Return zeros with ``input`` where it stood before ``max_pool1d``; see ``max_unpool2d``."""
    return _max_unpool(1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Return zeros with the elements of ``input`` where they stood before ``max_pool2d``.

    Args:
        input: (N, C, H, W) or (C, H, W), what the pool gave.
        indices: of the same shape, int64: where in the (H', W') plane each element stood.
        kernel_size, stride, padding: those of the pool.
        output_size: (H', W'), with or without the leading dims; unless given the smallest that fits.
    Raises: ValueError for an ``output_size`` that the pool does not bring to that of ``input``; RuntimeError
        for indices outside the plane or shapes that do not fit.
    """
    return _max_unpool(2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Return zeros with ``input`` where it stood before ``max_pool3d``; see ``max_unpool2d``."""
    return _max_unpool(3, input, indices, kernel_size, stride, padding, output_size)


# Norms of windows --------------------------------------------------------------------------------------------


def _lp_pool(
    max_pool: Callable[..., Tensor],
    avg_pool: Callable[..., Tensor],
    n: int,
    input: Tensor,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None,
    ceil_mode: bool,
) -> Tensor:
    if norm_type == inf:
        return max_pool(input.abs(), kernel_size, stride, 0, 1, ceil_mode)
    if norm_type == -inf:
        return -max_pool(-input.abs(), kernel_size, stride, 0, 1, ceil_mode)
    stride = kernel_size if stride is None else stride
    mean = avg_pool(input.pow(norm_type), kernel_size, stride, 0, ceil_mode)
    # As in PyTorch the gradient is 0 where the sum is 0.
    return (mean.sign() * mean.abs().relu()).mul(prod(_per_dim(kernel_size, n))).pow(1.0 / norm_type)


def lp_pool1d(
    input: Tensor,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """Return (sum of x ** norm_type) ** (1 / norm_type) of each window over the last dimension.

    ``stride`` is the kernel's size unless given; ``ceil_mode`` keeps windows that reach over the end.
    """
    pools = max_pool1d, avg_pool1d
    return _lp_pool(*pools, 1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(
    input: Tensor,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """Return (sum of x ** norm_type) ** (1 / norm_type) of each window over the last two dimensions.

    ``stride`` is the kernel's size unless given; ``ceil_mode`` keeps windows that reach over the end.
    """
    pools = max_pool2d, avg_pool2d
    return _lp_pool(*pools, 2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(
    input: Tensor,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """Return (sum of x ** norm_type) ** (1 / norm_type) of each window over the last three dimensions.

    ``stride`` is the kernel's size unless given; ``ceil_mode`` keeps windows that reach over the end.
    """
    pools = max_pool3d, avg_pool3d
    return _lp_pool(*pools, 3, input, norm_type, kernel_size, stride, ceil_mode)
