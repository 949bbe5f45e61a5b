"""Derivatives of products of matrices and vectors."""

from __future__ import annotations

from math import prod

from ctorch.autograd.registry import define


def _adjoint(x):
    return x.transpose(-2, -1).conj()


def _scaled(g, factor):
    """The gradient g of factor * x with respect to x."""
    return g if factor == 1 else g * factor.conjugate()


def _rows(x):
    """x as one matrix: all dims but the last joined."""
    return x.reshape(prod(x.shape[:-1]), x.shape[-1])


define("mm", input=lambda g, mat2: g.mm(_adjoint(mat2)), mat2=lambda g, input: _adjoint(input).mm(g))
define("bmm", input=lambda g, mat2: g.bmm(_adjoint(mat2)), mat2=lambda g, input: _adjoint(input).bmm(g))
define("mv", input=lambda g, vec: g.outer(vec.conj()), vec=lambda g, input: _adjoint(input).mv(g))
define("dot", input=lambda g, tensor: g * tensor.conj(), tensor=lambda g, input: g * input.conj())
define("vdot", input=lambda g, other: g.conj() * other, other=lambda g, input: g * input)


def _matmul_input(g, other, input_shape):
    if other.dim() == 1:
        return (g if len(input_shape) == 1 else g.unsqueeze(-1)) * other.conj()
    if len(input_shape) == 1:
        return g.unsqueeze(-2).matmul(_adjoint(other)).squeeze(-2)
    return g.matmul(_adjoint(other))


def _matmul_other(g, input, other_shape):
    if input.dim() == 1:
        if len(other_shape) == 1:
            return g * input.conj()
        return input.conj().unsqueeze(-1) * g.unsqueeze(-2)
    if len(other_shape) == 1:
        return _adjoint(_rows(input)).mv(g.reshape(g.numel()))
    if len(other_shape) == 2:
        return _adjoint(_rows(input)).mm(_rows(g))
    return _adjoint(input).matmul(g)


# Where a product has no node of its own in PyTorch, the name is that of the one it ends in.
define("matmul", input=_matmul_input, other=_matmul_other, node="MmBackward0")


def _inner_input(g, other, input_shape):
    if not input_shape or other.dim() == 0:
        return g * other.conj()
    k = input_shape[-1]
    return (
        g.reshape(prod(input_shape[:-1]), prod(other.shape[:-1]))
        .mm(_rows(other).conj())
        .reshape(*input_shape[:-1], k)
    )


def _inner_other(g, input, other_shape):
    if not other_shape or input.dim() == 0:
        return g * input.conj()
    g = g.reshape(prod(input.shape[:-1]), prod(other_shape[:-1]))
    return g.t().mm(_rows(input).conj()).reshape(other_shape)


define("inner", input=_inner_input, other=_inner_other, node="SqueezeBackward0")


def _outer_input(g, vec2):
    return g.mv(vec2.conj().to(g.dtype))


def _outer_vec2(g, input):
    return g.t().mv(input.conj().to(g.dtype))


define("outer", input=_outer_input, vec2=_outer_vec2, node="MulBackward0")
define(
    "addr",
    input=lambda g, beta: _scaled(g, beta),
    vec1=lambda g, vec2, alpha: _scaled(_outer_input(g, vec2), alpha),
    vec2=lambda g, vec1, alpha: _scaled(_outer_vec2(g, vec1), alpha),
)
define(
    "addmm",
    input=lambda g, beta: _scaled(g, beta),
    mat1=lambda g, mat2, alpha: _scaled(g.mm(_adjoint(mat2)), alpha),
    mat2=lambda g, mat1, alpha: _scaled(_adjoint(mat1).mm(g), alpha),
)
define(
    "addmv",
    input=lambda g, beta: _scaled(g, beta),
    mat=lambda g, vec, alpha: _scaled(g.outer(vec.conj()), alpha),
    vec=lambda g, mat, alpha: _scaled(_adjoint(mat).mv(g), alpha),
)
define(
    "baddbmm",
    input=lambda g, beta: _scaled(g, beta),
    batch1=lambda g, batch2, alpha: _scaled(g.bmm(_adjoint(batch2)), alpha),
    batch2=lambda g, batch1, alpha: _scaled(_adjoint(batch1).bmm(g), alpha),
)
define(
    "addbmm",
    input=lambda g, beta: _scaled(g, beta),
    batch1=lambda g, batch2, alpha: _scaled(g.unsqueeze(0).matmul(_adjoint(batch2)), alpha),
    batch2=lambda g, batch1, alpha: _scaled(_adjoint(batch1).matmul(g.unsqueeze(0)), alpha),
)


def _linear_input(g, weight):
    return g.unsqueeze(-1) * weight.conj() if weight.dim() == 1 else g.matmul(weight.conj())


def _linear_weight(g, input, weight_shape):
    if len(weight_shape) == 1:
        return _adjoint(_rows(input)).mv(g.reshape(g.numel()))
    return _rows(g).t().mm(_rows(input).conj())


define(
    "linear",
    input=_linear_input,
    weight=_linear_weight,
    bias=lambda g: g,
    node={"": "AddmmBackward0", "bias": "MmBackward0"},
)
