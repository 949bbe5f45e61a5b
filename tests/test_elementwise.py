"""Element-wise operations: values, dtypes, layouts, forms and errors, held against PyTorch; accuracy against
float64.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import ctorch

FLOATS = ["float32", "float64", "float16", "bfloat16"]
INTEGERS = ["uint8", "int8", "int16", "int32", "int64"]
COMPLEXES = ["complex64", "complex128"]
DTYPES = ["bool", *INTEGERS, *FLOATS, *COMPLEXES]

UNARY = [
    "abs", "neg", "sign", "sgn", "floor", "ceil", "round", "trunc", "frac", "reciprocal", "square", "sqrt",
    "rsqrt", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "asin", "acos",
    "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "sigmoid", "erf", "erfc", "lgamma",
    "digamma", "erfinv", "isnan", "isinf", "isfinite", "isneginf", "isposinf", "signbit", "logical_not",
    "bitwise_not", "positive", "deg2rad", "rad2deg", "angle", "nan_to_num", "relu", "logit",
    "conj_physical",
]  # fmt: skip
BINARY = [
    "add", "sub", "mul", "div", "floor_divide", "fmod", "remainder", "pow", "maximum", "minimum", "fmax",
    "fmin", "atan2", "hypot", "copysign", "logaddexp", "logaddexp2", "xlogy", "gcd", "lcm", "bitwise_and",
    "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift", "logical_and", "logical_or",
    "logical_xor", "eq", "ne", "lt", "le", "gt", "ge",
]  # fmt: skip
TOLERANCE = {
    "float32": 2e-5, "float64": 1e-12, "float16": 2e-3, "bfloat16": 2e-2, "complex64": 2e-5, "complex128": 1e-11,
}  # fmt: skip


def torch_module() -> Any:
    return pytest.importorskip("torch")


def samples(dtype: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Values that are exact in every dtype: none is 0, as PyTorch's integer division by 0 is an error."""
    rng = np.random.default_rng([seed, *shape])
    low = 1 if dtype in ("bool", "uint8") else -4
    values = rng.integers(low, 5, shape)
    values[values == 0] = 3
    if dtype == "bool":
        return values > 2
    if dtype in INTEGERS:
        return values.astype(dtype)
    values = values + rng.integers(-3, 4, shape) / 8
    if dtype in COMPLEXES:
        return (values + 1j * rng.integers(-8, 9, shape) / 4).astype(dtype)
    return values.astype(np.float64)


def both(dtype: str, shape: tuple[int, ...], seed: int = 0) -> tuple[Any, Any]:
    torch = torch_module()
    values = samples(dtype, shape, seed)
    return (
        ctorch.tensor(values, dtype=getattr(ctorch, dtype)),
        torch.tensor(values, dtype=getattr(torch, dtype)),
    )


def to_numpy(t: Any) -> np.ndarray:
    t = t.detach()
    return (t.float() if str(t.dtype).endswith(("float16",)) else t).numpy()


def check_same(ours: Any, theirs: Any, note: object = "", tolerance: float | None = None) -> None:
    assert str(ours.dtype).split(".")[-1] == str(theirs.dtype).split(".")[-1], note
    assert tuple(ours.shape) == tuple(theirs.shape), note
    assert tuple(ours.stride()) == tuple(theirs.stride()), note
    tol = tolerance if tolerance is not None else TOLERANCE.get(str(theirs.dtype).split(".")[-1], 0)
    np.testing.assert_allclose(to_numpy(ours), to_numpy(theirs), rtol=tol, atol=tol, err_msg=str(note))


def attempt(fn: Any) -> tuple[Any, type | None]:
    try:
        return fn(), None
    except Exception as error:
        return None, type(error)


def check_call(call: Any, note: object = "") -> None:
    """``call(lib)`` gives the same on both sides, or fails on both with the same kind of exception."""
    ours, our_error = attempt(lambda: call(ctorch))
    theirs, their_error = attempt(lambda: call(torch_module()))
    if their_error is not None:
        assert our_error is not None, f"{note}: PyTorch raises {their_error}"
        assert issubclass(our_error, their_error) or issubclass(their_error, our_error), note
        return
    assert our_error is None, f"{note}: {our_error}"
    check_same(ours, theirs, note)


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("dtype", DTYPES)
def test_unary_values_and_dtypes(name: str, dtype: str) -> None:
    ours, theirs = both(dtype, (5, 7))
    if (name, dtype) in {("tan", "complex64"), ("log2", "complex64")}:
        pytest.skip("differences of the C library's complex functions")
    check_call(lambda lib: getattr(lib, name)(ours if lib is ctorch else theirs), name)


@pytest.mark.parametrize("name", BINARY)
def test_binary_promotes_every_pair_of_dtypes(name: str) -> None:
    for a in DTYPES:
        for b in DTYPES:
            ours_a, theirs_a = both(a, (4, 5))
            ours_b, theirs_b = both(b, (5,), seed=1)
            if "shift" in name:
                if b in ("bool", *COMPLEXES):
                    continue
                ours_b, theirs_b = abs(ours_b), abs(theirs_b)
            if name == "pow" and "bool" not in (a, b) and a in INTEGERS and b in INTEGERS:
                ours_b, theirs_b = ours_b * ours_b, theirs_b * theirs_b
            check_call(
                lambda lib: getattr(lib, name)(
                    ours_a if lib is ctorch else theirs_a, ours_b if lib is ctorch else theirs_b
                ),
                (name, a, b),
            )


@pytest.mark.parametrize(
    "name", ["add", "mul", "div", "pow", "eq", "lt", "remainder", "floor_divide", "bitwise_and"]
)
@pytest.mark.parametrize("number", [2, 3.0, True, 1.5 + 2j, 0.1])
def test_numbers_and_zero_dim_tensors_count_less(name: str, number: Any) -> None:
    for dtype in DTYPES:
        if dtype == "float16" and isinstance(number, complex):
            continue  # PyTorch has a complex dtype of two float16
        ours, theirs = both(dtype, (3, 4))
        check_call(
            lambda lib: getattr(lib, name)(ours if lib is ctorch else theirs, number), (name, dtype, number)
        )
        check_call(
            lambda lib: getattr(lib, name)(ours if lib is ctorch else theirs, lib.tensor(number)),
            (name, dtype, "0-dim", number),
        )


LAYOUTS = {
    "transposed": lambda t: t.t(),
    "every second": lambda t: t[::2, 1::2],
    "permuted": lambda t: t.reshape(4, 3, -1).permute(2, 0, 1),
    "expanded": lambda t: t[:1].expand(6, *t.shape[1:]),
    "column": lambda t: t[:, :1],
    "empty": lambda t: t[:0],
    "scalar": lambda t: t[0, 0],
    "channels last": lambda t: t.reshape(2, 3, 2, -1).contiguous(memory_format=channels_last(t)),
}


def channels_last(t: Any) -> Any:
    return (ctorch if isinstance(t, ctorch.Tensor) else torch_module()).channels_last


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "int64", "bfloat16", "complex64"])
def test_layouts_of_inputs_and_results(layout: str, dtype: str) -> None:
    ours, theirs = both(dtype, (12, 10))
    x, y = LAYOUTS[layout](ours), LAYOUTS[layout](theirs)
    check_same(x * x, y * y, layout)
    check_same(-x, -y, layout)
    check_same(x + x.clone(), y + y.clone(), layout)
    check_same(ctorch.where(x == x, x, 0), torch_module().where(y == y, y, 0), layout)
    check_same(x.to(ctorch.float64 if dtype != "complex64" else ctorch.complex128),
               y.to(torch_module().float64 if dtype != "complex64" else torch_module().complex128), layout)  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "int16", "float16"])
def test_negative_strides(dtype: str) -> None:
    x, _ = (
        both(dtype, (9, 70))
        if "torch" in sys.modules
        else (ctorch.tensor(samples(dtype, (9, 70)), dtype=getattr(ctorch, dtype)), None)
    )
    flipped = x[::-1, ::-1]
    dense = flipped.contiguous()
    assert flipped.stride() == (-70, -1)
    for result, expected in [
        (flipped + dense, dense + dense),
        (flipped * 2, dense * 2),
        (abs(flipped), abs(dense)),
    ]:
        np.testing.assert_array_equal(to_numpy(result), to_numpy(expected))
    flipped += 1
    np.testing.assert_array_equal(to_numpy(flipped), to_numpy(dense + 1))


@pytest.mark.parametrize("n", [0, 1, 3, 15, 16, 17, 1023, 4097, 70001])
def test_lengths_around_blocks(n: int) -> None:
    a = np.random.default_rng(n).standard_normal(n).astype(np.float32)
    b = np.random.default_rng(n + 1).standard_normal(n).astype(np.float32)
    x, y = ctorch.tensor(a), ctorch.tensor(b)
    np.testing.assert_array_equal((x + y).numpy(), a + b)
    np.testing.assert_array_equal((x * 0.5 - y).numpy(), a * np.float32(0.5) - b)
    np.testing.assert_allclose(x.exp().numpy(), np.exp(a.astype(np.float64)), rtol=2e-7)
    np.testing.assert_array_equal((x > y).numpy(), a > b)


def test_large_results_are_stored_past_the_caches() -> None:
    n = 3_000_001
    a = np.arange(n, dtype=np.float32)
    x = ctorch.tensor(a)
    np.testing.assert_array_equal((x[1:] + x[:-1]).numpy(), a[1:] + a[:-1])
    np.testing.assert_array_equal((x.to(ctorch.float64) + x).numpy(), a.astype(np.float64) * 2)


def test_transposed_copies() -> None:
    for shape in [(300, 500), (1, 7), (17, 65), (64, 64), (33, 2049)]:
        for dtype in ["uint8", "float16", "float32", "float64", "complex128"]:
            a = samples("float32", shape).astype(dtype)
            np.testing.assert_array_equal(
                ctorch.tensor(a).t().contiguous().numpy(), np.ascontiguousarray(a.T)
            )
    a = samples("float32", (6, 7, 8, 9)).astype("float32")
    np.testing.assert_array_equal(
        ctorch.tensor(a).permute(3, 1, 0, 2).contiguous().numpy(), a.transpose(3, 1, 0, 2)
    )


@pytest.mark.parametrize("source", DTYPES)
def test_conversions_between_all_dtypes(source: str) -> None:
    ours, theirs = both(source, (3, 100))
    for target in [*DTYPES, "uint16", "uint32", "uint64"]:
        if source in COMPLEXES and target not in COMPLEXES:
            continue  # PyTorch warns; the next test has it
        check_same(
            ours.to(getattr(ctorch, target)), theirs.to(getattr(torch_module(), target)), (source, target), 0
        )
        check_same(
            ours[:, ::3].to(getattr(ctorch, target)),
            theirs[:, ::3].to(getattr(torch_module(), target)),
            (source, target),
            0,
        )


@pytest.mark.filterwarnings("ignore:Casting complex values")
def test_complex_to_real_takes_the_real_part() -> None:
    x = ctorch.tensor([1 + 2j, -3.5 + 0j])
    assert x.to(ctorch.float32).tolist() == [1.0, -3.5]
    assert x.to(ctorch.bool).tolist() == [True, True]
    assert ctorch.tensor([2j, 0j]).to(ctorch.bool).tolist() == [True, False]


def test_out_and_inplace() -> None:
    x, y = ctorch.tensor([1.0, 2.0]), ctorch.tensor([10.0, 20.0])
    out = ctorch.empty(0)
    assert ctorch.add(x, y, out=out) is out
    assert out.tolist() == [11.0, 22.0]
    wide = ctorch.empty(2, dtype=ctorch.float64)
    ctorch.mul(x, y, out=wide)
    assert wide.tolist() == [10.0, 40.0]
    strided = ctorch.zeros(4)[::2]
    ctorch.sub(y, x, out=strided)
    assert strided.tolist() == [9.0, 18.0]
    x.add_(y, alpha=2).mul_(2)
    assert x.tolist() == [42.0, 84.0]
    h = ctorch.ones(3, dtype=ctorch.bfloat16)
    h += 0.5
    assert h.tolist() == [1.5, 1.5, 1.5]
    a = ctorch.arange(6.0)
    ctorch.add(a[:-1], 1.0, out=a[1:])  # overlapping: as if computed first
    assert a.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: ctorch.tensor([1]).add_(1.5),
            RuntimeError,
            "result type Float can't be cast to the desired output type Long",
        ),
        (
            lambda: ctorch.add(ctorch.ones(2), 1, out=ctorch.empty(2, dtype=ctorch.int32)),
            RuntimeError,
            "can't be cast",
        ),
        (lambda: ctorch.ones(2) + ctorch.ones(3), RuntimeError, "2.*3"),
        (
            lambda: ctorch.ones(1).expand(3).add_(1),
            RuntimeError,
            "more than one element of the written-to tensor",
        ),
        (lambda: ctorch.ones(3).add_(ctorch.ones(2, 3)), RuntimeError, "doesn't match the broadcast shape"),
        (lambda: ctorch.tensor([True]) - ctorch.tensor([True]), RuntimeError, "two bool tensors"),
        (lambda: -ctorch.tensor([True]), RuntimeError, "bool tensor"),
        (lambda: ctorch.tensor([1]) // 0, RuntimeError, "ZeroDivisionError"),
        (lambda: ctorch.tensor([1]) % ctorch.tensor([0]), RuntimeError, "ZeroDivisionError"),
        (lambda: ctorch.tensor([2]) ** -1, RuntimeError, "negative integer powers"),
        (lambda: ctorch.div(ctorch.ones(1), 1, rounding_mode="up"), RuntimeError, "rounding_mode"),
        (lambda: ctorch.add(ctorch.ones(1, dtype=ctorch.int64), 1, alpha=0.5), RuntimeError, "alpha"),
        (lambda: ctorch.clamp(ctorch.ones(1)), RuntimeError, "At least one of"),
        (lambda: ctorch.lt(ctorch.ones(1), 1j), RuntimeError, "not implemented"),
        (lambda: ctorch.bitwise_and(ctorch.ones(1), 1), RuntimeError, "not implemented"),
        (lambda: ctorch.where(ctorch.ones(1), 1, 2), RuntimeError, "boolean"),
        (lambda: ctorch.ones(2, dtype=ctorch.uint8).fill_(1000), RuntimeError, "overflow"),
    ],
)
def test_errors(call: Any, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        call()


def test_special_values() -> None:
    torch = torch_module()
    special = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        math.inf,
        -math.inf,
        math.nan,
        1e-45,
        -1e-45,
        1e-40,
        3e38,
        -3e38,
        0.5,
        88.8,
        -104.0,
        2.0,
        1e7,
    ]
    for dtype in ["float32", "float64"]:
        x, y = (
            ctorch.tensor(special, dtype=getattr(ctorch, dtype)),
            torch.tensor(special, dtype=getattr(torch, dtype)),
        )
        for name in UNARY:
            if name in ("digamma", "bitwise_not"):
                continue
            want = getattr(torch, name)(y)
            if name in ("sinh", "cosh"):  # in floats PyTorch's overflow early on CPUs without AVX-512
                want = getattr(torch, name)(y.double()).to(y.dtype)
            check_same(getattr(ctorch, name)(x), want, (name, dtype), 1e-5)
            ours, theirs = getattr(ctorch, name)(x).to(ctorch.float32), want.float()
            zero = (theirs.numpy() == 0) & (
                np.abs(special) != 1e-45
            )  # PyTorch loses subnormal numbers here and there
            np.testing.assert_array_equal(
                np.signbit(ours.numpy())[zero], np.signbit(theirs.numpy())[zero], err_msg=name
            )
        for name in ["pow", "atan2", "maximum", "fmin", "hypot", "logaddexp", "xlogy", "div", "nextafter"]:
            check_same(
                getattr(ctorch, name)(x[:, None], x), getattr(torch, name)(y[:, None], y), (name, dtype), 1e-5
            )
        # PyTorch's float32 quotient overflows where the divisor is subnormal.
        normal = [v for v in special if not 0 < abs(v) < 1e-38]
        x, y = (
            ctorch.tensor(normal, dtype=getattr(ctorch, dtype)),
            torch.tensor(normal, dtype=getattr(torch, dtype)),
        )
        for name in ["fmod", "remainder", "floor_divide"]:
            check_same(
                getattr(ctorch, name)(x[:, None], x), getattr(torch, name)(y[:, None], y), (name, dtype), 1e-5
            )


# The largest error in units in the last place that each float32 polynomial may have.
ULP = {
    "exp": 1.1, "exp2": 1.1, "expm1": 1.5, "log": 1.1, "log2": 1.5, "log10": 2.1, "log1p": 1.1, "sin": 1.7, "cos": 1.7, "tan": 4.0,
    "asin": 2.1, "acos": 1.3, "atan": 2.0, "sinh": 1.8, "cosh": 1.6, "tanh": 2.5, "asinh": 2.0, "acosh": 2.4, "atanh": 2.0,
    "erf": 1.5, "erfc": 4.5, "sigmoid": 2.5,
}  # fmt: skip


@pytest.mark.parametrize("name", ULP)
def test_accuracy_in_ulp(name: str) -> None:
    special = pytest.importorskip("scipy.special")
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 200_000, dtype=np.uint64).astype(np.uint32).view(np.float32)
    near = rng.uniform(-5, 5, 200_000).astype(np.float32)
    unit = rng.uniform(-1, 1, 100_000).astype(np.float32)
    wide = rng.uniform(-88, 88, 100_000).astype(np.float32)
    x = np.concatenate([bits, near, unit, wide])
    x = x[np.isfinite(x)]
    reference = getattr(
        np,
        {
            "asin": "arcsin",
            "acos": "arccos",
            "atan": "arctan",
            "asinh": "arcsinh",
            "acosh": "arccosh",
            "atanh": "arctanh",
        }.get(name, name),
        None,
    )
    if reference is None:
        reference = {"erf": special.erf, "erfc": special.erfc, "sigmoid": special.expit}[name]
    if name == "sigmoid":
        x = x[x > -87]  # e^-x overflows below, in PyTorch too
    with np.errstate(all="ignore"):
        exact = reference(x.astype(np.float64))
        ours = getattr(ctorch, name)(ctorch.tensor(x)).numpy().astype(np.float64)
        rounded = exact.astype(np.float32)
    assert np.array_equal(np.isnan(ours), np.isnan(rounded))
    finite = np.isfinite(rounded)
    np.testing.assert_array_equal(ours[~finite & ~np.isnan(rounded)], rounded[~finite & ~np.isnan(rounded)])
    unit_in_last_place = np.maximum(np.spacing(np.abs(rounded[finite])).astype(np.float64), 2.0**-149)
    assert np.max(np.abs(ours[finite] - exact[finite]) / unit_in_last_place) <= ULP[name]


def test_gelu_keeps_its_lower_tail() -> None:
    special = pytest.importorskip("scipy.special")
    x = np.linspace(-12, 12, 200_001, dtype=np.float32)
    exact = x.astype(np.float64) * special.ndtr(x.astype(np.float64))
    error = np.abs(ctorch.nn.functional.gelu(ctorch.tensor(x)).numpy() - exact)
    eps = np.finfo(np.float32).eps
    assert np.all(error[x >= 0] <= 1.5 * eps * np.abs(x[x >= 0]))
    tail = (x < 0) & (x > -9)
    assert np.all(error[tail] <= 3.3 * eps * (1 + x[tail] ** 2) * np.abs(exact[tail]))
    assert np.all(error[x <= -9] < 2e-18)
    with np.errstate(all="ignore"):
        ends = ctorch.nn.functional.gelu(ctorch.tensor([np.inf, np.nan, -1e30, 1e30])).numpy()
    np.testing.assert_array_equal(ends, np.float32([np.inf, np.nan, 0, 1e30]))


def test_pow_is_correctly_rounded_nearly_everywhere() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.uniform(0, 20, 100_000).astype(np.float32), rng.uniform(-20, 20, 100_000).astype(np.float32)
    exact = x.astype(np.float64) ** y.astype(np.float64)
    ours = (ctorch.tensor(x) ** ctorch.tensor(y)).numpy().astype(np.float64)
    finite = np.isfinite(exact.astype(np.float32)) & (exact > 1e-37)
    assert np.max(np.abs(ours - exact)[finite] / np.spacing(np.abs(exact.astype(np.float32)))[finite]) <= 0.55


_LEVEL_PROGRAM = """
import ctorch, numpy as np, sys
rng = np.random.default_rng(0)
x = ctorch.tensor(rng.standard_normal(1003).astype(np.float32) * 3)
y = ctorch.tensor(rng.standard_normal(1003).astype(np.float32) * 3)
parts = [x + y, x * y, x / y, x.abs(), x.floor(), x.round(), x.sqrt(), x.exp(), x.tanh(), x.sin(), x.erf(), x.abs() ** y,
         ctorch.maximum(x, y), x.to(ctorch.float16).to(ctorch.float32), x.to(ctorch.bfloat16).to(ctorch.float32), x.to(ctorch.int32).to(ctorch.float32),
         x.remainder(y), ctorch.where(x > y, x, y), x[::2].clone(), x[:900].reshape(30, 30).t().contiguous().reshape(-1)]
sys.stdout.buffer.write(b"".join(p.numpy().tobytes() for p in parts))
"""


def test_levels_agree() -> None:
    results = {}
    for level in ["generic", "avx2", "avx512"]:
        env = {**os.environ, "CTORCH_ISA": level}
        run = subprocess.run(
            [sys.executable, "-c", _LEVEL_PROGRAM], env=env, capture_output=True, check=False
        )
        if run.returncode == 0:
            results[level] = np.frombuffer(run.stdout, np.float32)
        else:
            assert b"CTORCH_ISA" in run.stderr or b"level" in run.stderr, run.stderr.decode()
    assert "generic" in results
    for level, values in results.items():
        np.testing.assert_allclose(values, results["generic"], rtol=5e-7, atol=1e-30, err_msg=level)


def test_where_and_masked_fill_take_numbers_and_broadcast() -> None:
    c = ctorch.tensor([[True], [False]])
    x = ctorch.tensor([1.0, 2.0, 3.0])
    assert ctorch.where(c, x, -1).tolist() == [[1.0, 2.0, 3.0], [-1.0, -1.0, -1.0]]
    assert ctorch.where(c, 1, 0).dtype == ctorch.int64
    assert x.masked_fill(x > 2, 0).tolist() == [1.0, 2.0, 0.0]
    assert x.expand(2, 3).masked_fill(c, ctorch.tensor(9.0)).tolist() == [[9.0] * 3, [1.0, 2.0, 3.0]]
    z = ctorch.zeros(3, dtype=ctorch.complex128).masked_fill(x > 1, 2j)
    assert z.tolist() == [0j, 2j, 2j]


GRADIENTS = {
    "exp": lambda x: x.exp(), "tanh": lambda x: x.tanh(), "sigmoid": lambda x: x.sigmoid(), "erf": lambda x: x.erf(),
    "log1p": lambda x: x.abs().log1p(), "sqrt": lambda x: (x * x + 1).sqrt(), "pow": lambda x: (x * x + 1) ** 1.7,
    "gelu": ctorch._C.gelu, "gelu_tanh": lambda x: ctorch._C.gelu(x, approximate="tanh"), "silu": ctorch._C.silu, "mish": ctorch._C.mish,
    "elu": ctorch._C.elu, "softplus": ctorch._C.softplus, "log_sigmoid": ctorch._C.log_sigmoid, "hardswish": ctorch._C.hardswish,
    "leaky_relu": ctorch._C.leaky_relu, "lerp": lambda x: x.lerp(x * x, 0.3), "addcmul": lambda x: x.addcmul(x, x, value=2),
    "addcdiv": lambda x: x.addcdiv(x, x * x + 1), "div": lambda x: 1 / (x * x + 2), "where": lambda x: ctorch.where(x > 0, x * x, -x),
    "atan2": lambda x: ctorch.atan2(x, x + 3), "maximum": lambda x: ctorch.maximum(x, x * x), "clamp": lambda x: (x * x).clamp(0.1, 2),
    "logaddexp": lambda x: ctorch.logaddexp(x, 2 * x), "remainder": lambda x: x * x % 1.3, "masked_fill": lambda x: (x * x).masked_fill(x > 0, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_and_second_gradients(name: str) -> None:
    from ctorch.autograd import gradcheck, gradgradcheck

    x = ctorch.tensor([[0.3, -1.2, 2.1], [0.7, -0.4, 1.6]], dtype=ctorch.float64, requires_grad=True)
    assert gradcheck(GRADIENTS[name], (x,))
    assert gradgradcheck(GRADIENTS[name], (x,))


# ---- numbers that do not fit, and divisors that are zero in the dtype of the computation


@pytest.mark.parametrize(
    "dtype, divisor", [("uint8", 256), ("int8", 512), ("int16", 65536), ("int32", 2**32)]
)
def test_a_divisor_that_is_zero_in_the_dtype_is_an_error(dtype, divisor) -> None:
    x = ctorch.tensor([7], dtype=getattr(ctorch, dtype))
    calls = [
        lambda d: x // d,
        lambda d: x % d,
        lambda d: x.fmod(d),
        lambda d: x.clone().floor_divide_(d),
        lambda d: ctorch.div(x, d, rounding_mode="trunc"),
    ]
    for call in calls:
        for d in (divisor, ctorch.tensor(divisor)):
            with pytest.raises(RuntimeError, match="ZeroDivisionError"):
                call(d)


@pytest.mark.parametrize(
    "call",
    [
        lambda: ctorch.full((2,), 1e300),
        lambda: ctorch.full((2,), 70000, dtype=ctorch.float16),
        lambda: ctorch.full((2,), 300, dtype=ctorch.uint8),
        lambda: ctorch.full((2,), math.nan, dtype=ctorch.int64),
        lambda: ctorch.zeros(2, dtype=ctorch.int8).fill_(200),
        lambda: ctorch.zeros(2).fill_(1j),
        lambda: ctorch.tensor([math.inf], dtype=ctorch.int32),
        lambda: ctorch.tensor([3e9], dtype=ctorch.int32),
        lambda: ctorch.zeros(2).masked_fill(ctorch.tensor([True, False]), 1e300),
        lambda: ctorch.arange(3).__setitem__([0, 1], math.nan),
        lambda: ctorch.tensor([1], dtype=ctorch.uint8) ** 2**40,
        lambda: ctorch.tensor([1], dtype=ctorch.uint8).clamp(max=300),
    ],
)
def test_a_number_beyond_its_dtype_is_an_error(call) -> None:
    with pytest.raises(RuntimeError, match="cannot be converted"):
        call()


def test_small_negative_numbers_wrap_and_infinities_stay() -> None:
    assert ctorch.full((1,), -1, dtype=ctorch.uint8).item() == 255
    assert ctorch.full((1,), math.inf, dtype=ctorch.float16).item() == math.inf
    assert ctorch.tensor([1.0]).fill_(-math.inf).item() == -math.inf


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_division_of_extreme_numbers(dtype) -> None:
    big, tiny = (1e30, 1e-30) if dtype == "complex64" else (1e200, 1e-200)
    parts = [0.0, 1.0, -2.5, big, tiny, -big]
    values = [complex(a, b) for a in parts for b in parts]
    pairs = [(a, b) for a in values for b in values if b != 0]
    a, b = (ctorch.tensor(side, dtype=getattr(ctorch, dtype)) for side in zip(*pairs))
    got = (a / b).tolist()
    highest = 3e38 if dtype == "complex64" else 1e308
    for (x, y), z in zip(pairs, got):
        want = x / y if max(abs(y.real), abs(y.imag)) > 0 else z
        if abs(want.real) < highest and abs(want.imag) < highest:
            assert abs(z - want) <= 1e-5 * abs(want) + tiny, (x, y, z, want)


def test_flush_denormal_holds_for_the_thread_and_its_helpers() -> None:
    x = ctorch.full((1 << 18,), 1e-42)
    assert ctorch.set_flush_denormal(True) is True
    try:
        assert (x * 1).count_nonzero() == 0
    finally:
        ctorch.set_flush_denormal(False)
    assert (x * 1).count_nonzero() == x.numel()


# ---- out=


def test_a_resized_target_warns() -> None:
    with pytest.warns(UserWarning, match="resized"):
        ctorch.add(ctorch.zeros(3), 1, out=ctorch.empty(2))
    out = ctorch.empty(0)
    assert ctorch.add(ctorch.zeros(3), 1, out=out) is out and out.shape == (3,)


def test_factories_compute_in_the_dtype_of_their_target() -> None:
    ctorch.manual_seed(0)
    want = ctorch.rand(3, dtype=ctorch.float64)
    ctorch.manual_seed(0)
    assert ctorch.equal(ctorch.rand(3, out=ctorch.empty(0, dtype=ctorch.float64)), want)
    assert ctorch.arange(0, 5, 1.5, out=ctorch.empty(0, dtype=ctorch.int64)).tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(RuntimeError, match="does not match dtype of out"):
        ctorch.zeros(2, dtype=ctorch.float32, out=ctorch.empty(0, dtype=ctorch.int32))
    with pytest.raises(ValueError, match="step"):
        ctorch.arange(0, 64, 0.5, dtype=ctorch.int64)


def test_several_results_need_targets_of_their_dtypes() -> None:
    with pytest.raises(RuntimeError, match="expected out 1 to have dtype int64"):
        ctorch.max(ctorch.zeros(3, 4), 1, out=(ctorch.empty(3), ctorch.empty(3, dtype=ctorch.int32)))


def test_true_is_no_dim_and_no_size() -> None:
    x = ctorch.zeros(2, 3)
    for call in (lambda: x.sum(True), lambda: x.sort(True), lambda: x.unsqueeze(True), lambda: x.view(True)):
        with pytest.raises(TypeError):
            call()
