"""torch.linalg's norms of matrices, composed of reductions; those of singular values through numpy.linalg."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import ctorch
from ctorch import _C
from ctorch._C import Tensor
from ctorch.autograd.function import Function

_Ord = float | int | str | None


class _Svd(Function):
    """The factors (U, S, Vh) of matrices (the last two dims): of shapes (m, k), (k), (k, n) with k = min(m, n).

    The derivative (Townsend, "Differentiating the singular value decomposition", 2016; for complex matrices the
    phase of each pair of vectors is free, so that only functions that do not depend on it have one):
        gA = U ((skew(U^H gU) / E) S + S (skew(V^H gV) / E) + I o (gS + skew(U^H gU) / 2S)) V^H
             + (I - U U^H) (gU / S) V^H + U (gVh / S) (I - V V^H),   E_ij = S_j^2 - S_i^2, skew(X) = X - X^H.
    """

    @staticmethod
    def forward(ctx: Any, matrices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        import numpy as np

        parts = np.linalg.svd(matrices.detach().numpy(), full_matrices=False)
        factors = tuple(ctorch.from_numpy(np.ascontiguousarray(part)) for part in parts)
        ctx.save_for_backward(*factors)
        ctx.set_materialize_grads(False)
        return factors  # type: ignore[return-value]

    @staticmethod
    def backward(ctx: Any, gu: Tensor | None, gs: Tensor | None, gvh: Tensor | None) -> Tensor | None:
        u, s, vh = ctx.saved_tensors
        if gu is None and gvh is None:
            return None if gs is None else ctorch.matmul(u * gs.to(u.dtype).unsqueeze(-2), vh)

        def skew(x: Tensor) -> Tensor:
            return x - x.mH

        k, row, column = s.shape[-1], s.unsqueeze(-2), s.unsqueeze(-1)
        gap = row * row - column * column + ctorch.eye(k, dtype=s.dtype)
        inner = ctorch.zeros_like(u.mH @ u)
        if gs is not None:
            inner = inner + ctorch.diag_embed(gs)
        if gu is not None:
            turn = skew(u.mH @ gu)
            inner = inner + turn / gap * row
            if u.is_complex():
                inner = inner + ctorch.diag_embed(turn.diagonal(0, -2, -1) / (2 * s))
        if gvh is not None:
            inner = inner + column * (skew(vh @ gvh.mH) / gap)
        result = u @ inner @ vh
        if gu is not None and u.shape[-2] > k:
            apart = gu / row
            result = result + (apart - u @ (u.mH @ apart)) @ vh
        if gvh is not None and vh.shape[-1] > k:
            apart = gvh / column
            result = result + u @ (apart - (apart @ vh.mH) @ vh)
        return result


def _greatest(t: Tensor, dim: int, keepdim: bool) -> Tensor:
    """The greatest of values that are not negative; of none, 0."""
    return t.amax(dim, keepdim) if t.shape[dim] else t.sum(dim, keepdim)


def _spectral(a: Tensor, ord: _Ord, dims: tuple[int, int], keepdim: bool) -> Tensor:
    s = _Svd.apply(a.movedim(dims, (-2, -1)))[1]
    if ord == "nuc":
        result = s.sum(-1)
    else:
        result = _greatest(s, -1, False) if ord == 2 else s.amin(-1)
    if keepdim:
        for d in sorted(d % a.dim() for d in dims):
            result = result.unsqueeze(d)
    return result


def matrix_norm(
    A: Tensor,
    ord: _Ord = "fro",
    dim: Sequence[int] = (-2, -1),
    keepdim: bool = False,
    *,
    dtype: Any = None,
    out: Tensor | None = None,
) -> Tensor:
    """Return the norm of the matrices in two dims of ``A``.

    Args:
        ord: "fro", "nuc", or one of 1, -1, 2, -2, inf, -inf.
    """
    if A.dim() < 2:
        raise RuntimeError(
            f"linalg.matrix_norm: The input tensor A must have at least 2 dimensions. Got {A.dim()}."
        )
    if isinstance(dim, int) or len(dim) != 2:
        raise RuntimeError(f"linalg.matrix_norm: dim must be a 2-tuple. Got {dim}")
    dims = (dim[0], dim[1])
    if dims[0] % A.dim() == dims[1] % A.dim():
        raise RuntimeError(f"linalg.matrix_norm: dims must be different. Got ({dims[0]}, {dims[1]})")
    a = A if dtype is None else A.to(dtype)
    if not (a.is_floating_point() or a.is_complex()):
        raise RuntimeError(
            f"linalg.matrix_norm: Expected a floating point or complex tensor as input. Got {a.dtype}"
        )
    if ord == "fro":
        result = _C.linalg_vector_norm(a, 2, dims, keepdim)
    elif ord == "nuc" or ord in (2, -2):
        result = _spectral(a, ord, dims, keepdim)
    elif isinstance(ord, (int, float)) and abs(ord) in (1, math.inf):
        first, second = dims if abs(ord) == 1 else dims[::-1]
        sums = _C.linalg_vector_norm(a, 1, [first], True)
        result = _greatest(sums, second, True) if ord > 0 else sums.amin([second], keepdim=True)
        result = result if keepdim else result.squeeze(dims)
    else:
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    return result if out is None else _into(out, result)


def norm(
    A: Tensor,
    ord: _Ord = None,
    dim: int | Sequence[int] | None = None,
    keepdim: bool = False,
    *,
    dtype: Any = None,
    out: Tensor | None = None,
) -> Tensor:
    """Return a vector norm or a matrix norm of ``A``, as numpy.linalg.norm chooses between them.

    Args:
        ord: None for the 2-norm of all elements; a number; "fro" or "nuc" for matrices.
        dim: one dim for vectors, two for matrices.
    """
    dims = None if dim is None else [dim] if isinstance(dim, int) else list(dim)
    if dims is not None and len(dims) not in (1, 2) and ord is not None:
        raise RuntimeError(f"linalg.norm: If dim is specified, it must be of length 1 or 2. Got {dims}")
    if dims is None and ord is not None and A.dim() not in (1, 2):
        raise RuntimeError(
            f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got {A.dim()}D."
        )
    if ord is not None and (A.dim() == 2 if dims is None else len(dims) == 2):
        return matrix_norm(A, ord, dims or (0, 1), keepdim, dtype=dtype, out=out)
    if isinstance(ord, str):
        raise RuntimeError(f"linalg.norm: Order {ord} not supported for vectors.")
    result = _C.linalg_vector_norm(A, 2 if ord is None else ord, dims, keepdim, dtype=dtype)
    return result if out is None else _into(out, result)


def _into(out: Tensor, result: Tensor) -> Tensor:
    return _C.add(result, 0, out=out)
