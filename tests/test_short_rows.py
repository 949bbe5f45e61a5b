"""Reductions, softmax, norms and cross entropy of short rows, which are computed side by side, many at a time: against
float64 for lengths on both sides of where that begins and ends.
"""

from __future__ import annotations

import numpy as np
import pytest
from tests.levels import not_at_a_forced_level, run_at_level

import ctorch
import ctorch.nn.functional as F

LENGTHS = [1, 2, 3, 7, 8, 9, 16, 17, 31, 32, 33, 48, 63, 64, 65, 100, 127, 128, 129]
ROWS = [1, 7, 8, 9, 33, 64, 65, 150]
FLOATS = [ctorch.float32, ctorch.float64, ctorch.bfloat16, ctorch.float16]


def eps(dtype):
    return {1: 0}.get(dtype.itemsize) or ctorch.finfo(dtype).eps


def numbers(rows, n, dtype, layout="dense", seed=0):
    """Rows of n numbers, the same for every layout."""
    values = np.random.default_rng(seed + 1000 * n + rows).standard_normal((rows, n)) * 3
    x = ctorch.from_numpy(values).to(dtype)
    if layout == "padded":
        wide = ctorch.full((rows, n + 5), float("nan"), dtype=ctorch.float64).to(dtype)
        wide[:, 2 : n + 2] = x
        return wide[:, 2 : n + 2]
    if layout == "sliced":
        wide = ctorch.zeros(rows, 3, n, dtype=dtype)
        wide[:, 1] = x
        return wide[:, 1]
    return x


REDUCTIONS = {
    "sum": (lambda t: t.sum(1), lambda x: x.sum(1)),
    "amax": (lambda t: t.amax(1), lambda x: x.max(1)),
    "amin": (lambda t: t.amin(1), lambda x: x.min(1)),
    "argmax": (lambda t: t.argmax(1), lambda x: x.argmax(1)),
    "argmin": (lambda t: t.argmin(1), lambda x: x.argmin(1)),
    "max": (lambda t: t.max(1).values, lambda x: x.max(1)),
    "max index": (lambda t: t.max(1).indices, lambda x: x.argmax(1)),
    "var": (lambda t: t.var(1, correction=0), lambda x: x.var(1)),
    "std": (lambda t: t.std(1, correction=0), lambda x: x.std(1)),
    "logsumexp": (
        lambda t: t.logsumexp(1),
        lambda x: np.log(np.exp(x - x.max(1, keepdims=True)).sum(1)) + x.max(1),
    ),
    "norm": (lambda t: t.norm(dim=1), lambda x: np.sqrt((x * x).sum(1))),
    "norm1": (lambda t: t.norm(1, dim=1), lambda x: np.abs(x).sum(1)),
    "norm inf": (lambda t: t.norm(float("inf"), dim=1), lambda x: np.abs(x).max(1)),
    "prod": (lambda t: (t * 0.25 + 1).prod(1), None),
}


@pytest.mark.parametrize("layout", ["dense", "padded", "sliced"])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_of_floats(name, dtype, layout):
    ours, exact = REDUCTIONS[name]
    for n in LENGTHS:
        for rows in ROWS:
            x = numbers(rows, n, dtype, layout)
            values = x.double().numpy()
            if exact is None:  # of the factors as they are rounded
                expected = (x * 0.25 + 1).double().numpy().prod(1)
            else:
                expected = exact(values)
            result = ours(x).double().numpy()
            scale = np.maximum(1, np.abs(expected)) if name != "sum" else np.abs(values).sum(1) + 1
            bound = (4 + (n if name == "prod" else 0)) * max(eps(dtype), 1e-16) * scale
            exceeds = np.isfinite(expected) & (np.abs(result - expected) > bound)
            overflown = np.abs(expected) > 60000 if dtype is ctorch.float16 else np.zeros_like(exceeds)
            assert not (exceeds & ~overflown).any(), (n, rows, result[exceeds], expected[exceeds])


@pytest.mark.parametrize("dtype", [ctorch.int32, ctorch.int64, ctorch.int16, ctorch.uint8, ctorch.bool])
def test_reductions_of_integers(dtype):
    for n in LENGTHS:
        for rows in (8, 65):
            values = np.random.default_rng(n).integers(0, 2 if dtype is ctorch.bool else 100, (rows, n))
            x = ctorch.from_numpy(values).to(dtype)
            values = x.numpy()
            for name, axis in (("amax", "max"), ("amin", "min"), ("argmax", "argmax"), ("argmin", "argmin")):
                if dtype is ctorch.bool and name.startswith("arg"):
                    continue
                assert np.array_equal(getattr(x, name)(1).numpy(), getattr(values, axis)(1)), (name, n, rows)
            assert np.array_equal(x.sum(1).numpy(), values.sum(1, dtype=np.int64))
            assert np.array_equal(x.any(1).numpy(), values.any(1)) and np.array_equal(
                x.all(1).numpy(), values.all(1)
            )


@pytest.mark.parametrize("dtype", [ctorch.complex64, ctorch.complex128])
def test_reductions_of_complex_numbers(dtype):
    for n in LENGTHS:
        x = ctorch.complex(numbers(70, n, ctorch.float64), numbers(70, n, ctorch.float64, seed=5)).to(dtype)
        values = x.numpy().astype(np.complex128)
        tolerance = {"rtol": 1e-5 if dtype is ctorch.complex64 else 1e-13, "atol": 1e-12}
        np.testing.assert_allclose(x.norm(dim=1).numpy(), np.sqrt((np.abs(values) ** 2).sum(1)), **tolerance)
        np.testing.assert_allclose((x / 3).prod(1).numpy(), (values / 3).prod(1), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("n", [3, 10, 33, 64, 100, 128])
@pytest.mark.parametrize("dtype", FLOATS)
def test_special_values_stay_in_their_rows(dtype, n):
    x = numbers(70, n, dtype)
    x[3, n // 2], x[11, n - 1], x[20, 0] = float("nan"), float("inf"), -float("inf")
    x[40] = -float("inf")
    x[50] = 1.0
    clean = [r for r in range(70) if r not in (3, 11, 20, 40)]
    assert x.amax(1)[3].isnan() and x.argmax(1)[3] == n // 2 and x.argmin(1)[3] == n // 2
    assert x.amax(1)[11] == float("inf") and x.argmax(1)[11] == n - 1 and x.argmin(1)[20] == 0
    assert x.argmax(1)[50] == 0 and x.max(1).indices[40] == 0
    assert x.logsumexp(1)[40] == -float("inf") and x.logsumexp(1)[11] == float("inf")
    y = ctorch.softmax(x, 1)
    assert y[3].isnan().all() and y[11].isnan().any() and y[40].isnan().all() and y[20, 0] == 0
    for result in (y, ctorch.log_softmax(x, 1), x.logsumexp(1), x.var(1), x.amax(1), F.layer_norm(x, (n,))):
        assert result[clean].isfinite().all()
    losses = F.cross_entropy(x.float(), ctorch.zeros(70, dtype=ctorch.int64), reduction="none")
    assert losses[3].isnan() and losses[clean].isfinite().all()


def softmax_in_double(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


@pytest.mark.parametrize("dtype", FLOATS)
def test_softmax_and_its_gradient(dtype):
    for n in LENGTHS:
        for rows in ROWS:
            x = numbers(rows, n, dtype).requires_grad_()
            values = x.detach().double().numpy()
            p = softmax_in_double(values)
            g = numbers(rows, n, dtype, seed=7)
            upstream = g.double().numpy()
            for function, y, gradient in (
                (ctorch.softmax, p, p * (upstream - (upstream * p).sum(1, keepdims=True))),
                (ctorch.log_softmax, np.log(p), upstream - p * upstream.sum(1, keepdims=True)),
            ):
                result = function(x, 1)
                (dx,) = ctorch.autograd.grad(result, x, g)
                scale = 1 + np.abs(upstream).sum(1, keepdims=True)
                assert (
                    np.abs(result.detach().double().numpy() - y) <= 8 * eps(dtype) * (1 + np.abs(y))
                ).all(), (n, rows)
                assert (np.abs(dx.double().numpy() - gradient) <= 8 * eps(dtype) * scale).all(), (n, rows)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [ctorch.float32, ctorch.float64])
def test_cross_entropy(dtype, weighted, smoothing):
    for n in LENGTHS:
        for rows in ROWS:
            random = np.random.default_rng(n * 1000 + rows)
            x = numbers(rows, n, dtype).requires_grad_()
            target = random.integers(0, n, rows)
            target[random.random(rows) < 0.2] = -100
            w = np.linspace(0.5, 1.5, n) if weighted else np.ones(n)
            weight = ctorch.from_numpy(w).to(dtype) if weighted else None
            losses = F.cross_entropy(
                x, ctorch.from_numpy(target), weight, reduction="none", label_smoothing=smoothing
            )
            g = numbers(rows, 1, dtype, seed=3)[:, 0]
            (dx,) = ctorch.autograd.grad(losses, x, g)
            q = np.zeros((rows, n)) + smoothing / n * w
            counted = target >= 0
            q[counted, target[counted]] += (1 - smoothing) * w[target[counted]]
            q[~counted] = 0
            p = softmax_in_double(x.detach().double().numpy())
            expected = -(q * np.log(p)).sum(1)
            gradient = g.double().numpy()[:, None] * (p * q.sum(1, keepdims=True) - q)
            bound = 16 * eps(dtype)
            assert (np.abs(losses.detach().double().numpy() - expected) <= bound * (1 + expected)).all(), (
                n,
                rows,
            )
            assert (np.abs(dx.double().numpy() - gradient) <= bound * 8).all(), (n, rows)


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_row_is_the_same_on_any_number_of_threads(dtype):
    before = ctorch.get_num_threads()
    x = numbers(5000, 19, dtype)
    functions = [
        lambda t: t.amax(1),
        lambda t: t.var(1),
        lambda t: ctorch.softmax(t, 1),
        lambda t: t.logsumexp(1),
    ]
    try:
        ctorch.set_num_threads(1)
        alone = [f(x) for f in functions]
        for threads in (2, 3):
            ctorch.set_num_threads(threads)
            assert all(ctorch.equal(f(x), y) for f, y in zip(functions, alone, strict=True))
    finally:
        ctorch.set_num_threads(before)


@not_at_a_forced_level
@pytest.mark.parametrize("level", ["generic", "avx2", "avx512"])
def test_other_levels(level):
    run_at_level(__file__, level)
