"""Results that mathematics leaves partly open, such as the signs of an SVD: what must still agree, by
operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def determined(name: str, sample: Any, result: Any) -> Any:
    """What of an operator's result must agree."""
    if not is_open(name) or sample.kwargs.get("stable"):
        return result
    return _DETERMINED[name](sample.input, sample.args, sample.kwargs, result)


def is_open(name: str) -> bool:
    return name in _DETERMINED


def _picked(input: Any, dim: int, values: Any, indices: Any) -> Any:
    """Selected values, and what the indices select: which of several equal elements was chosen is open."""
    if input.dim() == 0:
        return values, indices
    indices = indices if indices.dim() == input.dim() else indices.unsqueeze(dim)
    return values, torch.take_along_dim(input, indices, dim)


def _svd(u: Any, s: Any, vh: Any) -> Any:
    k = s.shape[-1]
    if not u.numel():
        return (s,)
    gram = [m.mH @ m for m in (u, vh.mH)]
    return s, (u[..., :k] * s.unsqueeze(-2).to(u.dtype)) @ vh[..., :k, :], *gram


def _by_value(x: Any) -> Any:
    x = x.gather(-1, x.imag.argsort(dim=-1, stable=True))
    return x.gather(-1, (x.real * 1e4).round().argsort(dim=-1, stable=True))


def _dim(args: Any, kwargs: Any, position: int) -> int:
    return kwargs.get("dim", args[position] if len(args) > position else -1)


def _chosen(position: int) -> Callable[..., Any]:
    def pick(x: Any, args: Any, kwargs: Any, r: Any) -> Any:
        return r if isinstance(r, torch.Tensor) else _picked(x, _dim(args, kwargs, position), *r)

    return pick


def _sort(x: Any, args: Any, kwargs: Any, r: Any) -> Any:
    return *_picked(x, _dim(args, kwargs, 0), *r), _permutation(x, args, kwargs, r[1])


def _argsort(x: Any, args: Any, kwargs: Any, r: Any) -> Any:
    return _picked(x, _dim(args, kwargs, 0), _permutation(x, args, kwargs, r), r)


def _permutation(x: Any, args: Any, kwargs: Any, indices: Any) -> Any:
    """The indices in order, to see that each occurs once."""
    return indices.sort(_dim(args, kwargs, 0)).values if x.dim() else indices


def _eigh(x: Any, args: Any, kwargs: Any, r: Any) -> Any:
    return r[0], (r[1] * r[0].unsqueeze(-2).to(r[1].dtype)) @ r[1].mH, r[1].mH @ r[1]


def _eig(x: Any, args: Any, kwargs: Any, r: Any) -> Any:
    return _by_value(r[0]), x.to(r[1].dtype) @ r[1] - r[1] * r[0].unsqueeze(-2), r[1].norm(dim=-2)


def _qr(x: Any, args: Any, kwargs: Any, r: Any) -> Any:
    return (r[0] @ r[1], r[0].mH @ r[0], r[1].abs()) if r[0].numel() else (r[1].abs(),)


_DETERMINED: dict[str, Callable[..., Any]] = {
    "sort": _sort,
    "argsort": _argsort,
    "topk": _chosen(1),
    "kthvalue": _chosen(1),
    "mode": _chosen(0),
    "median": _chosen(0),
    "nanmedian": _chosen(0),
    "svd": lambda x, args, kwargs, r: _svd(r[0], r[1], r[2].mH),
    "svd_lowrank": lambda x, args, kwargs, r: _svd(r[0], r[1], r[2].mH),
    "pca_lowrank": lambda x, args, kwargs, r: _svd(r[0], r[1], r[2].mH),
    "linalg.svd": lambda x, args, kwargs, r: _svd(*r),
    "linalg.eigh": _eigh,
    "linalg.eig": _eig,
    "linalg.eigvals": lambda x, args, kwargs, r: _by_value(r),
    "linalg.qr": _qr,
    "qr": _qr,
}
