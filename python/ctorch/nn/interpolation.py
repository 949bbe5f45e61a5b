"""Interpolation: images of another size. Every mode is separable: one dim after the other is resampled."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from .. import _C
from .._C import Tensor
from .pools import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d

_NEAREST = ("nearest", "nearest-exact")
_LINEAR = {"linear": 3, "bilinear": 4, "trilinear": 5}
_SMOOTH = {**_LINEAR, "bicubic": 4, "lanczos": 4}  # to the number of dims that each takes


def _triangle(x: Tensor) -> Tensor:
    return (1 - x.abs()).clamp(min=0)


def _cubic(x: Tensor, a: float) -> Tensor:
    """The convolution kernel of Keys, IEEE Trans. ASSP 29 (1981), equation 15, with -1/2 as ``a``."""
    x = x.abs()
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return _C.where(x <= 1, near, _C.where(x < 2, far, _C.zeros_like(x)))


def _lanczos(x: Tensor) -> Tensor:
    turn = x * math.pi
    waves = turn.sin() * (turn / 3).sin() * 3 / (turn * turn)
    return _C.where(x == 0, _C.ones_like(x), _C.where(x.abs() < 3, waves, _C.zeros_like(x)))


# With antialiasing: half of the filter's width, and the filter.
_FILTERS: dict[str, tuple[float, Callable[[Tensor], Tensor]]] = {
    "bilinear": (1.0, _triangle),
    "bicubic": (2.0, lambda x: _cubic(x, -0.5)),
    "lanczos": (3.0, _lanczos),
}


def _scale(size: int, new_size: int, factor: float | None, align_corners: bool) -> float:
    """The distance of two results in elements of the input."""
    if align_corners:
        return (size - 1) / (new_size - 1) if new_size > 1 else 0.0
    return 1 / factor if factor is not None and factor > 0 else size / new_size


def _centres(count: int, scale: float, dtype: Any, align_corners: bool) -> Tensor:
    """Where the results stand among the elements of the input."""
    places = _C.arange(count, dtype=dtype)
    return places * scale if align_corners else (places + 0.5) * scale - 0.5


def _nearest_positions(mode: str, size: int, new_size: int, factor: float | None, image: bool) -> Tensor:
    if image and new_size in (size, 2 * size):  # of images alone PyTorch takes the rounded factor here
        factor = None
    # In float32 whatever the input, as in PyTorch: a quotient may fall on the other side of an integer.
    places = _C.arange(new_size, dtype=_C.float32)
    if mode == "nearest-exact":
        places = places + 0.5
    places = places * _scale(size, new_size, factor, False)
    return places.floor().to(_C.int64).clamp(max=size - 1)


def _linear_table(size: int, new_size: int, scale: float, dtype: Any, align_corners: bool) -> Any:
    if size == new_size:
        first = _C.arange(size)
        return first.unsqueeze(1), _C.ones(size, 1, dtype=dtype)
    at = _centres(new_size, scale, dtype, align_corners).clamp(min=0)
    first = at.to(_C.int64).clamp(max=size - 1)
    share = (at - first.to(dtype)).clamp(0, 1)
    positions = _C.stack([first, (first + 1).clamp(max=size - 1)], 1)
    return positions, _C.stack([1 - share, share], 1)


def _cubic_table(size: int, new_size: int, scale: float, dtype: Any, align_corners: bool) -> Any:
    at = _centres(new_size, scale, dtype, align_corners)
    first = at.floor()
    share = (at - first).clamp(0, 1)
    steps = _C.arange(-1, 3)
    positions = (first.to(_C.int64).unsqueeze(1) + steps).clamp(0, size - 1)
    return positions, _cubic(share.unsqueeze(1) - steps.to(dtype), -0.75)


def _filter_table(mode: str, size: int, new_size: int, scale: float, dtype: Any) -> Any:
    """All elements under the filter, which is stretched where the result is smaller."""
    half, weigh = _FILTERS[mode]
    stretch = max(scale, 1.0)
    centre = ((_C.arange(new_size, dtype=dtype) + 0.5) * scale).unsqueeze(1)
    first = (centre - half * stretch + 0.5).to(_C.int64).clamp(min=0)
    last = (centre + half * stretch + 0.5).to(_C.int64).clamp(max=size)
    positions = first + _C.arange(min(math.ceil(half * stretch) * 2 + 1, size))
    weights = weigh((positions.to(dtype) - centre + 0.5) * (1 / stretch))
    weights = _C.where(positions < last, weights, _C.zeros_like(weights))
    return positions.clamp(max=size - 1), weights / weights.sum(1, keepdim=True)


def _rounded(x: Tensor, positions: Tensor, weights: Tensor, dim: int) -> Tensor:
    """Resampled bytes, as PyTorch has them: weights of 16 bits, and bytes again after every dim."""
    for tap in range(weights.size(1) - 1):  # beyond the ends several taps fall on one element: one weight
        twice = positions[:, tap] == positions[:, tap + 1]
        weights[:, tap + 1] += weights[:, tap] * twice
        weights[:, tap] *= ~twice
    largest, bits = float(weights.max()), 0
    while bits < 22 and int(0.5 + largest * 2 ** (bits + 1)) < 2**15:
        bits += 1
    whole = weights * 2**bits
    whole = (whole.abs() + 0.5).floor() * whole.sign()
    return ((_C._resample(x, positions, whole, dim) + 2 ** (bits - 1)) / 2**bits).floor().clamp(0, 255)


def _smooth(
    input: Tensor,
    mode: str,
    sizes: Sequence[int],
    factors: Sequence[float] | None,
    align_corners: bool,
    antialias: bool,
) -> Tensor:
    # Half types are computed in float32; bytes by float64 tables and then, exactly, as integers.
    bytes_in = input.dtype is _C.uint8
    dtype = _C.float64 if bytes_in or input.dtype is _C.float64 else _C.float32
    x = input.to(dtype)
    for dim in range(input.dim() - 1, 1, -1):
        size, new_size = input.size(dim), sizes[dim - 2]
        scale = _scale(size, new_size, factors[dim - 2] if factors is not None else None, align_corners)
        if antialias:
            positions, weights = _filter_table(mode, size, new_size, scale, dtype)
        elif mode == "bicubic":
            positions, weights = _cubic_table(size, new_size, scale, dtype, align_corners)
        else:
            positions, weights = _linear_table(size, new_size, scale, dtype, align_corners)
        resample = _rounded if bytes_in else _C._resample
        x = resample(x, positions, weights, dim)
    return x.to(input.dtype)


def _sizes_and_factors(input: Tensor, size: Any, scale_factor: Any) -> tuple[list[int], list[float] | None]:
    n = input.dim() - 2
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is None and scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")
    name, given = ("size", size) if size is not None else ("scale_factor", scale_factor)
    values = list(given) if isinstance(given, (list, tuple)) else [given] * n
    if len(values) != n:
        raise ValueError(
            f"interpolate: expected {name} to be one number or one for each of the {n} spatial dimensions, "
            f"got {name}={given} and input of shape {tuple(input.shape)}"
        )
    if size is None:
        factors = [float(f) for f in values]
        return [int(length * f) for length, f in zip(input.shape[2:], factors)], factors
    for value in values:
        if not isinstance(value, int) and not (
            isinstance(value, Tensor) and value.numel() == 1 and not value.is_floating_point()
        ):
            raise TypeError(f"interpolate: expected size to be an int or ints, got {size!r}")
    return [int(value) for value in values], None


def _check(input: Tensor, mode: str, sizes: Sequence[int]) -> None:
    """Raise what no mode can do."""
    dims = _SMOOTH.get(mode, input.dim() if mode in (*_NEAREST, "area") else 0)
    if input.dim() not in (3, 4, 5) or input.dim() != dims:
        raise NotImplementedError(
            f"interpolate: mode {mode!r} is not implemented for an input of {input.dim()} dims (batch and "
            "channels included): linear needs 3, bilinear and bicubic 4, trilinear 5, nearest, nearest-exact "
            "and area 3 to 5"
        )
    if min(input.shape[2:]) <= 0 or min(sizes) <= 0:
        raise RuntimeError(
            "interpolate: Input and output sizes should be greater than 0, but got input "
            f"{tuple(input.shape[2:])} and output {tuple(sizes)}"
        )
    if input.size(1) == 0:
        raise RuntimeError(
            f"interpolate: expected a non-zero number of channels, got shape {tuple(input.shape)}"
        )
    bytes_allowed = mode in (*_NEAREST, "bilinear", "bicubic", "lanczos") and input.dtype is _C.uint8
    if not input.is_floating_point() and not bytes_allowed:
        raise NotImplementedError(f"interpolate: mode {mode!r} is not implemented for dtype {input.dtype}")


def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Return ``input`` resampled to another spatial size.

    Args:
        input: (N, C, L), (N, C, H, W) or (N, C, D, H, W), floating; for "nearest", "bilinear" and "bicubic"
            also uint8.
        size: the spatial size of the result, an int or one for each dim.
        scale_factor: the size as a multiple of the input's, a number or one for each dim; rounded down.
        mode: "nearest" (as old programs have it), "nearest-exact", "area" (means), "linear" (3 dims),
            "bilinear" (4), "trilinear" (5), "bicubic" (4) or "lanczos" (4; only with ``antialias``).
        align_corners: the corners' centres, not their outer edges, lie on each other.
        recompute_scale_factor: take the distances from the rounded sizes and not from ``scale_factor``.
        antialias: widen the filter where the result is smaller; for bilinear, bicubic and lanczos.
    Raises: ValueError for options that exclude each other, NotImplementedError for a mode that does not fit the
        input's dims or dtype, RuntimeError for an empty size.
    """
    if mode not in (*_NEAREST, "area"):
        align_corners = bool(align_corners)
    elif align_corners is not None:
        raise ValueError(
            "align_corners option can only be set with the interpolating modes: "
            "linear | bilinear | bicubic | trilinear"
        )
    sizes, factors = _sizes_and_factors(input, size, scale_factor)
    if recompute_scale_factor:
        if size is not None:
            raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
        factors = None
    if antialias and not (mode in _FILTERS and input.dim() == 4):
        raise ValueError(
            "Anti-alias option is restricted to bilinear, bicubic, and lanczos modes and requires a 4-D tensor "
            "as input"
        )
    _check(input, mode, sizes)
    if mode == "lanczos" and (align_corners or not antialias):
        raise ValueError("Lanczos mode requires antialias=True and does not support align_corners=True")
    if mode == "area":
        return (adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d)[input.dim() - 3](input, sizes)
    if mode in _NEAREST:
        result = input
        for dim in range(2, input.dim()):
            factor = None if factors is None else factors[dim - 2]
            positions = _nearest_positions(mode, input.size(dim), sizes[dim - 2], factor, input.dim() == 4)
            result = result.index_select(dim, positions)
    else:
        result = _smooth(input, mode, sizes, factors, bool(align_corners), antialias)
    if input.dim() == 3 or input.is_contiguous():
        return result
    inner = _C.channels_last if input.dim() == 4 else _C.channels_last_3d
    return result.contiguous(memory_format=inner) if input.is_contiguous(memory_format=inner) else result


def _deprecated(name: str) -> None:
    warnings.warn(
        f"`nn.functional.{name}` is deprecated. Use `nn.functional.interpolate` instead.", stacklevel=3
    )


def upsample(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """The old name of ``interpolate``."""
    _deprecated("upsample")
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """The old name of ``interpolate`` with mode "nearest"."""
    _deprecated("upsample_nearest")
    return interpolate(input, size, scale_factor, mode="nearest")


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """The old name of ``interpolate`` with mode "bilinear" and ``align_corners``."""
    _deprecated("upsample_bilinear")
    return interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)
