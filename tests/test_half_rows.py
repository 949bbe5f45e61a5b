"""Reductions, softmax and norms of float16 and bfloat16, which are computed in float32 copies of rows or in registers:
against float64, over lengths around the sizes of the copies, layouts, special values, and every level of the machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.levels import not_at_a_forced_level, run_at_level

import ctorch

HALVES = ["float16", "bfloat16"]
F = ctorch.nn.functional
INF, NAN = float("inf"), float("nan")


def some(dtype: str, *shape: int, seed: int = 0) -> Any:
    numbers = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return ctorch.tensor(numbers).to(getattr(ctorch, dtype))


def assert_close(ours: Any, exact: Any, slack: float = 4e-6, case: object = None) -> None:
    """Half a unit in the last place, and what float32 may add: `slack` times the largest result or 1."""
    eps, smallest = (2.0**-10, 2.0**-24) if ours.dtype == ctorch.float16 else (2.0**-7, 2.0**-133)
    wide, largest = ours.double(), 65520.0 if ours.dtype == ctorch.float16 else INF
    exact = exact.masked_fill(exact.abs() >= largest, INF)  # no test has so great a negative result
    assert ours.shape == exact.shape and ctorch.equal(wide.isnan(), exact.isnan()), case
    bound = (
        exact.abs() * (eps * 0.51)
        + smallest
        + slack * max(1.0, exact.masked_fill(exact.isinf(), 0).nan_to_num().abs().max().item())
    )
    assert ctorch.equal(wide.isinf(), exact.isinf()), case
    assert ((wide - exact).masked_fill(exact.isinf() | exact.isnan(), 0).abs() <= bound).all().item(), case


VALUES: dict[str, Callable[..., Any]] = {
    "sum": ctorch.sum,
    "mean": ctorch.mean,
    "nansum": ctorch.nansum,
    "amax": ctorch.amax,
    "amin": ctorch.amin,
    "var": ctorch.var,
    "std": ctorch.std,
    "logsumexp": ctorch.logsumexp,
    "norm 1": lambda x, dim: ctorch.linalg.vector_norm(x, 1, dim),
    "norm 2": lambda x, dim: ctorch.linalg.vector_norm(x, 2, dim),
    "norm 3": lambda x, dim: ctorch.linalg.vector_norm(x, 3, dim),
    "norm inf": lambda x, dim: ctorch.linalg.vector_norm(x, INF, dim),
    "norm -inf": lambda x, dim: ctorch.linalg.vector_norm(x, -INF, dim),
}


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", VALUES)
def test_reductions_of_lengths_and_layouts(name: str, dtype: str) -> None:
    op = VALUES[name]

    def check(x: Any, dim: Any) -> None:
        assert_close(op(x, dim), op(x.double(), dim), case=(x.shape, x.stride(), dim))

    for n in [2, 3, 7, 8, 15, 16, 17, 31, 33, 63, 65, 127, 255, 256, 257, 2047, 2048, 2049, 8193, 20000]:
        x = some(dtype, 3 * n + 1, seed=n)[1:].view(3, n)  # from an odd element on
        check(x, 1)
        check(x.t().contiguous(), 0)
        check(x.view(-1), 0)
    x = some(dtype, 5, 70, 6, 130)
    for dim in (0, 1, 2, 3, (0, 3), (1, 2), (0, 2, 3), (0, 1, 2), (0, 1, 2, 3)):
        check(x, dim)
        check(x.permute(2, 3, 0, 1), dim)
        check(x[:, ::3, :, 1::2], dim)
        check(x[1:4, :, :, :70], dim)
    check(some(dtype, 1, 300).expand(40, 300), 0)
    check(some(dtype, 700, 1500), 0)
    check(some(dtype, 90, 3), 0)


@pytest.mark.parametrize("dtype", HALVES)
def test_places_of_extremes(dtype: str) -> None:
    for shape in ((3, 5), (4, 2100), (2100, 4), (40, 8200), (300, 257)):
        x = some(dtype, *shape).round()  # many equals, of which the first counts
        for dim in (0, 1, None):
            for op in (ctorch.argmax, ctorch.argmin):
                assert ctorch.equal(op(x, dim), op(x.float(), dim)), (shape, dim)
                assert ctorch.equal(op(x.t(), dim), op(x.t().float(), dim)), (shape, dim)
        for dim in (0, 1):
            values, indices = x.max(dim)
            wide_values, wide_indices = x.float().max(dim)
            assert ctorch.equal(values.float(), wide_values) and ctorch.equal(indices, wide_indices)
            assert values.dtype == x.dtype
    x = some(dtype, 5, 3000)
    x[1, 2500] = NAN
    x[2, 2999] = INF
    x[3, 0] = -INF
    assert x.argmax(1)[1:3].tolist() == [2500, 2999] and x.argmin(1)[[1, 3]].tolist() == [2500, 0]
    assert x.amax(1)[1].isnan().item() and x.amax(1)[2].item() == INF and x.amin(1)[3].item() == -INF
    assert x.max().isnan().item() and x.t().argmax(0).tolist() == x.argmax(1).tolist()


@pytest.mark.parametrize("dtype", HALVES)
def test_special_values_and_no_elements(dtype: str) -> None:
    kind = getattr(ctorch, dtype)
    for n in (5, 100, 3000):
        for special in (NAN, INF, -INF):
            x = ctorch.ones(2, n, dtype=kind)
            x[0, n // 2] = special
            for dim, y in ((1, x), (0, x.t().contiguous())):
                total = y.sum(dim)
                assert (
                    str(total[0].item()) == str(special)
                    and total[1].item() == ctorch.tensor(n, dtype=kind).item()
                )
                assert y.var(dim)[0].isnan().item() and y.var(dim)[1].item() == 0
                assert ctorch.linalg.vector_norm(y, 2, dim)[0].item() == pytest.approx(
                    abs(special), nan_ok=True
                )
    nothing = ctorch.ones(3, 0, dtype=kind)
    assert nothing.sum(1).tolist() == [0, 0, 0] and nothing.mean(1).isnan().all().item()
    assert nothing.sum(0).shape == (0,) and F.softmax(nothing, 1).shape == (3, 0)
    assert F.layer_norm(ctorch.ones(0, 7, dtype=kind), (7,)).shape == (0, 7)


def test_float16_overflows_in_results_alone() -> None:
    x = ctorch.full((70, 3000), 60000.0, dtype=ctorch.float16)
    assert x.sum(1)[0].item() == INF and x.sum(0)[0].item() == INF and x.sum().item() == INF
    x[:, 1500:] = -60000
    assert x.sum(1)[0].item() == 0 and x.sum().item() == 0 and x.mean().item() == 0
    assert x.sum(1, dtype=ctorch.float32)[0].item() == 0 and x.mean(1)[0].item() == 0
    assert x.std(1, correction=0)[0].item() == 60000
    assert x[:, :10].t().contiguous().sum(0)[0].item() == INF
    y = F.layer_norm(x, (3000,))
    assert y[0, 0].item() == 1 and y[0, -1].item() == -1
    subnormal = ctorch.full((3000,), 2.0**-24, dtype=ctorch.float16)
    assert subnormal.sum().item() == 3000 * 2.0**-24 and subnormal.amax().item() == 2.0**-24


@pytest.mark.parametrize("dtype", HALVES)
def test_sums_keep_the_precision_of_float32_and_show_it_on_demand(dtype: str) -> None:
    x = some(dtype, 200, 5003).abs()
    for y, dim in ((x, 1), (x, 0), (x, None), (x.t(), 0), (x[:, ::2], 1), (x[:, :200], 1)):
        exact = y.double().sum(dim)
        for op, wide in ((ctorch.sum, exact), (ctorch.mean, exact * (exact.numel() / y.numel()))):
            ours = op(y, dim, dtype=ctorch.float32)
            assert ours.dtype == ctorch.float32
            assert ((ours.double() - wide).abs() <= wide * 1e-6).all().item()
            assert ctorch.equal(op(y, dim), ours.to(y.dtype))
    out = ctorch.empty(200)
    assert ctorch.sum(x, 1, out=out) is out and ctorch.equal(out, x.sum(1, dtype=ctorch.float32))


def gradients(op: Callable[..., Any], *inputs: Any) -> list[Any]:
    """The result and the gradients of all inputs, for a gradient of the result that is not smooth."""
    inputs = tuple(t.detach().requires_grad_() for t in inputs)
    out = op(*inputs)
    wave = (ctorch.arange(out.numel()) % 7 - 3).view(out.shape) / 4
    out.backward(wave.to(out.dtype))
    return [out.detach(), *(t.grad for t in inputs)]


def check_layer(op: Callable[..., Any], *inputs: Any, slack: float = 1e-5) -> None:
    ours = gradients(op, *inputs)
    exact = gradients(op, *(t.double() for t in inputs))
    for index, (a, b) in enumerate(zip(ours, exact, strict=True)):
        assert a.dtype == inputs[0].dtype
        assert_close(a, b, slack, (index, [t.shape for t in inputs]))


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("n", [3, 15, 16, 17, 63, 64, 65, 100, 1000, 1025, 2049, 9000])
def test_norms_of_rows(n: int, dtype: str) -> None:
    w, b = some(dtype, n, seed=1), some(dtype, n, seed=2)
    for rows in (1, 15, 33, 70):
        x = some(dtype, rows, n) * 2 + 1
        check_layer(lambda x, w, b: F.layer_norm(x, (n,), w, b), x, w, b)
        check_layer(lambda x: F.layer_norm(x, (n,)), x)
        check_layer(lambda x, b: F.layer_norm(x, (n,), None, b), x, b)
        check_layer(lambda x, w: F.rms_norm(x, (n,), w, 1e-5), x, w)
        y = x.double()
        expected = (y.mean(1, keepdim=True), (y.var(1, correction=0, keepdim=True) + 1e-5).rsqrt())
        for ours, exact in zip(ctorch.native_layer_norm(x, (n,), w, b, 1e-5)[1:], expected, strict=True):
            assert_close(ours, exact)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize(
    "shape", [(5, 6, 7, 9), (3, 4, 16, 16), (2, 12, 70, 90), (40, 6, 1), (3, 66, 5, 1), (33, 200), (700, 6)]
)
def test_norms_of_channels(shape: tuple[int, ...], dtype: str) -> None:
    x = some(dtype, *shape) * 2 + 1
    w, b = some(dtype, shape[1], seed=1), some(dtype, shape[1], seed=2)
    mean, var = some(dtype, shape[1], seed=3), some(dtype, shape[1], seed=4).abs() + 0.5
    images = [x] if x.dim() < 4 else [x, x.contiguous(memory_format=ctorch.channels_last), x.transpose(2, 3)]
    for image in images:
        check_layer(lambda x, w, b: F.batch_norm(x, None, None, w, b, True), image, w, b)
        check_layer(
            lambda x, w, b: F.batch_norm(x, mean.to(x.dtype), var.to(x.dtype), w, b, False), image, w, b
        )
        check_layer(lambda x, w, b: F.group_norm(x, 2, w, b), image, w, b)
        if x.dim() == 4 and shape[2] * shape[3] > 1:
            check_layer(lambda x: F.instance_norm(x, None, None, w.to(x.dtype), b.to(x.dtype)), image)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("op", [F.softmax, F.log_softmax])
def test_softmax_and_its_gradient(op: Callable[..., Any], dtype: str) -> None:
    for shape, dim in [
        ((70, 3), 1), ((40, 100), 1), ((5, 2047), 1), ((5, 4097), 1), ((3, 20001), 1), ((70, 3), 0), ((3, 7, 5), 1),
        ((2, 300, 70), 1), ((5000, 33), 0), ((300, 700), 0),
    ]:  # fmt: skip
        x = (some(dtype, *shape) * 3).requires_grad_()
        wide = x.detach().double().requires_grad_()
        out, exact = op(x, dim), op(wide, dim)
        assert_close(out, exact)
        grad = some(dtype, *shape, seed=1)
        out.backward(grad)
        # The gradient is that at the result, which was rounded.
        y, g = out.detach().double(), grad.double()
        if op is F.softmax:
            expected = (g - (y * g).sum(dim, keepdim=True)) * y
        else:
            expected = g - y.exp() * g.sum(dim, keepdim=True)
        assert_close(x.grad, expected, 1e-5, (shape, dim))


@pytest.mark.parametrize("dtype", HALVES)
def test_any_number_of_threads_gives_the_same_bits(dtype: str) -> None:
    x, image = some(dtype, 333, 1777), some(dtype, 30, 24, 25, 25)
    short, tall = some(dtype, 9001, 40), some(dtype, 70001, 6)
    w, b = some(dtype, 1777, seed=1), some(dtype, 1777, seed=2)
    layers: list[tuple[Any, ...]] = [
        (lambda x, w, b: F.layer_norm(x, (1777,), w, b), x, w, b),
        (lambda x, w, b: F.layer_norm(x, (40,), w, b), short, w[:40], b[:40]),
        (lambda x, w: F.rms_norm(x, (1777,), w), x, w),
        (lambda x, w, b: F.batch_norm(x, None, None, w, b, True), image, w[:24], b[:24]),
        (lambda x, w, b: F.batch_norm(x, None, None, w, b, True), tall, w[:6], b[:6]),
        (lambda x, w, b: F.group_norm(x, 4, w, b), image, w[:24], b[:24]),
        (lambda x: F.softmax(x, 0), x),
        (lambda x: F.log_softmax(x, 1), x),
    ]

    def work() -> list[Any]:
        results = []
        for op in VALUES.values():
            results += [op(t, dim) for t in (x, tall) for dim in (0, 1, (0, 1))] + [op(image, (0, 2, 3))]
        for layer in layers:
            results += gradients(*layer)
        return [t.contiguous().view(ctorch.int16) for t in results]

    before = ctorch.get_num_threads()
    try:
        ctorch.set_num_threads(1)
        serial = work()
        for threads in (2, 5):
            ctorch.set_num_threads(threads)
            assert all(ctorch.equal(a, b) for a, b in zip(work(), serial, strict=True))
    finally:
        ctorch.set_num_threads(before)


@not_at_a_forced_level
@pytest.mark.parametrize("level", ["generic", "avx2", "avx512"])
def test_other_levels(level: str) -> None:
    run_at_level(__file__, level)
