"""Derivatives of sorting and of what is picked from an ordered line."""

from __future__ import annotations

from ctorch import _C
from ctorch.autograd.registry import define, not_differentiable


def _place(g, input_shape, dim, indices):
    """g at the elements that a result was taken from."""
    return g.new_zeros(input_shape).scatter(dim, indices, g)


def _place_one(g, input_shape, dim, indices, keepdim):
    """The same for a result with one element per line."""
    if not keepdim and len(input_shape):
        g, indices = g.unsqueeze(dim), indices.unsqueeze(dim)
    return _place(g, input_shape, dim, indices)


def _share(g, input, out):
    """g shared out evenly among the elements equal to the result."""
    hits = input == out if out == out else input != input
    return hits * (g / hits.sum())


define("sort", input=lambda g, input_shape, dim, out1: _place(g, input_shape, dim, out1))
define("topk", input=lambda g, input_shape, dim, out1: _place(g, input_shape, dim, out1))
define("msort", input=lambda g, input: _place(g, input.shape, 0, _C.argsort(input, 0)))
for _name in ("kthvalue", "median.dim", "nanmedian.dim", "mode"):
    define(
        _name,
        input=lambda g, input_shape, dim, out1, keepdim: _place_one(g, input_shape, dim, out1, keepdim),
        node={"median.dim": "MedianBackward1", "nanmedian.dim": "NanmedianBackward1"}.get(_name, ""),
    )
define("median", input=lambda g, input, out: _share(g, input, out))
define("nanmedian", input=lambda g, input, out: _share(g, input, out))
not_differentiable("argsort", "searchsorted", "bucketize", "isin")
