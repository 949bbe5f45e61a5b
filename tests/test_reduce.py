"""Reductions, scans and softmax against PyTorch: values, layouts, dtypes, thread counts, accuracy, errors."""

from __future__ import annotations

import math

import numpy as np
import pytest

import ctorch

torch = pytest.importorskip("torch")

FLOATS = ["float32", "float64", "float16", "bfloat16"]
INTEGERS = ["uint8", "int8", "int16", "int32", "int64", "bool"]
TOLERANCE = {
    "float32": 2e-6,
    "float64": 1e-13,
    "float16": 2e-3,
    "bfloat16": 1.6e-2,
    "complex64": 2e-6,
    "complex128": 1e-13,
}


def pair(shape, dtype="float32", seed=0, positive=False):
    """The same values as a ctorch and a torch tensor."""
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        a = rng.integers(0, 2, shape).astype(bool)
    elif dtype.startswith(("int", "uint")):
        a = rng.integers(0 if dtype == "uint8" else -4, 5, shape).astype(dtype)
    elif dtype.startswith("complex"):
        a = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)
    else:
        a = rng.standard_normal(shape).astype("float64" if dtype == "float64" else "float32")
        a = np.abs(a) + 0.5 if positive else a
    a = np.asarray(a)
    x, y = ctorch.from_numpy(a.copy()), torch.from_numpy(a.copy())
    if dtype in ("float16", "bfloat16"):
        x, y = x.to(getattr(ctorch, dtype)), y.to(getattr(torch, dtype))
    return x, y


def same(ours, theirs, tolerance=None, what=""):
    if isinstance(theirs, (tuple, list)):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs):
            same(a, b, tolerance, what)
        return
    assert str(ours.dtype).split(".")[-1] == str(theirs.dtype).split(".")[-1], what
    assert tuple(ours.shape) == tuple(theirs.shape), what
    kind = str(theirs.dtype).split(".")[-1]
    if kind in ("float16", "bfloat16"):
        ours, theirs = ours.to(ctorch.float32), theirs.to(torch.float32)
    a, b = ours.detach().numpy(), theirs.detach().numpy()
    if kind in TOLERANCE:
        scale = max(1.0, float(np.max(np.abs(b[np.isfinite(b)]), initial=0.0)))
        np.testing.assert_allclose(
            a, b, rtol=tolerance or TOLERANCE[kind], atol=(tolerance or TOLERANCE[kind]) * scale
        )
    else:
        np.testing.assert_array_equal(a, b)


LAYOUTS = {
    "contiguous": lambda t: t,
    "transposed": lambda t: t.transpose(0, -1),
    "permuted": lambda t: t.permute(1, 2, 0),
    "strided": lambda t: t[:, ::2],
    "offset": lambda t: t[1:, 1:, 2:],
    "expanded": lambda t: t[:, :1].expand(-1, 4, -1),
    "scalar columns": lambda t: t[..., ::3],
}
SHAPES = [(5, 6, 7), (3, 40, 130), (70, 3, 5), (2, 2, 1100)]
DIMS = [None, 0, 1, 2, -1, (0, 1), (0, 2), (1, 2), (0, 1, 2)]

PLAIN = {
    "sum": lambda m, t, **k: t.sum(**k),
    "mean": lambda m, t, **k: t.mean(**k),
    "var": lambda m, t, **k: t.var(**k),
    "std": lambda m, t, **k: m.std(t, correction=0, **k),
    "amax": lambda m, t, **k: t.amax(**k),
    "amin": lambda m, t, **k: t.amin(**k),
    "all": lambda m, t, **k: (t > -1).all(**k),
    "any": lambda m, t, **k: (t > 2).any(**k),
    "logsumexp": lambda m, t, **k: t.logsumexp(**k),
    "norm": lambda m, t, **k: t.norm(2, **k),
    "norm1": lambda m, t, **k: t.norm(1, **k),
    "norm3": lambda m, t, **k: t.norm(3.5, **k),
    "norm_inf": lambda m, t, **k: t.norm(math.inf, **k),
    "nansum": lambda m, t, **k: t.nansum(**k),
    "count_nonzero": lambda m, t, dim: t.count_nonzero(dim),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("op", PLAIN)
def test_every_layout_and_choice_of_dims(op, layout):
    for shape in SHAPES:
        x, y = (LAYOUTS[layout](t) for t in pair(shape))
        for dim in DIMS:
            if op == "logsumexp" and dim is None:
                continue
            options = [{}] if op == "count_nonzero" else [{}, {"keepdim": True}]
            for keep in options:
                if op in ("amax", "amin") and dim is None:
                    dim = ()
                args = {"dim": dim} | keep
                same(PLAIN[op](ctorch, x, **args), PLAIN[op](torch, y, **args), 1e-5, f"{op} {shape} {args}")


@pytest.mark.parametrize("dtype", FLOATS + INTEGERS + ["complex64", "complex128"])
def test_every_dtype(dtype):
    x, y = pair((4, 9, 33), dtype)
    calls = [
        lambda t: t.sum(),
        lambda t: t.sum(1),
        lambda t: t.prod(2),
        lambda t: t.all(0),
        lambda t: t.any(-1),
    ]
    calls += [lambda t: t.count_nonzero(1), lambda t: t.sum((0, 2), keepdim=True), lambda t: t.cumsum(1)]
    if not dtype.startswith("complex"):
        calls += [
            lambda t: t.max(),
            lambda t: t.min(1),
            lambda t: t.max(0),
            lambda t: t.amax((0, 2)),
            lambda t: t.aminmax(),
        ]
        calls += [lambda t: t.cummax(1), lambda t: t.cummin(-1)]
        if dtype != "bool":
            calls += [lambda t: t.argmax(), lambda t: t.argmin(0), lambda t: t.argmax(-1, keepdim=True)]
    if dtype in TOLERANCE:
        calls += [
            lambda t: t.mean(),
            lambda t: t.var(1),
            lambda t: t.std(),
            lambda t: t.norm(dim=1),
            lambda t: t.norm(1),
        ]
        calls += [lambda t: t.cumprod(2)]
    for i, call in enumerate(calls):
        same(call(x), call(y), None, f"call {i}")


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "complex64", "bool", "float16"])
def test_sum_and_prod_into_another_dtype(dtype):
    x, y = pair((3, 4, 5), "int32")
    same(x.sum(1, dtype=getattr(ctorch, dtype)), y.sum(1, dtype=getattr(torch, dtype)))
    same(x.prod(1, dtype=getattr(ctorch, dtype)), y.prod(1, dtype=getattr(torch, dtype)))
    same(x.cumsum(1, dtype=ctorch.float64), y.cumsum(1, dtype=torch.float64))


def test_negative_strides():
    a = np.arange(24.0, dtype=np.float32).reshape(4, 6)
    x, b = ctorch.from_numpy(a[::-1, ::-2]), a[::-1, ::-2]
    np.testing.assert_allclose(x.sum(0).numpy(), b.sum(0))
    np.testing.assert_allclose(x.sum(1).numpy(), b.sum(1))
    np.testing.assert_allclose(x.sum().numpy(), b.sum())
    np.testing.assert_array_equal(x.argmax(0).numpy(), b.argmax(0))
    np.testing.assert_array_equal(x.argmin(1).numpy(), b.argmin(1))
    assert x.argmax().item() == b.argmax()
    np.testing.assert_allclose(x.cumsum(1).numpy(), b.cumsum(1))


def test_nan_and_infinity():
    a = np.array([[1, np.nan, 3], [np.inf, 2, -np.inf], [5, 6, 7]], np.float32)
    x, y = ctorch.from_numpy(a), torch.from_numpy(a)
    for call in [
        lambda t: t.max(),
        lambda t: t.min(),
        lambda t: t.max(0),
        lambda t: t.min(1),
        lambda t: t.argmax(1),
        lambda t: t.amax(1),
        lambda t: t.nansum(),
        lambda t: t.nanmean(1),
        lambda t: t.logsumexp(0),
        lambda t: t.logsumexp(1),
        lambda t: t.sum(1),
        lambda t: t.norm(2, 1),
        lambda t: t.norm(math.inf),
        lambda t: t.cummax(1),
        lambda t: t.logcumsumexp(1),
        lambda t: t.all(),
    ]:
        same(call(x), call(y))


def test_first_of_equal_extremes():
    x = ctorch.tensor([[2.0, 5.0, 5.0, 1.0, 1.0]] * 3)
    assert (
        x.argmax(1).tolist() == [1] * 3
        and x.argmin(1).tolist() == [3] * 3
        and x.max(0).indices.tolist() == [0] * 5
    )
    long = ctorch.zeros(100000)
    assert long.argmax().item() == 0 and long.max(0).indices.item() == 0


@pytest.mark.parametrize("n", [1, 2, 7, 63, 64, 65, 1000, 8191, 8193, 65537, 300001])
def test_lengths(n):
    x, y = pair((n,))
    for call in [
        lambda t: t.sum(),
        lambda t: t.var(),
        lambda t: t.max(0),
        lambda t: t.logsumexp(0),
        lambda t: t.norm(),
        lambda t: t.softmax(0),
        lambda t: t.log_softmax(0),
        lambda t: t.argmin(),
        lambda t: t.count_nonzero(),
    ]:
        same(call(x), call(y), 1e-5)
    same(x.double().cumsum(0), y.double().cumsum(0), 1e-12)


def test_sums_are_as_accurate_as_pytorchs():
    rng = np.random.default_rng(1)
    a = (rng.random(5_000_000) + 0.5).astype(np.float32)
    exact = a.astype(np.float64).sum()
    ours = abs(ctorch.from_numpy(a).sum().item() - exact)
    theirs = abs(torch.from_numpy(a).sum().item() - exact)
    assert ours <= max(theirs, exact * 2**-23)
    b = a.reshape(-1, 10)
    np.testing.assert_allclose(ctorch.from_numpy(b).sum(0).numpy(), b.astype(np.float64).sum(0), rtol=2e-7)
    c = (rng.standard_normal(200_000) + 1e4).astype(np.float32)
    np.testing.assert_allclose(ctorch.from_numpy(c).var().item(), c.astype(np.float64).var(ddof=1), rtol=1e-5)


def test_bits_do_not_depend_on_the_number_of_threads():
    x, _ = pair((700, 900))
    calls = [
        lambda: x.sum(),
        lambda: x.sum(0),
        lambda: x.sum(1),
        lambda: x.var(),
        lambda: x.var(0),
        lambda: x.logsumexp((0, 1)),
        lambda: x.norm(),
        lambda: x.reshape(-1).cumsum(0),
        lambda: x.softmax(0),
    ]
    threads = ctorch.get_num_threads()
    try:
        results = []
        for n in (1, 2, 3):
            ctorch.set_num_threads(n)
            results.append([call().numpy().tobytes() for call in calls])
    finally:
        ctorch.set_num_threads(threads)
    assert results[0] == results[1] == results[2]


def test_empty_inputs():
    x, y = ctorch.zeros(0, 3), torch.zeros(0, 3)
    for call in [
        lambda t: t.sum(),
        lambda t: t.sum(0),
        lambda t: t.sum(1),
        lambda t: t.prod(0),
        lambda t: t.mean(0),
        lambda t: t.var(0),
        lambda t: t.all(0),
        lambda t: t.any(),
        lambda t: t.logsumexp(0),
        lambda t: t.norm(dim=0),
        lambda t: t.amax(1),
        lambda t: t.argmax(1),
        lambda t: t.max(1),
        lambda t: t.cumsum(0),
        lambda t: t.softmax(0),
    ]:
        same(call(x), call(y))
    for call in [lambda t: t.max(), lambda t: t.amax(()), lambda t: t.aminmax()]:
        with pytest.raises(RuntimeError):
            call(x)
    for call in [lambda t: t.max(0), lambda t: t.amax(0), lambda t: t.argmax(), lambda t: t.argmin(0)]:
        with pytest.raises(IndexError):
            call(x)


def test_zero_dim_inputs():
    x, y = ctorch.tensor(3.0), torch.tensor(3.0)
    for call in [
        lambda t: t.sum(),
        lambda t: t.sum(0),
        lambda t: t.max(0),
        lambda t: t.argmax(-1),
        lambda t: t.var(correction=0),
        lambda t: t.cumsum(0),
        lambda t: t.softmax(0),
        lambda t: t.prod(0, keepdim=True),
        lambda t: t.logsumexp(0),
        lambda t: t.norm(),
    ]:
        same(call(x), call(y))


def test_out():
    x, y = pair((4, 5))
    out = ctorch.empty(0)
    result = ctorch.sum(x, 1, out=out)
    assert result is out
    same(out, y.sum(1))
    same(
        ctorch.mean(x, 0, out=ctorch.empty(5, dtype=ctorch.float64)),
        torch.mean(y, 0, out=torch.empty(5, dtype=torch.float64)),
    )
    strided = ctorch.zeros(5, 2)
    ctorch.sum(x, 0, out=strided[:, 1])
    same(strided[:, 1], y.sum(0))
    same(strided[:, 0], torch.zeros(5))
    values, indices = ctorch.empty(0), ctorch.empty(0, dtype=ctorch.int64)
    named = ctorch.max(x, 1, out=(values, indices))
    assert named.values is values and named.indices is indices
    same((values, indices), tuple(y.max(1)))
    ctorch.cumsum(x, 0, out=out)
    same(out, y.cumsum(0))
    x.cumsum_(1)
    same(x, y.cumsum_(1))


def test_variance_forms():
    x, y = pair((3, 7))
    for call in [
        lambda m, t: t.var(False),
        lambda m, t: t.var(1, True),
        lambda m, t: t.var(1, False, True),
        lambda m, t: t.var(dim=1, unbiased=False, keepdim=True),
        lambda m, t: t.var(dim=(0, 1), correction=2),
        lambda m, t: t.std(1, correction=0),
        lambda m, t: m.var_mean(t),
        lambda m, t: m.var_mean(t, 1),
        lambda m, t: m.std_mean(t, (0,), keepdim=True),
        lambda m, t: m.std_mean(t, False),
        lambda m, t: m.var(t[:, :1], 1),
        lambda m, t: m.var(t[:, :1], 1, correction=3),
    ]:
        same(call(ctorch, x), call(torch, y))


@pytest.mark.parametrize(
    ("error", "call", "text"),
    [
        (IndexError, lambda x: x.sum(3), "Dimension out of range"),
        (RuntimeError, lambda x: x.sum((0, 0)), "multiple times"),
        (RuntimeError, lambda x: x.long().mean(), "could not infer output dtype"),
        (RuntimeError, lambda x: x.long().var(), "floating point"),
        (IndexError, lambda x: x.softmax(2), "out of range"),
        (RuntimeError, lambda x: x.long().softmax(0), "floating dtype"),
        (RuntimeError, lambda x: x.to(ctorch.complex64).max(), "complex64"),
        (RuntimeError, lambda x: x.norm("other"), "'other'"),
        (TypeError, lambda x: x.sum("a"), "sum"),
        (TypeError, lambda x: x.cumsum(), "cumsum"),
    ],
)
def test_errors(error, call, text):
    with pytest.raises(error, match=text):
        call(ctorch.zeros(2, 3))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(3, 10), (2, 33, 5), (4, 1000), (2, 3, 300), (5, 1)])
def test_softmax(shape, dtype):
    x, y = pair(shape, dtype)
    for dim in range(len(shape)):
        same(x.softmax(dim), y.softmax(dim))
        same(x.log_softmax(dim), y.log_softmax(dim))
        same(x.transpose(0, 1).softmax(dim), y.transpose(0, 1).softmax(dim))
    same(ctorch.softmax(x, 0, dtype=ctorch.float64), torch.softmax(y, 0, dtype=torch.float64))


def test_softmax_of_masked_and_large_values():
    a = np.array(
        [[0, -np.inf, 1], [1e4, 1e4 + 1, -1e4], [-np.inf] * 3, [np.nan, 1, 2], [np.inf, 1, 2]], np.float32
    )
    x, y = ctorch.from_numpy(a), torch.from_numpy(a)
    for dim in (0, 1):
        same(x.softmax(dim), y.softmax(dim))
        same(x.log_softmax(dim), y.log_softmax(dim))


@pytest.mark.parametrize("order", [None, "fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf])
def test_matrix_norms(order):
    x, y = pair((4, 3), "float64")
    same(ctorch.linalg.norm(x, order), torch.linalg.norm(y, order))
    same(ctorch.linalg.norm(x, order, (1, 0), True), torch.linalg.norm(y, order, (1, 0), True))
    if order is not None:
        x, y = pair((2, 4, 3), "float64")
        same(ctorch.linalg.matrix_norm(x, order, (0, 2)), torch.linalg.matrix_norm(y, order, (0, 2)))
        x.requires_grad_()
        assert ctorch.autograd.gradcheck(lambda t: ctorch.linalg.matrix_norm(t, order), (x,))


GRADIENTS = {
    "sum": lambda t: t.sum(1),
    "mean": lambda t: t.mean((0, 2), keepdim=True),
    "nansum": lambda t: t.nansum(1),
    "nanmean": lambda t: t.nanmean(0),
    "prod": lambda t: t.prod(),
    "prod dim": lambda t: t.prod(1),
    "var": lambda t: t.var(1),
    "std": lambda t: t.std((0, 2), correction=0),
    "var_mean": lambda t: ctorch.var_mean(t, 1),
    "std_mean": lambda t: ctorch.std_mean(t, 2, keepdim=True),
    "amax": lambda t: t.amax((0, 1)),
    "amin": lambda t: t.amin(2, keepdim=True),
    "max": lambda t: t.max(),
    "max dim": lambda t: t.max(1).values,
    "min dim": lambda t: t.min(-1, keepdim=True).values,
    "aminmax": lambda t: tuple(t.aminmax(dim=1)),
    "logsumexp": lambda t: t.logsumexp((0, 2)),
    "norm": lambda t: t.norm(2, 1),
    "norm1": lambda t: t.norm(1),
    "norm3": lambda t: t.norm(3, (0, 1), keepdim=True),
    "norm1.5": lambda t: t.norm(1.5, 2),
    "norm inf": lambda t: t.norm(math.inf, 1),
    "cumsum": lambda t: t.cumsum(1),
    "cumprod": lambda t: t.cumprod(1),
    "cummax": lambda t: t.cummax(1).values,
    "logcumsumexp": lambda t: t.logcumsumexp(2),
    "softmax": lambda t: t.softmax(1),
    "log_softmax": lambda t: t.log_softmax(-1),
    "trace": lambda t: t[0].trace(),
    "dist": lambda t: ctorch.dist(t, t[0], 2) + ctorch.dist(t.flip(0) + 9, t, 1.5),
}


@pytest.mark.parametrize("op", GRADIENTS)
def test_gradients(op):
    x, _ = pair((3, 4, 5), "float64", seed=3)
    x.requires_grad_()
    assert ctorch.autograd.gradcheck(GRADIENTS[op], (x,))
    assert ctorch.autograd.gradgradcheck(GRADIENTS[op], (x,))


def test_gradients_of_products_with_zeros():
    for zeros in ([], [1], [1, 3]):
        x, _ = pair((2, 5), "float64", seed=4)
        for z in zeros:
            x[0, z] = 0.0
        x.requires_grad_()
        for fn in (lambda t: t.prod(), lambda t: t.prod(1), lambda t: t.cumprod(1)):
            assert ctorch.autograd.gradcheck(fn, (x,))
            assert ctorch.autograd.gradgradcheck(fn, (x,))


def test_gradients_where_a_formula_divides_by_zero():
    zero = ctorch.zeros(3, requires_grad=True)
    zero.norm().backward()
    assert zero.grad.tolist() == [0, 0, 0]
    constant = ctorch.ones(3, requires_grad=True)
    constant.std().backward()
    assert constant.grad.tolist() == [0, 0, 0]


def test_ties_share_the_gradient():
    x = ctorch.tensor([1.0, 3.0, 3.0], requires_grad=True)
    x.amax().backward()
    assert x.grad.tolist() == [0, 0.5, 0.5]
    x.grad = None
    x.max(0).values.backward()
    assert x.grad.tolist() == [0, 1, 0]
