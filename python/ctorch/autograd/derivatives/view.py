"""Derivatives of views and conversions."""

from __future__ import annotations

from ctorch import _C
from ctorch.autograd.registry import define


def _like_input(g, input_shape):
    return g.reshape(input_shape)


define("view", input=_like_input)
define("reshape", input=_like_input, node="ViewBackward0")
define("view_as", input=_like_input, other=None, node="ViewBackward0")
define("reshape_as", input=_like_input, other=None, node="ViewBackward0")
define("ravel", input=_like_input, node="ViewBackward0")
define("flatten", input=_like_input, node="ViewBackward0")
define("unflatten", input=_like_input, node="ViewBackward0")
define("squeeze", input=_like_input)
define("squeeze.dim", input=_like_input, node="SqueezeBackward1")
define("unsqueeze", input=_like_input)

define("transpose", input=lambda g, dim0, dim1: g.transpose(dim0, dim1))
define("t", input=lambda g: g.t())
define("numpy_T", input=lambda g: g.numpy_T(), node="PermuteBackward0")
define("matrix_T", input=lambda g: g.matrix_T(), node="TransposeBackward0")


def _inverse(dims):
    order = [0] * len(dims)
    for i, d in enumerate(dims):
        order[d] = i
    return order


define("permute", input=lambda g, dims: g.permute(_inverse([d % max(len(dims), 1) for d in dims])))
define(
    "movedim", input=lambda g, source, destination: g.movedim(destination, source), node="PermuteBackward0"
)

# The engine sums a gradient to its input's shape: all there is to do for an expanded tensor.
for _name in ("expand", "broadcast_to"):
    define(_name, input=lambda g: g, node="ExpandBackward0")
define("expand_as", input=lambda g: g, other=None, node="ExpandBackward0")

define(
    "narrow.tensor",
    input=lambda g, input_shape, dim, start, length: _narrow_backward(
        g, input_shape, dim, start.item(), length
    ),
    start=None,
    node="SliceBackward0",
)
define("sum_to_size", input=lambda g, input_shape: g.expand(input_shape))
define(
    "narrow",
    input=lambda g, input_shape, dim, start, length: _narrow_backward(g, input_shape, dim, start, length),
    node="SliceBackward0",
)
define("select", input=lambda g, input_shape, dim, index: _C._select_backward(g, input_shape, dim, index))
define(
    "_slice",
    input=lambda g, input_shape, dim, start, stop, step: _C._slice_backward(
        g, input_shape, dim, start, stop, step
    ),
    node="SliceBackward0",
)
define("_select_backward", grad=lambda g, dim, index: g.select(dim, index))
define("_slice_backward", grad=lambda g, dim, start, stop, step: _C._slice(g, dim, start, stop, step))


def _narrow_backward(g, shape, dim, start, length):
    if start < 0:
        start += shape[dim]
    return _C._slice_backward(g, shape, dim, start, start + length, 1)


def _pieces_backward(gs, shape, dim, sizes, dtype):
    """The gradients of the pieces of a dim, joined; zeros for those that got none."""
    shape, pieces = list(shape), []
    given = next(g for g in gs if g is not None)
    for g, n in zip(gs, sizes):
        shape[dim] = n
        pieces.append(given.new_zeros(shape, dtype=dtype) if g is None else g)
    return _C.cat(pieces, dim)


def _equal_sizes(n, step):
    return [min(step, n - i) for i in range(0, n, step)] if n else [0]


def _sections(n, sections):
    return [n // sections + (i < n % sections) for i in range(sections)]


def _between(n, indices):
    ends = [min(max(i + n if i < 0 else i, 0), n) for i in indices] + [n]
    return [max(b - a, 0) for a, b in zip([0, *ends], ends)]


define(
    "split",
    input=lambda gs, input_shape, input_dtype, split_size_or_sections, dim: _pieces_backward(
        gs, input_shape, dim, _equal_sizes(input_shape[dim], split_size_or_sections), input_dtype
    ),
)
define(
    "split.sizes",
    input=lambda gs, input_shape, input_dtype, split_size_or_sections, dim: _pieces_backward(
        gs, input_shape, dim, split_size_or_sections, input_dtype
    ),
    node="SplitWithSizesBackward0",
)
define(
    "split_with_sizes",
    input=lambda gs, input_shape, input_dtype, split_sizes, dim: _pieces_backward(
        gs, input_shape, dim, split_sizes, input_dtype
    ),
)
define(
    "chunk",
    input=lambda gs, input_shape, input_dtype, chunks, dim: _pieces_backward(
        gs, input_shape, dim, _equal_sizes(input_shape[dim], -(-input_shape[dim] // chunks) or 1), input_dtype
    ),
    node="SplitBackward0",
)
define(
    "tensor_split",
    input=lambda gs, input_shape, input_dtype, sections, dim: _pieces_backward(
        gs, input_shape, dim, _sections(input_shape[dim], sections), input_dtype
    ),
)
define(
    "tensor_split.indices",
    input=lambda gs, input_shape, input_dtype, indices, dim: _pieces_backward(
        gs, input_shape, dim, _between(input_shape[dim], indices), input_dtype
    ),
)


def _tensor_split_backward(gs, shape, where, dim, dtype):
    n = shape[dim]
    sizes = _sections(n, where.item()) if where.dim() == 0 else _between(n, where.tolist())
    return _pieces_backward(gs, shape, dim, sizes, dtype)


define(
    "tensor_split.tensor",
    input=lambda gs, input_shape, input_dtype, tensor_indices_or_sections, dim: _tensor_split_backward(
        gs, input_shape, tensor_indices_or_sections, dim, input_dtype
    ),
)


def _unbind_backward(gs, dim):
    given = next(g for g in gs if g is not None)
    return _C.stack([_C.zeros_like(given) if g is None else g for g in gs], dim)


define("unbind", input=lambda gs, dim: _unbind_backward(gs, dim))

define(
    "diagonal",
    input=lambda g, input_shape, offset, dim1, dim2: _C._diagonal_backward(
        g, input_shape, offset, dim1, dim2
    ),
)
define("_diagonal_backward", grad=lambda g, offset, dim1, dim2: g.diagonal(offset, dim1, dim2))
define(
    "unfold",
    input=lambda g, input_shape, dimension, size, step: _C._unfold_backward(
        g, input_shape, dimension, size, step
    ),
)
define("_unfold_backward", grad=lambda g, dim, size, step: g.unfold(dim, size, step))
define(
    "as_strided",
    input=lambda g, input_shape, input_strides, input_offset, size, stride, storage_offset: (
        _C._as_strided_backward(g, input_shape, input_strides, input_offset, size, stride, storage_offset)
    ),
)


def _spread(g, input_size, input_stride, input_offset, size, stride, storage_offset):
    offset = input_offset if storage_offset is None else storage_offset
    return _C._view_gather(g, input_size, input_stride, input_offset, size, stride, offset)


define(
    "_as_strided_backward",
    grad=lambda g, input_size, input_stride, input_offset, size, stride, storage_offset: _spread(
        g, input_size, input_stride, input_offset, size, stride, storage_offset
    ),
)
define(
    "_view_gather",
    grad=lambda g, base_size, base_stride, base_offset, size, stride, offset: _C._as_strided_backward(
        g, base_size, base_stride, base_offset, size, stride, offset
    ),
)
define(
    "_view_scatter",
    grad=lambda g, base_size, base_stride, base_offset, size, stride, offset: _C._view_scatter(
        g, None, base_size, base_stride, base_offset, size, stride, offset
    ),
    src=lambda g, base_size, base_stride, base_offset, size, stride, offset: _C._view_gather(
        g, base_size, base_stride, base_offset, size, stride, offset
    ),
)

define("real", input=lambda g, input_dtype: _C._to_dtype(g, input_dtype) if input_dtype.is_complex else g)
define("imag", input=lambda g: _C.complex(_C.zeros_like(g), g))
define("view_as_real", input=lambda g: _C.view_as_complex(g.contiguous()))
define("view_as_complex", input=lambda g: _C.view_as_real(g))
define("complex", real=lambda g: g.real, imag=lambda g: g.imag)


def _same(g):
    return g


for _name in ("clone", "cpu", "_to_dtype"):
    define(_name, input=_same)
define("contiguous", input=_same, node="CloneBackward0")
for _name in ("to.dtype", "to.device"):
    define(_name, input=_same, node="ToCopyBackward0")
define("to.other", input=_same, other=None, node="ToCopyBackward0")
for _name in (
    "float",
    "double",
    "half",
    "bfloat16",
    "cfloat",
    "cdouble",
    "long",
    "int",
    "short",
    "char",
    "byte",
    "bool",
):
    define(_name, input=_same, node="ToCopyBackward0")
