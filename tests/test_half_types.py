"""Element-wise operations on float16 and bfloat16, whose kernels convert in registers: all values of the types,
lengths, layouts, numbers, and every level of the machine.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from math import erfc
from typing import Any

import numpy as np
import pytest
from tests.levels import not_at_a_forced_level, run_at_level

import ctorch

HALVES = ["float16", "bfloat16"]
F = ctorch.nn.functional


def from_bits(bits: np.ndarray, dtype: str) -> Any:
    return ctorch.tensor(bits.view(np.int16)).view(getattr(ctorch, dtype))


def every_value(dtype: str) -> Any:
    return from_bits(np.arange(1 << 16, dtype=np.uint16), dtype)


def assert_same(ours: Any, expected: Any, case: object = None) -> None:
    """The same bits, zeros' signs included; NaN of any sort where NaN is expected."""
    assert ours.dtype == expected.dtype and ours.shape == expected.shape, case
    nan = expected.isnan()
    assert ctorch.equal(ours.isnan(), nan), case
    a, b = (t.contiguous().view(ctorch.int16).masked_fill(nan, 0) for t in (ours, expected))
    assert ctorch.equal(a, b), case


UNARY: dict[str, Callable[[Any], Any]] = {
    "abs": lambda x: x.abs(),
    "neg": lambda x: -x,
    "sqrt": lambda x: x.sqrt(),
    "rsqrt": lambda x: x.rsqrt(),
    "exp": lambda x: x.exp(),
    "sigmoid": lambda x: x.sigmoid(),
    "sin": lambda x: x.sin(),
    "cos": lambda x: x.cos(),
    "tan": lambda x: x.tan(),
    "relu": F.relu,
    "silu": F.silu,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.01),
    "clamp": lambda x: x.clamp(-1.5, 2),
    "clamp_min": lambda x: x.clamp(min=0.25),
    "add number": lambda x: x + 0.1,
    "number in front": lambda x: 3.3 - x,
    "mul number": lambda x: 0.7 * x,
    "div number": lambda x: x / 3,
    "number by": lambda x: 1 / x,
    "add scaled": lambda x: x.add(x, alpha=0.3),
    "square": lambda x: x * x,
    "relu backward": lambda x: ctorch._C.threshold_backward(x, x, 0),
    "nan number": lambda x: x + float("nan"),
}
BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "maximum": ctorch.maximum,
    "minimum": ctorch.minimum,
    "addcmul": lambda x, y: x.addcmul(x, y, value=0.5),
    "clamp": lambda x, y: x.clamp(y, y + 1),
}


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", UNARY)
def test_every_value_is_the_rounded_float32_result(name: str, dtype: str) -> None:
    x, op = every_value(dtype), UNARY[name]
    kind = getattr(ctorch, dtype)
    assert_same(op(x), op(x.float()).to(kind), name)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", BINARY)
def test_pairs_of_values_are_the_rounded_float32_result(name: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    bits = np.arange(1 << 16, dtype=np.uint16)
    x, op = from_bits(bits, dtype), BINARY[name]
    others = [bits, bits ^ 1, bits ^ 0x8000, rng.permutation(bits), rng.permutation(bits)]
    for other in others:
        y = from_bits(other, dtype)
        if name == "clamp":  # whose second bound is rounded on the way
            assert_same(op(x, y), x.float().clamp(y.float(), (y + 1).float()).to(x.dtype))
        else:
            assert_same(op(x, y), op(x.float(), y.float()).to(x.dtype))


@pytest.mark.parametrize("dtype", HALVES)
def test_lengths_layouts_and_forms(dtype: str) -> None:
    kind = getattr(ctorch, dtype)
    rng = np.random.default_rng(1)

    def some(*shape: int) -> Any:
        return ctorch.tensor(rng.standard_normal(shape).astype(np.float32)).to(kind)

    def check(op: Callable[..., Any], *inputs: Any) -> None:
        assert_same(op(*inputs), op(*(t.float() for t in inputs)).to(kind), [t.shape for t in inputs])

    for n in [*range(70), 127, 128, 129, 1000, 33000, 70001]:
        x, y = some(n + 1)[1:], some(n)  # the first one starts at an odd element
        for op in (lambda a, b: a + b, ctorch.maximum):
            check(op, x, y)
        check(lambda a: 1 - a, x)
        check(ctorch.neg, x)
        check(ctorch.cos, x)
        z = x.clone()
        z[-1:] = float("inf")  # beyond the formula of trigonometric functions
        assert_same(z.sin_(), ctorch.cat([x[:-1].sin(), x[:1] * float("nan")]) if n else z)
        z = x.clone()
        z.mul_(y)
        assert_same(z, x * y)
        ctorch.sub(x, y, out=z)
        assert_same(z, x - y)
    for a, b in [
        ((7, 5), (7, 5)), ((70, 90), (70, 1)), ((70, 1), (70, 90)), ((90,), (70, 90)), ((1,), (300, 200)),
        ((3, 1, 200), (3, 300, 1)), ((), (200, 200)), ((300, 3), (3,)), ((2, 3, 5, 7), (3, 1, 7)),
    ]:  # fmt: skip
        x, y = some(*a), some(*b)
        check(lambda p, q: p * q, x, y)
        check(lambda p, q: p - q, x, y)
        check(ctorch.minimum, x, y)
        if len(a) == len(b) == 2 and a == b:
            check(lambda p, q: p / q, x.t(), y.t())
            check(lambda p, q: p / q, x, y.t().contiguous().t())
    x = some(400, 300)
    check(lambda p, q: p + q, x.t(), some(300, 400))
    check(lambda p, q: p + q, x[::2, ::3], some(200, 100))
    check(lambda p: p.clamp(-1, 1), x[:, ::2])
    check(lambda p, q: p.clamp(q, 2), x, some(300))
    check(lambda p: p.clamp(-1, 1), some(2500, 2000))  # stored past the caches
    out = ctorch.empty(400, 300)
    ctorch.add(x, x, out=out)
    assert ctorch.equal(out, x.float() + x.float())


def test_numbers_beside_half_tensors_keep_float_precision_where_pytorch_keeps_it() -> None:
    x = ctorch.full((100,), 1.0, dtype=ctorch.bfloat16)
    number = 1.0 + 2.0**-9 + 2.0**-16  # just above a tie; rounded first it would be one
    assert (x * number)[0].item() == 1.0
    assert ctorch.maximum(x, ctorch.tensor(1 + 2.0**-7 + 2.0**-9))[5].item() == 1 + 2.0**-7
    assert (x * (1 + 2.0**-8 + 2.0**-16))[50].item() == 1 + 2.0**-7


def test_conversion_to_bfloat16_rounds_to_nearest_even_and_keeps_nan() -> None:
    upper = np.arange(1 << 16, dtype=np.uint32) << 16
    for lower in (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF):
        bits = upper | np.uint32(lower)
        ours = ctorch.tensor(bits.view(np.float32)).to(ctorch.bfloat16)
        rounded = (bits.astype(np.uint64) + 0x7FFF + (bits >> 16 & 1)) >> 16
        nan = (bits & 0x7FFFFFFF) > 0x7F800000
        assert np.array_equal(ours.isnan().numpy(), nan)
        result = ours.view(ctorch.int16).numpy().view(np.uint16)
        assert np.array_equal(result[~nan], rounded[~nan].astype(np.uint16))


@pytest.mark.parametrize("dtype", HALVES)
def test_gelu_is_within_a_unit_in_the_last_place(dtype: str) -> None:
    x = every_value(dtype)
    x = x[x.isfinite()]
    wide = x.double().numpy()
    exact = np.array([v * 0.5 * erfc(-v / 2**0.5) for v in wide])
    digits, smallest = (10, 2.0**-24) if dtype == "float16" else (7, 2.0**-133)
    with np.errstate(divide="ignore"):
        unit = np.maximum(2.0 ** (np.floor(np.log2(np.abs(exact))) - digits), smallest)
    largest = 65504.0 if dtype == "float16" else 3.3895313892515355e38
    ours = F.gelu(ctorch.cat([x] * 2)).double().numpy()[: len(wide)]
    # The baseline has the formula of float32, whose error is one of 1.
    unit = unit if os.environ.get("CTORCH_ISA") != "generic" else np.maximum(unit, np.abs(wide) * 2.0**-23)
    assert np.max((np.abs(ours - exact) / unit)[np.abs(exact) <= largest]) <= 1
    special = F.gelu(ctorch.tensor([float("inf"), float("nan"), 0.0, -0.0] * 20, dtype=x.dtype))
    assert special[0].item() == float("inf") and special[1].isnan().item()
    assert ctorch.signbit(special[2:4]).tolist() == [False, True]


@pytest.mark.parametrize("dtype", HALVES)
def test_gradient_of_gelu(dtype: str) -> None:
    kind = getattr(ctorch, dtype)
    x = ctorch.linspace(-14, 14, 20001).to(kind).requires_grad_()
    wide = x.detach().double().requires_grad_()
    F.gelu(x).backward(ctorch.ones(20001, dtype=kind))
    F.gelu(wide).backward(ctorch.ones(20001, dtype=ctorch.float64))
    assert x.grad is not None and wide.grad is not None
    error = (x.grad.double() - wide.grad).abs()
    # Half a unit in the last place of results up to 1.13, and the error of the formula.
    assert error.max().item() <= (2.0**-11 if dtype == "float16" else 2.0**-8) + 2.0**-13


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize(
    "n", [1, 63, 255, 256, 257, 1000, 4095, 4096, 4097]
)  # copied to floats from 256 to 4096
def test_softmax_rows(n: int, dtype: str) -> None:
    rng = np.random.default_rng(n)
    x = ctorch.tensor(rng.standard_normal((5, n)).astype(np.float32) * 3).to(getattr(ctorch, dtype))
    x[1, n // 2] = float("inf")
    x[2, : n // 2] = float("-inf")
    eps, smallest = (2.0**-10, 2.0**-24) if dtype == "float16" else (2.0**-7, 2.0**-133)
    for op in (F.softmax, F.log_softmax):
        ours, exact = op(x, dim=-1).double(), op(x.double(), dim=-1)
        assert ours[1].isnan().all().item()
        ours, exact = ours[[0, 2, 3, 4]], exact[[0, 2, 3, 4]]
        ours, exact = (t.masked_fill(t == -float("inf"), -1e30) for t in (ours, exact))
        assert ((ours - exact).abs() <= exact.abs() * eps * 0.51 + smallest / 2 * 1.01).all().item()


@not_at_a_forced_level
@pytest.mark.parametrize("level", ["generic", "avx2", "avx512"])
def test_other_levels(level: str) -> None:
    run_at_level(__file__, level)
