"""Derivatives of operations that move elements: joined, repeated, mirrored, padded."""

from __future__ import annotations

from ctorch import _C
from ctorch.autograd.registry import define


def _cat(g, tensors_shape, dim):
    grads, start = [], 0
    for shape in tensors_shape:
        if tuple(shape) == (0,):
            grads.append(g.new_zeros((0,)))
            continue
        grads.append(g.narrow(dim, start, shape[dim]))
        start += shape[dim]
    return grads


def _repeat(g, input_shape, repeats):
    if isinstance(repeats, int):
        repeats = (repeats,)
    shape = (1,) * (len(repeats) - len(input_shape)) + tuple(input_shape)
    if 0 in repeats:
        return g.new_zeros(input_shape)
    pairs = [n for pair in zip(repeats, shape) for n in pair]
    if not pairs:
        return g
    return g.reshape(pairs).sum(tuple(range(0, len(pairs), 2))).reshape(input_shape)


def _diag(g, input_shape, diagonal):
    if len(input_shape) == 1:
        return g.diagonal(diagonal)
    return _C._diagonal_backward(g, input_shape, diagonal, 0, 1)


def _negative(values):
    return -values if isinstance(values, int) else [-v for v in values]


define("cat", tensors=_cat)
define("stack", tensors=lambda g, dim: g.unbind(dim))
define("repeat", input=_repeat)
define("flip", input=lambda g, dims: g.flip(dims))
define("roll", input=lambda g, shifts, dims: g.roll(_negative(shifts), dims))
define("tril", input=lambda g, diagonal: g.tril(diagonal))
define("triu", input=lambda g, diagonal: g.triu(diagonal))
define("diag", input=_diag)
define("diag_embed", input=lambda g, offset, dim1, dim2: g.diagonal(offset, dim1, dim2))
define("constant_pad_nd", input=lambda g, pad: _C.constant_pad_nd(g, _negative(pad)))
