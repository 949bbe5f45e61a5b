"""Operations made of other operations: they have no kernel and no derivative of their own.

In family order: joining and shapes, indexing, sorting and sets. ``_method`` makes a function a method of
Tensor too.
"""

from __future__ import annotations

import builtins
import itertools
from collections.abc import Sequence
from typing import Any

from ctorch import _C
from ctorch._C import Tensor
from ctorch.runtime import broadcast_shapes

__all__: list[str] = []


def _public(fn):
    __all__.append(fn.__name__)
    return fn


def _method(fn):
    setattr(Tensor, fn.__name__, fn)
    return _public(fn)


def _tensor_list(tensors: tuple[Any, ...]) -> Sequence[Tensor]:
    """The tensors of ``f(a, b)`` or ``f([a, b])``."""
    return tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else tensors


# ---- joining and shapes ----------------------------------------------------------------------------------


def _at_least(t: Tensor, ndim: int) -> Tensor:
    if ndim == 1:
        return t.reshape(1) if t.dim() == 0 else t
    if ndim == 2:
        return t.reshape(1, 1) if t.dim() == 0 else t.unsqueeze(0) if t.dim() == 1 else t
    if t.dim() == 0:
        return t.reshape(1, 1, 1)
    return t.unsqueeze(0).unsqueeze(-1) if t.dim() == 1 else t.unsqueeze(-1) if t.dim() == 2 else t


def _each_at_least(tensors: tuple[Any, ...], ndim: int) -> Any:
    if len(tensors) == 1 and isinstance(tensors[0], Tensor):
        return _at_least(tensors[0], ndim)
    return tuple(_at_least(t, ndim) for t in _tensor_list(tensors))


@_public
def atleast_1d(*tensors: Any) -> Any:
    """Tensors with at least one dimension."""
    return _each_at_least(tensors, 1)


@_public
def atleast_2d(*tensors: Any) -> Any:
    """Tensors with at least two dimensions; new ones come first."""
    return _each_at_least(tensors, 2)


@_public
def atleast_3d(*tensors: Any) -> Any:
    """Tensors with at least three dimensions: (1, n, 1) of a list, (m, n, 1) of a matrix."""
    return _each_at_least(tensors, 3)


def _stacked(name: str, tensors: Any, ndim: int, dim: int, out: Tensor | None) -> Tensor:
    if not len(tensors):
        raise RuntimeError(f"{name} expects a non-empty TensorList")
    return _C.cat([_at_least(t, ndim) for t in tensors], dim, out=out)


@_public
def hstack(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
    """Tensors side by side: along dim 1, or dim 0 for lists."""
    lists = len(tensors) > 0 and tensors[0].dim() <= 1
    return _stacked("hstack", tensors, 1, 0 if lists else 1, out)


@_public
def vstack(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
    """Tensors one below the other; lists are rows."""
    return _stacked("vstack", tensors, 2, 0, out)


row_stack = vstack
__all__.append("row_stack")


@_public
def dstack(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
    """Tensors one behind the other, along dim 2."""
    return _stacked("dstack", tensors, 3, 2, out)


@_public
def column_stack(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
    """hstack() in which lists are columns."""
    if not len(tensors):
        raise RuntimeError("column_stack expects a non-empty TensorList")
    return hstack([t.reshape(t.numel(), 1) if t.dim() <= 1 else t for t in tensors], out=out)


@_method
def tile(input: Tensor, *dims: Any) -> Tensor:
    """repeat() in which missing leading repeats are 1."""
    if len(dims) == 1 and isinstance(dims[0], Tensor) and dims[0].dim() > 0:
        raise TypeError(
            f"tile(): expected dims to be ints, got a tensor of shape {tuple(dims[0].shape)}; use tolist()"
        )
    repeats = tuple(dims[0]) if len(dims) == 1 and isinstance(dims[0], (tuple, list)) else dims
    return input.repeat((1,) * (input.dim() - len(repeats)) + tuple(repeats))


@_method
def fliplr(input: Tensor) -> Tensor:
    """flip() of dim 1."""
    if input.dim() < 2:
        raise RuntimeError(f"fliplr: Input must be >= 2-d, got shape {tuple(input.shape)}")
    return input.flip(1)


@_method
def flipud(input: Tensor) -> Tensor:
    """flip() of dim 0."""
    if input.dim() < 1:
        raise RuntimeError("flipud: Input must be >= 1-d, got a 0-dim tensor")
    return input.flip(0)


@_method
def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """The plane of two dims turned k times by 90 degrees, from the first towards the second."""
    if len(dims) != 2:
        raise RuntimeError(f"rot90: expected total rotation dims == 2, but got dims = {len(dims)}")
    if input.dim() < 2:
        raise RuntimeError(f"rot90: expected total dims >= 2, but got total dims = {input.dim()}")
    a, b = dims
    if a == b or abs(a - b) == input.dim():
        raise RuntimeError(
            f"rot90: expected rotation dims to be different, but got dim0 = {a} and dim1 = {b}"
        )
    for d in dims:
        if not -input.dim() <= d < input.dim():
            raise RuntimeError(f"rot90: rotation dim {d} is out of range for shape {tuple(input.shape)}")
    k %= 4
    if k == 1:
        return input.flip(b).transpose(a, b)
    if k == 2:
        return input.flip((a, b))
    if k == 3:
        return input.flip(a).transpose(a, b)
    return input.clone()


@_public
def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[Tensor, ...]:
    """Grids of coordinates: for each list a view in which it varies along its own dim only.

    Args:
        tensors: lists, or numbers as 0-dim tensors.
        indexing: "ij", the default: result i varies along dim i; "xy": the first two lists vary along each other's dim.
    """
    lists = list(_tensor_list(tensors))
    if not lists:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    indexing = "ij" if indexing is None else indexing
    if indexing not in ("ij", "xy"):
        raise RuntimeError(f'meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    for t in lists:
        if t.dim() > 1:
            raise RuntimeError(
                f"meshgrid: Expected 0D or 1D tensor in the tensor list but got: {tuple(t.shape)}"
            )
        if t.dtype != lists[0].dtype:
            raise RuntimeError("meshgrid expects all tensors to have the same dtype")
    swap = indexing == "xy" and len(lists) >= 2
    if swap:
        lists[0], lists[1] = lists[1], lists[0]
    shape = [t.numel() for t in lists]
    grids = [
        t.reshape([-1 if j == i else 1 for j in range(len(lists))]).expand(shape) for i, t in enumerate(lists)
    ]
    if swap:
        grids[0], grids[1] = grids[1], grids[0]
    return tuple(grids)


@_public
def cartesian_prod(*tensors: Tensor) -> Tensor:
    """All combinations of an element of each list, as rows."""
    for t in tensors:
        if t.dim() != 1:
            raise RuntimeError(f"cartesian_prod: Expect a 1D vector, but got shape {tuple(t.shape)}")
    if len(tensors) == 1:
        return tensors[0]
    return _C.stack([g.reshape(-1) for g in meshgrid(*tensors)], 1)


@_public
def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All ways of choosing r elements of a list, as rows."""
    if input.dim() != 1:
        raise RuntimeError(f"combinations: Expect a 1D vector, but got shape {tuple(input.shape)}")
    if r < 0:
        raise RuntimeError(f"combinations: Expect a non-negative number, but got {r}")
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = list(choose(range(input.numel()), r))
    if r == 0 or not rows:
        return input[:0] if r == 0 else input[:0].unsqueeze(1).expand(0, r)
    return input[_C.tensor(rows)]


@_public
def block_diag(*tensors: Tensor) -> Tensor:
    """A matrix with the tensors, at most matrices, along its diagonal."""
    blocks = []
    for t in tensors:
        if t.dim() > 2:
            raise RuntimeError(
                f"block_diag: Input tensors must have 2 or fewer dimensions, got shape {tuple(t.shape)}"
            )
        blocks.append(_at_least(t, 2))
    if not blocks:
        return _C.empty((1, 0))
    width, before, rows = builtins.sum(b.shape[1] for b in blocks), 0, []
    for b in blocks:
        rows.append(_C.constant_pad_nd(b, [before, width - before - b.shape[1]]))
        before += b.shape[1]
    return _C.cat(rows, 0)


def _check_factor(name: str, factor: int, input: Tensor) -> None:
    if input.dim() < 3:
        raise RuntimeError(f"{name} expects input to have at least 3 dimensions, but got {input.dim()}")
    if factor <= 0:
        raise RuntimeError(f"{name} expects a positive factor, but got {factor}")


@_public
def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(..., C * r * r, H, W) to (..., C, H * r, W * r): groups of channels become squares of pixels."""
    r = upscale_factor
    _check_factor("pixel_shuffle", r, input)
    *batch, c, h, w = input.shape
    if c % (r * r):
        raise RuntimeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of "
            f"upscale_factor, but input.size(-3)={c} is not divisible by {r * r}"
        )
    x = input.reshape(*batch, c // (r * r), r, r, h, w)
    return x.movedim((-4, -3), (-3, -1)).reshape(*batch, c // (r * r), h * r, w * r)


@_public
def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """The inverse of pixel_shuffle(): (..., C, H * r, W * r) to (..., C * r * r, H, W)."""
    r = downscale_factor
    _check_factor("pixel_unshuffle", r, input)
    *batch, c, h, w = input.shape
    if h % r or w % r:
        raise RuntimeError(
            f"pixel_unshuffle expects height and width to be divisible by downscale_factor, got {(h, w)} and {r}"
        )
    x = input.reshape(*batch, c, h // r, r, w // r, r)
    return x.movedim((-3, -1), (-4, -3)).reshape(*batch, c * r * r, h // r, w // r)


@_public
def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Channels (dim 1) in the order that takes one of each group in turn."""
    if input.dim() < 3:
        raise RuntimeError(
            f"channel_shuffle expects input with > 2 dims, but got input with sizes {tuple(input.shape)}"
        )
    if groups <= 0 or input.shape[1] % groups:
        raise RuntimeError(f"channel_shuffle: {input.shape[1]} channels are not divisible by {groups} groups")
    n, c, *rest = input.shape
    return input.reshape(n, groups, c // groups, *rest).transpose(1, 2).reshape(n, c, *rest)


# ---- indexing --------------------------------------------------------------------------------------------


@_method
def nonzero_static(input: Tensor, *, size: int, fill_value: int = -1) -> Tensor:
    """The first ``size`` rows of nonzero(), filled up with ``fill_value`` if there are fewer."""
    if size < 0:
        raise RuntimeError(f"nonzero_static: 'size' must be a non-negative integer, got {size}")
    rows = _C.nonzero(input)[:size]
    return _C.constant_pad_nd(rows, [0, 0, 0, size - rows.shape[0]], fill_value)


def _where(self: Tensor, condition: Tensor, other: Any) -> Tensor:
    """The elements of this tensor where condition is true, else those of other."""
    return _C.where(condition, self, other)


Tensor.where = _where


@_method
def take_along_dim(
    input: Tensor, indices: Tensor, dim: int | None = None, *, out: Tensor | None = None
) -> Tensor:
    """gather() in which the other dims broadcast; without dim, elements of the flat list."""
    if not isinstance(indices, Tensor):
        raise TypeError(f"take_along_dim(): expected indices to be a Tensor, got {type(indices).__name__}")
    if indices.dtype != _C.int64:
        raise RuntimeError(f"take_along_dim(): dtype of indices should be Long but got {indices.dtype}")
    if dim is None:
        return _C.gather(input.reshape(-1), 0, _C._wrap_indices(indices, input.numel()).reshape(-1), out=out)
    if input.dim() != indices.dim():
        raise RuntimeError(
            "take_along_dim(): input and indices should have the same number of dimensions, "
            f"but got {input.dim()} dimensions for input, and {indices.dim()} dimensions for indices"
        )
    if not -input.dim() <= dim < input.dim():
        raise IndexError(f"take_along_dim: Dimension out of range (got {dim} for shape {tuple(input.shape)})")
    dim %= input.dim()
    shape, index_shape = list(input.shape), list(indices.shape)
    common = list(
        broadcast_shapes(
            shape[:dim] + [1] + shape[dim + 1 :], index_shape[:dim] + [1] + index_shape[dim + 1 :]
        )
    )
    shape = common[:dim] + [shape[dim]] + common[dim + 1 :]
    index_shape = common[:dim] + [index_shape[dim]] + common[dim + 1 :]
    indices = _C._wrap_indices(indices, input.shape[dim])
    return _C.gather(input.expand(shape), dim, indices.expand(index_shape), out=out)


@_method
def repeat_interleave(
    input: Tensor, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Each element (of dim, or of the flat list) repeated, by one number or by a number for each.

    Args:
        input: the elements; alone, the numbers: the result is then the index of an element for each repeat.
        repeats: an int, or integers in a tensor.
        dim: the dim along which slices are repeated.
        output_size: the sum of the repeats, if known: it is checked.
    """
    if repeats is None:
        return _C._repeat_interleave_indices(input, output_size=output_size)
    if dim is None:
        input, dim = input.reshape(-1), 0
    elif input.dim() == 0:
        input = input.reshape(1)
    if not -input.dim() <= dim < input.dim():
        raise IndexError(
            f"repeat_interleave: Dimension out of range (got {dim} for shape {tuple(input.shape)})"
        )
    dim %= input.dim()
    n = input.shape[dim]
    if isinstance(repeats, Tensor) and repeats.dim() == 1 and repeats.numel() != 1:
        if repeats.numel() != n:
            raise RuntimeError(
                "repeat_interleave: repeats must have the same size as input along dim, "
                f"but got repeats.size(0) = {repeats.numel()} and input.size({dim}) = {n}"
            )
        return input.index_select(dim, _C._repeat_interleave_indices(repeats, output_size=output_size))
    if isinstance(repeats, Tensor):
        if repeats.dim() > 1:
            raise RuntimeError(
                f"repeat_interleave: repeats must be 0-dim or 1-dim tensor, got {tuple(repeats.shape)}"
            )
        if repeats.dtype not in (_C.int64, _C.int32):
            raise RuntimeError(
                f"repeat_interleave: repeats has to be Long or Int tensor, got {repeats.dtype}"
            )
    count = int(repeats)
    if count < 0:
        raise RuntimeError(f"repeat_interleave: Repeats must be non-negative, got {count}")
    if output_size is not None and output_size != count * n:
        raise RuntimeError(
            f"repeat_interleave: allocated size {output_size} does not match required size {count * n}"
        )
    shape = list(input.shape)
    wide = input.unsqueeze(dim + 1).expand(shape[: dim + 1] + [count] + shape[dim + 1 :])
    return wide.clone(memory_format=_C.contiguous_format).reshape(
        shape[:dim] + [n * count] + shape[dim + 1 :]
    )


# ---- sorting and sets ------------------------------------------------------------------------------------


def _asked(results: tuple[Tensor, Tensor, Tensor], return_inverse: bool, return_counts: bool) -> Any:
    values, inverse, counts = results
    chosen = (values,) + (inverse,) * return_inverse + (counts,) * return_counts
    return chosen if len(chosen) > 1 else values


@_method
def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The distinct elements, or the distinct slices along dim, in order.

    Args:
        sorted: has no effect: the result is always in order.
        return_inverse: also give, for each element, the number of its value.
        return_counts: also give how often each value is there.
    """
    if dim is None:
        return _asked(_C._unique(input, return_inverse, return_counts), return_inverse, return_counts)
    return _asked(_C._unique_dim(input, dim, return_inverse, return_counts), return_inverse, return_counts)


@_method
def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """One element of each run of equal elements (or slices along dim); see unique() for the rest."""
    return _asked(
        _C._unique_consecutive(input, return_inverse, return_counts, dim), return_inverse, return_counts
    )


# ---- conjugate transposes ----------------------------------------------------------------------------------


@_method
def adjoint(input: Tensor) -> Tensor:
    """The matrices in the last two dims transposed and conjugated; a view of real ones."""
    if input.dim() < 2:
        raise RuntimeError(
            f"adjoint: expected a matrix or a batch of matrices, got shape {tuple(input.shape)}"
        )
    return input.transpose(-2, -1).conj()


def _matrix_h(self: Tensor) -> Tensor:
    if self.dim() == 1 or self.dim() > 2:
        raise RuntimeError(f"tensor.H is only supported on matrices (2-D tensors), got {self.dim()}-D")
    return self.conj() if self.dim() == 0 else self.transpose(0, 1).conj()


Tensor.matrix_H = _matrix_h


# ---- functions of what tensors have as methods --------------------------------------------------------------

_METHODS = (
    "addmv_", "as_strided_", "detach", "detach_", "gcd_", "index_put_", "is_inference", "is_neg", "is_same_size", "is_signed",
    "lcm_", "resolve_conj", "resolve_neg",
)  # fmt: skip
for _name in _METHODS:
    globals()[_name] = getattr(Tensor, _name)
    __all__.append(_name)


@_method
def get_device(input: Tensor) -> int:
    """The index of the device; -1 for the CPU."""
    return -1 if input.device.index is None or input.device.type == "cpu" else input.device.index


def _is_nonzero(self: Tensor) -> bool:
    """Whether the one element is not zero. RuntimeError for other sizes."""
    return bool(self)


def _is_set_to(self: Tensor, tensor: Tensor) -> bool:
    """Whether both tensors are the same view of the same memory."""
    return self.data_ptr() == tensor.data_ptr() and (self.shape, self.stride()) == (
        tensor.shape,
        tensor.stride(),
    )


Tensor.is_nonzero = _is_nonzero
Tensor.is_set_to = _is_set_to


# ---- filling and differences --------------------------------------------------------------------------------


def _fill_diagonal_(self: Tensor, fill_value: float, wrap: bool = False) -> Tensor:
    """Write a number on the main diagonal, in place: of a matrix, or of a cube of any number of dims.

    Args:
        wrap: in a tall matrix go on after each block of as many rows as there are columns, and one.
    """
    if self.dim() < 2 or (self.dim() > 2 and len(set(self.shape)) > 1):
        raise RuntimeError(
            f"fill_diagonal_: expected a matrix, or more dims of one size, got shape {tuple(self.shape)}"
        )
    step = builtins.sum(self.stride())
    n = builtins.min(self.shape)
    if wrap and self.dim() == 2 and self.shape[0] > self.shape[1]:
        rows = self.narrow(0, 0, self.shape[0])
        for first in range(0, self.shape[0], self.shape[1] + 1):
            rows[first : first + self.shape[1]].diagonal().fill_(fill_value)
        return self
    self.as_strided((n,), (step,), self.storage_offset()).fill_(fill_value)
    return self


Tensor.fill_diagonal_ = _fill_diagonal_


@_method
def diff(
    input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:
    """The n-th differences of neighbours along dim; of bool, whether they differ.

    Args:
        prepend, append: joined to input along dim first.
    """
    if n < 0:
        raise RuntimeError(f"diff: order must be non-negative but got {n}")
    parts = [part for part in (prepend, input, append) if part is not None]
    result = _C.cat(parts, dim) if len(parts) > 1 else input
    if result.dim() == 0:
        raise RuntimeError("diff: expected input to be at least one-dimensional")
    for _ in range(n):
        size = builtins.max(result.size(dim) - 1, 0)
        first, second = (
            result.narrow(dim, 0, size),
            result.narrow(dim, builtins.min(1, result.size(dim)), size),
        )
        result = first.logical_xor(second) if result.dtype is _C.bool else second - first
    return result if n else result.clone()


@_public
def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """Views of the tensors in the shape that they broadcast to."""
    tensors = tuple(_tensor_list(tensors))
    shape = broadcast_shapes(*(t.shape for t in tensors))
    return tuple(t.expand(shape) for t in tensors)


# ---- norms -----------------------------------------------------------------------------------------------


def norm(
    input: Tensor,
    p: float | str | None = "fro",
    dim: int | Sequence[int] | None = None,
    keepdim: bool = False,
    out: Tensor | None = None,
    dtype: Any = None,
) -> Tensor:
    """The p-norm of the elements along dims, as of one vector.

    Args:
        p: a number; "fro", which is 2; or "nuc", the sum of the singular values of the matrices in two dims.
    """
    if p != "nuc":
        return _C.norm(input, p, dim, keepdim, dtype=dtype, out=out)
    from ctorch._norms import matrix_norm

    dims = range(input.dim()) if dim is None else [dim] if isinstance(dim, int) else dim
    if len(dims) != 2:
        raise RuntimeError(f"norm: p='nuc' needs two dims, got {list(dims)} of shape {tuple(input.shape)}")
    return matrix_norm(input, "nuc", tuple(dims), keepdim, dtype=dtype, out=out)


def _norm_method(
    self: Tensor, p: float | str | None = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None
) -> Tensor:
    return norm(self, p, dim, keepdim, dtype=dtype)


_public(norm)
Tensor.norm = _norm_method
