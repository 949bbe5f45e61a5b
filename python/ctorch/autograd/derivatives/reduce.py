"""Derivatives of reductions and scans."""

from __future__ import annotations

import math

import ctorch
from ctorch import _C
from ctorch.autograd.registry import define, not_differentiable


def _dims(dim, ndim):
    """The dims that a reduction over ``dim`` (an int, a list, None or empty for all) took away, ascending."""
    if dim is None or (not isinstance(dim, int) and len(dim) == 0):
        return list(range(ndim))
    dims = [dim] if isinstance(dim, int) else list(dim)
    return sorted(d % ndim for d in dims) if ndim else []


def _restore(t, shape, dim=None, keepdim=False):
    """A result of a reduction with the dims that it lost as dims of size 1."""
    if keepdim or not shape:
        return t
    dims = _dims(dim, len(shape))
    return t.reshape([1 if d in dims else n for d, n in enumerate(shape)])


def _count(shape, dim):
    return math.prod(shape[d] for d in _dims(dim, len(shape)))


# ---- sums and means ----

define("sum", input=lambda g, input_shape: g.expand(input_shape))
define(
    "sum.dim",
    input=lambda g, input_shape, dim, keepdim: _restore(g, input_shape, dim, keepdim).expand(input_shape),
    node="SumBackward1",
)
define("mean", input=lambda g, input_shape: (g / math.prod(input_shape)).expand(input_shape))
define(
    "mean.dim",
    input=lambda g, input_shape, dim, keepdim: (
        _restore(g, input_shape, dim, keepdim) / _count(input_shape, dim)
    ).expand(input_shape),
    node="MeanBackward1",
)
define(
    "nansum",
    input=lambda g, input, dim, keepdim: _restore(g, input.shape, dim, keepdim) * (input == input),
)


def _nanmean(g, input, dim, keepdim):
    numbers = input == input
    count = numbers.sum(dim, keepdim=True)
    return _restore(g, input.shape, dim, keepdim) / count * numbers


define("nanmean", input=_nanmean)
define("trace", input=lambda g, input_shape, input_dtype: g * ctorch.eye(*input_shape, dtype=input_dtype))


# ---- products ----


def _ones(x):
    return ctorch.ones(x.shape, dtype=x.dtype)


def _before(x, dim):
    """The product of the elements before each."""
    return ctorch.cat([_ones(x.narrow(dim, 0, 1)), x.narrow(dim, 0, x.shape[dim] - 1)], dim).cumprod(dim)


def _others(x, dim):
    """The product of the other elements of each line: with zeros among them, too, unlike a quotient."""
    if not ctorch.is_grad_enabled():
        return _C._prod_others(x, dim)
    if x.dim() == 0 or x.numel() == 0:
        return _ones(x)
    return _before(x, dim) * _before(x.flip([dim]), dim).flip([dim])


define("prod", input=lambda g, input: g * _others(input.reshape(-1), 0).reshape(input.shape).conj())
define(
    "prod.dim",
    input=lambda g, input, dim, keepdim: _restore(g, input.shape, dim, keepdim) * _others(input, dim).conj(),
    node="ProdBackward1",
)
not_differentiable("_prod_others")


def _reversed_cumsum(t, dim):
    return t.flip([dim]).cumsum(dim).flip([dim]) if t.dim() else t


def _cumprod(g, input, dim, out):
    if input.dim() == 0 or input.numel() == 0:
        return g
    x, y = input.conj(), out.conj()
    if not (input == 0).any():
        return _reversed_cumsum(g * y, dim) / x
    # With zeros: for every place the products that leave it out, for the results from there on.
    n = input.shape[dim]
    grads = []
    for k in range(n):
        later = ctorch.cat([_ones(x.narrow(dim, 0, 1)), x.narrow(dim, k + 1, n - k - 1).cumprod(dim)], dim)
        if k > 0:
            later = later * x.narrow(dim, 0, k).prod(dim, keepdim=True)
        grads.append((g.narrow(dim, k, n - k) * later).sum(dim, keepdim=True))
    return ctorch.cat(grads, dim)


define("cumprod", input=_cumprod)
define("cumsum", input=lambda g, dim: _reversed_cumsum(g, dim))


# ---- greatest and least ----


def _share(g, input, out, dim=None, keepdim=False):
    """g shared out evenly among the elements equal to the result."""
    g, out = _restore(g, input.shape, dim, keepdim), _restore(out, input.shape, dim, keepdim)
    hits = (input == out) | ((input != input) & (out != out))
    return hits * (g / hits.sum(dim, keepdim=True) if input.dim() else g)


def _place(g, input_shape, dim, indices, keepdim):
    """g at the elements that the results were taken from."""
    if not keepdim and len(input_shape):
        g, indices = g.unsqueeze(dim), indices.unsqueeze(dim)
    return g.new_zeros(input_shape).scatter(dim, indices, g)


for _name in ("max", "min"):
    define(_name, input=lambda g, input, out: _share(g, input, out), node=f"{_name.capitalize()}Backward1")
    define(
        f"{_name}.dim",
        input=lambda g, input_shape, dim, keepdim, out1: _place(g, input_shape, dim, out1, keepdim),
    )
for _name in ("amax", "amin"):
    define(_name, input=lambda g, input, out, dim, keepdim: _share(g, input, out, dim, keepdim))

define(
    "max.other",
    input=lambda g, input, other: g * ((input > other) + (input == other) * 0.5),
    other=lambda g, input, other: g * ((input < other) + (input == other) * 0.5),
    node="MaximumBackward0",
)
define(
    "min.other",
    input=lambda g, input, other: g * ((input < other) + (input == other) * 0.5),
    other=lambda g, input, other: g * ((input > other) + (input == other) * 0.5),
    node="MinimumBackward0",
)


def _aminmax(gs, input, out0, out1, dim, keepdim):
    parts = [_share(g, input, out, dim, keepdim) for g, out in zip(gs, (out0, out1)) if g is not None]
    return sum(parts[1:], parts[0])


define("aminmax", input=_aminmax)


def _cumulative_extreme(g, input_shape, dim, out1):
    return g.new_zeros(input_shape).scatter_add(dim, out1, g) if len(input_shape) else g


define("cummax", input=_cumulative_extreme)
define("cummin", input=_cumulative_extreme)
not_differentiable("argmax", "argmin", "all", "any", "count_nonzero")


# ---- variance ----


def _distance(input, dim):
    return input - input.mean(dim, keepdim=True)


def _var(g, input, dim, correction, keepdim):
    freedom = _count(input.shape, dim) - (1 if correction is None else correction)
    g = _restore(g, input.shape, dim, keepdim)
    if freedom <= 0:
        return g * math.nan * _ones(input)
    return (2.0 / freedom) * g * _distance(input, dim)


def _std(g, input, out, dim, correction, keepdim):
    return _var((g / (out * 2)).masked_fill(out == 0, 0), input, dim, correction, keepdim)


def _with_mean(spread, gs, input, out0, dim, correction, keepdim):
    total = None
    if gs[0] is not None:
        g = gs[0] if spread == "var" else (gs[0] / (out0 * 2)).masked_fill(out0 == 0, 0)
        total = _var(g, input, dim, correction, keepdim)
    if gs[1] is not None:
        mean = (_restore(gs[1], input.shape, dim, keepdim) / _count(input.shape, dim)).expand(input.shape)
        total = mean if total is None else total + mean
    return total


define("var.correction", input=_var)
define("var.dim", input=lambda g, input, dim, unbiased, keepdim: _var(g, input, dim, int(unbiased), keepdim))
define("var.unbiased", input=lambda g, input, unbiased: _var(g, input, None, int(unbiased), False))
define("std.correction", input=_std)
define(
    "std.dim",
    input=lambda g, input, out, dim, unbiased, keepdim: _std(g, input, out, dim, int(unbiased), keepdim),
)
define("std.unbiased", input=lambda g, input, out, unbiased: _std(g, input, out, None, int(unbiased), False))
define(
    "var_mean.correction",
    input=lambda gs, input, out0, dim, correction, keepdim: _with_mean(
        "var", gs, input, out0, dim, correction, keepdim
    ),
)
define(
    "var_mean.dim",
    input=lambda gs, input, out0, dim, unbiased, keepdim: _with_mean(
        "var", gs, input, out0, dim, int(unbiased), keepdim
    ),
)
define(
    "var_mean.unbiased",
    input=lambda gs, input, out0, unbiased: _with_mean("var", gs, input, out0, None, int(unbiased), False),
)
define(
    "std_mean.correction",
    input=lambda gs, input, out0, dim, correction, keepdim: _with_mean(
        "std", gs, input, out0, dim, correction, keepdim
    ),
)
define(
    "std_mean.dim",
    input=lambda gs, input, out0, dim, unbiased, keepdim: _with_mean(
        "std", gs, input, out0, dim, int(unbiased), keepdim
    ),
)
define(
    "std_mean.unbiased",
    input=lambda gs, input, out0, unbiased: _with_mean("std", gs, input, out0, None, int(unbiased), False),
)


# ---- log-sum-exp and norms -----


def _logsumexp(g, input, out, dim, keepdim):
    out = _restore(out, input.shape, dim, keepdim)
    return (
        _restore(g, input.shape, dim, keepdim)
        * (input - out.masked_fill(out.abs() == math.inf, 0)).exp().conj()
    )


define("logsumexp", input=_logsumexp)


def _logcumsumexp(g, input, dim, out):
    if g.dim() == 0:
        return g

    def from_here(log_g):
        return ((log_g - out).flip([dim]).logcumsumexp(dim).flip([dim]) + input).exp()

    # The lowest number stands for log 0: infinities would meet in the second derivative.
    lowest = ctorch.finfo(g.dtype).min
    log_g = g.abs().masked_fill(g == 0, 1).log()
    return from_here(log_g.masked_fill(g <= 0, lowest)) - from_here(log_g.masked_fill(g >= 0, lowest))


define("logcumsumexp", input=_logcumsumexp)


def _vector_norm(g, x, p, out, dim, keepdim):
    p = 2.0 if p is None or p == "fro" else float(p)
    g, out = _restore(g, x.shape, dim, keepdim), _restore(out, x.shape, dim, keepdim)
    if p == 0:
        return g * 0 * _ones(x)
    if p == 1:
        return g * x.sgn()
    if p == 2:
        return g * (x / out).masked_fill(out == 0, 0)
    if math.isinf(p):
        hits = (x.abs() == out) | ((x != x) & (out != out))
        return x.sgn() * (g / hits.sum(dim, keepdim=True) if x.dim() else g) * hits
    scale = (g / out ** (p - 1)).masked_fill(out == 0, 0)
    if p < 2:
        return scale * x.sgn() * (x.abs() ** (p - 1)).masked_fill(x == 0, 0)
    return scale * x * x.abs() ** (p - 2)


define(
    "linalg_vector_norm", x=lambda g, x, ord, out, dim, keepdim: _vector_norm(g, x, ord, out, dim, keepdim)
)
define(
    "norm",
    input=lambda g, input, p, out, dim, keepdim: _vector_norm(g, input, p, out, dim, keepdim),
    node="LinalgVectorNormBackward0",
)
define(
    "dist",
    input=lambda g, input, other, p, out: _vector_norm(g, input - other, p, out, None, False),
    other=lambda g, input, other, p, out: -_vector_norm(g, input - other, p, out, None, False),
)
