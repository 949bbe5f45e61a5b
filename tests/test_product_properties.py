"""Properties of products and convolutions over random shapes, layouts and dtypes, with bounds that follow from the
length of the sums; at every kernel level of the machine, and for every number of threads.

The bounds. u is the unit roundoff, eps = 2 u. A sum of k products in any order has an error of at most
(k + 2) u (|A| |B|), element by element. At the level amx a factor is split into three bfloat16 numbers and a product
is six products of those, each rounded when it is added: 6 k roundings, and what the three products left out
come to is below one u of each term. With alpha, beta and an addend there are three roundings more. All that is below
    3 (k + 2) eps (|alpha| |A| |B| + |beta| |D|).
Kernels flush denormal numbers to zero: an operand or a partial sum may lose up to the smallest normal number.

A convolution is a sum of the same kind over k = C kh kw products, but where it is computed by Winograd's method
errors of some terms reach others of the same tile, so its bound is one for the whole result:
    max |error| <= 8 (k + 2) eps max |w| max |x|.
In the worst case, when all rounding errors have the same sign, that could be exceeded (docs/products.md); as they are
of either sign it is some thirty times what is seen.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.levels import LEVELS, not_at_a_forced_level, run_at_level

import ctorch

F = ctorch.nn.functional
# The runs at forced levels are with fewer examples each.
EXAMPLES = int(os.environ.get("CTORCH_TEST_EXAMPLES", "150"))
properties = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)

TINY = 2.0**-126  # the smallest normal float32, and bfloat16
UNIT = {"float16": 2.0**-11, "bfloat16": 2.0**-8}
HALF = tuple(UNIT)
INTEGERS = ("uint8", "int8", "int16", "int32", "int64")
DTYPES = ["float32"] * 3 + ["float64", *HALF, "complex64", "complex128", "int32", "int64", "uint8"]


def eps_of(dtype: str) -> float:
    """Of the sums: half types are summed in float32."""
    return 2.0**-52 if dtype in ("float64", "complex128") else 2.0**-23


def wide_of(dtype: str) -> Any:
    """What the reference is computed in: more digits than the dtype has."""
    if dtype in INTEGERS:
        return object if dtype == "int64" else np.int64
    return {"float64": np.longdouble, "complex128": np.clongdouble, "complex64": np.complex128}.get(
        dtype, np.float64
    )


# ---- operands ----------------------------------------------------------------------------------------------


def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: str, spread: bool = False) -> np.ndarray:
    """Values that the dtype holds; with `spread`, of sizes from 2^-12 to 2^12."""
    if dtype in INTEGERS:
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max, shape, np.dtype(dtype), endpoint=True)
    a = rng.standard_normal(shape)
    if spread and dtype not in HALF:
        a *= 2.0 ** rng.integers(-12, 13, shape)
    if dtype.startswith("complex"):
        return (a + 1j * rng.standard_normal(shape)).astype(dtype)
    if dtype in HALF:  # few enough bits for both
        return (np.clip(np.round(a * 32), -127, 127) / 32).astype(np.float32)
    return a.astype(dtype)


def tensor(a: np.ndarray, dtype: str) -> ctorch.Tensor:
    return ctorch.from_numpy(np.array(a, order="C")).to(getattr(ctorch, dtype))


LAYOUTS = ["dense", "turned", "every other", "columns of a wider one", "backwards", "repeated rows"]


def laid_out(a: np.ndarray, dtype: str, layout: str) -> tuple[ctorch.Tensor, np.ndarray]:
    """A tensor with the strides that the layout names, and its values: those of `a`, but for repeated rows."""
    if layout == "turned":
        return tensor(np.swapaxes(a, -1, -2), dtype).transpose(-1, -2), a
    if layout == "every other":
        return tensor(np.stack([a, a], -1), dtype)[..., 0], a
    if layout == "columns of a wider one":
        return tensor(np.concatenate([a, a], -1), dtype)[..., : a.shape[-1]], a
    if layout == "backwards":
        return tensor(a[..., ::-1, ::-1], dtype)[..., ::-1, ::-1], a
    if layout == "repeated rows" and a.shape[-2]:
        return tensor(a[..., :1, :], dtype).expand(*a.shape), np.broadcast_to(a[..., :1, :], a.shape)
    return tensor(a, dtype), a


def values(t: ctorch.Tensor) -> np.ndarray:
    return (t.double() if t.dtype in (ctorch.float16, ctorch.bfloat16) else t).numpy()


def magnitude(a: np.ndarray) -> np.ndarray:
    return np.abs(a).astype(np.float64)


def check(got: ctorch.Tensor, exact: np.ndarray, size: np.ndarray, k: int, dtype: str) -> None:
    """Against the exact result; size is the same formula over absolute values, k the number of products summed."""
    assert tuple(got.shape) == exact.shape
    assert got.dtype == getattr(ctorch, dtype)
    if dtype in INTEGERS:
        bits = np.iinfo(dtype).bits
        wrapped = (exact.astype(object) & (2**bits - 1)) if exact.size else exact
        unsigned = np.asarray(wrapped, dtype=object).astype(np.uint64).astype(f"uint{bits}")
        np.testing.assert_array_equal(got.numpy(), unsigned.view(dtype))
        return
    bound = 3 * (k + 2) * eps_of(dtype) * size + 4 * (k + 1) * TINY
    if dtype.startswith("complex"):
        bound = 3 * bound  # each part is a sum of twice as many products
    if dtype in HALF:
        bound = bound + UNIT[dtype] * magnitude(exact) + 2.0**-25
    error = np.abs(values(got).astype(exact.dtype) - exact).astype(np.float64)
    assert (error <= bound).all(), f"{error.max()} at most, {(error / bound).max()} of the bound"


sizes = st.one_of(
    st.sampled_from([0, 1, 1, 2, 3, 13, 14, 15, 16, 17, 31, 32, 33, 48, 64, 65]), st.integers(0, 40)
)
depths = st.one_of(sizes, st.sampled_from([96, 127, 200, 384, 385, 700]))
layouts = st.sampled_from(LAYOUTS)
dtypes = st.sampled_from(DTYPES)
seeds = st.integers(0, 2**32 - 1)


def product(a: np.ndarray, b: np.ndarray, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """The exact product (with a few digits to spare), and that of the absolute values."""
    exact = np.matmul(a.astype(wide_of(dtype)), b.astype(wide_of(dtype)))
    return exact, np.matmul(magnitude(a), magnitude(b))


# ---- products ----------------------------------------------------------------------------------------------


@given(sizes, sizes, depths, layouts, layouts, dtypes, seeds)
@properties
def test_a_product_is_within_the_bound_of_its_sums(m, n, k, layout_a, layout_b, dtype, seed):
    rng = np.random.default_rng(seed)
    a, left = laid_out(draw(rng, (m, k), dtype, spread=True), dtype, layout_a)
    b, right = laid_out(draw(rng, (k, n), dtype, spread=True), dtype, layout_b)
    exact, size = product(left, right, dtype)
    check(ctorch.mm(a, b), exact, size, k, dtype)
    check(a @ b, exact, size, k, dtype)
    if m == 1:
        check(a[0] @ b, exact[0], size[0], k, dtype)
    if n == 1:
        check(ctorch.mv(a, b[:, 0]), exact[:, 0], size[:, 0], k, dtype)
    weight = b.t()
    check(F.linear(a, weight), exact, size, k, dtype)
    turned = ctorch.empty(n, m, dtype=a.dtype).t()
    check(ctorch.mm(a, b, out=turned), exact, size, k, dtype)


@given(
    st.sampled_from([1, 1, 2, 3, 4, 5, 16]),
    st.sampled_from([15, 64, 67, 100, 333, 1000]),
    st.sampled_from([1, 7, 15, 17, 31, 64, 80, 127, 300, 512, 513, 1100]),
    *(st.sampled_from(["dense", "turned", "columns of a wider one"]), dtypes, seeds),
)
@properties
def test_few_rows_by_a_large_matrix(m, n, k, layout, dtype, seed):
    """Such a matrix is read in place: along its rows, or by its columns."""
    rng = np.random.default_rng(seed)
    a, left = laid_out(draw(rng, (m, k), dtype), dtype, "dense")
    b, right = laid_out(draw(rng, (k, n), dtype), dtype, layout)
    exact, size = product(left, right, dtype)
    check(ctorch.mm(a, b), exact, size, k, dtype)
    check(ctorch.mm(b.t(), a.t()), exact.T, size.T, k, dtype)


@given(
    *(st.sampled_from([0, 1, 2, 5, 16, 17, 33]) for _ in range(4)),
    *(layouts, layouts, layouts, dtypes),
    *(st.sampled_from([0, 1, -2]), st.sampled_from([1, 0, 3]), st.booleans()),
    seeds,
)
@properties
def test_products_with_an_addend_and_in_batches(
    batch, m, n, k, layout_a, layout_b, layout_d, dtype, beta, alpha, one_row, seed
):
    if dtype == "uint8":
        beta = abs(beta)
    rng = np.random.default_rng(seed)
    a, left = laid_out(draw(rng, (batch, m, k), dtype), dtype, layout_a)
    b, right = laid_out(draw(rng, (batch, k, n), dtype), dtype, layout_b)
    d, addend = laid_out(draw(rng, (1 if one_row else m, n), dtype), dtype, layout_d)
    exact, size = product(left, right, dtype)
    check(ctorch.bmm(a, b), exact, size, k, dtype)
    wide = addend.astype(wide_of(dtype))
    more = abs(beta) * magnitude(addend)
    check(
        ctorch.baddbmm(d, a, b, beta=beta, alpha=alpha),
        *(alpha * exact + beta * wide, alpha * size + more, k, dtype),
    )
    if batch == 0:
        return
    check(
        ctorch.addmm(d, a[0], b[0], beta=beta, alpha=alpha),
        *(alpha * exact[0] + beta * wide, alpha * size[0] + more, k, dtype),
    )
    if dtype not in HALF:  # those are rounded between the products
        check(
            ctorch.addbmm(d, a, b, beta=beta, alpha=alpha),
            *(alpha * exact.sum(0) + beta * wide + 0 * exact[0], alpha * size.sum(0) + more),
            *((k + 2) * batch, dtype),
        )
    bias = d[0] if one_row else d[:1].sum(0)
    biased = exact[0] + (wide[0] if m or one_row else 0)
    if one_row:
        check(F.linear(a[0], b[0].t(), bias), biased, size[0] + magnitude(addend[0]), k, dtype)


EQUATIONS = [
    "ij,jk->ik",
    "ij,jk->ki",
    "ij,kj->ik",
    "ji,jk->ik",
    "bij,bkj->bik",
    "bij,bjk->kbi",
    "aib,bj->iaj",
]
EQUATIONS += [
    "ijk,kl->ijl",
    "ij,ij->",
    "ij,ij->i",
    "i,j->ji",
    "bii,bij->bj",
    "ij,jk,kl->il",
    "ij,jk,kl,lm->im",
]
EQUATIONS += ["ijk,kjl->il", "jik,lkj->li", "ab,bc,cd,de,ef,fg,gh,ha->a"]
EQUATIONS += ["abc,cd,de,bf->aef", "i,i,i->", "ab,bc,cb->a"]


@given(st.sampled_from(EQUATIONS), st.lists(st.integers(0, 7), min_size=8, max_size=8), dtypes, seeds)
@properties
def test_einsum_is_the_sum_that_its_equation_says(equation, lengths, dtype, seed):
    if dtype in HALF:  # those are rounded between the products
        dtype = "float32"
    rng = np.random.default_rng(seed)
    inputs, output = equation.split("->")
    length = dict(zip(sorted(set(inputs) - {","}), lengths))
    arrays = [draw(rng, tuple(length[x] for x in term), dtype) for term in inputs.split(",")]
    exact = np.asarray(np.einsum(equation, *(a.astype(wide_of(dtype)) for a in arrays)), wide_of(dtype))
    size = np.einsum(equation, *map(magnitude, arrays))
    summed = math.prod(length[x] for x in length if x not in output)
    got = ctorch.einsum(equation, *(tensor(a, dtype) for a in arrays))
    check(got, exact, np.asarray(size), summed + 3 * len(arrays), dtype)


def test_einsum_multiplies_in_the_order_that_costs_least():
    # From the left there would be a matrix of 256 GiB on the way.
    column, row = ctorch.ones(2**18, 1), ctorch.ones(1, 2**18)
    assert ctorch.einsum("ij,jk,kl->il", column, row, column).eq(2**18).all()
    assert ctorch.einsum("kl,jk,ij->il", column, row, column).eq(2**18).all()
    # With many operands the cheapest pair is next.
    chain = "ab,bc,cd,de,ef,fg,gh,hi->ai"
    assert ctorch.einsum(chain, *[row, column] * 4).item() == 2.0**72


@given(sizes, sizes, depths, layouts, layouts, st.sampled_from(["float32", "float64", "bfloat16"]), seeds)
@properties
def test_a_product_acts_on_a_vector_as_its_factors_do_in_turn(m, n, k, layout_a, layout_b, dtype, seed):
    rng = np.random.default_rng(seed)
    a, left = laid_out(draw(rng, (m, k), dtype), dtype, layout_a)
    b, right = laid_out(draw(rng, (k, n), dtype), dtype, layout_b)
    t = draw(rng, (n,), dtype)
    inner = magnitude(right) @ magnitude(t)
    size = magnitude(left) @ inner
    both = values(a @ (b @ tensor(t, dtype))), values((a @ b) @ tensor(t, dtype))
    unit = UNIT.get(dtype, 0.0)  # of the results between
    bound = (6 * (k + n + 4) * eps_of(dtype) + 4 * unit) * size + 1e-30
    assert (np.abs(both[0] - both[1]) <= bound).all()


# ---- infinities, NaN, the largest and the smallest numbers ---------------------------------------------------


def kinds(a: np.ndarray) -> np.ndarray:
    """0 for a finite number, 1 and -1 for the infinities, 2 for NaN."""
    return np.where(np.isnan(a), 2, np.where(np.isinf(a), np.sign(a), 0))


special_values = st.sampled_from([math.inf, -math.inf, math.nan])
float_dtypes = st.sampled_from(["float32", "float32", "float64", "float16", "bfloat16"])
special_sizes = st.sampled_from([1, 3, 16, 33, 64, 100])


def sprinkle(rng: np.random.Generator, a: np.ndarray, special: list[float]) -> np.ndarray:
    for value in special:
        a.flat[rng.integers(a.size)] = value
    return a


@given(
    *(special_sizes, special_sizes, special_sizes, float_dtypes),
    *(st.lists(special_values, max_size=3), st.lists(special_values, max_size=3), seeds),
)
@properties
def test_infinities_and_nan_of_a_product_are_those_of_its_sums(m, n, k, dtype, in_a, in_b, seed):
    rng = np.random.default_rng(seed)
    a, b = (draw(rng, shape, dtype) for shape in ((m, k), (k, n)))
    a.flat[:: max(1, a.size // 3)] = 0  # an infinity meets zeros, too
    sprinkle(rng, a, in_a), sprinkle(rng, b, in_b)
    got = values(tensor(a, dtype) @ tensor(b, dtype))
    with np.errstate(invalid="ignore"):
        want = np.matmul(a.astype(np.float64), b.astype(np.float64))
    np.testing.assert_array_equal(kinds(got), kinds(want))
    finite = np.isfinite(want)
    np.testing.assert_allclose(got[finite], want[finite], rtol=0, atol=8 * UNIT.get(dtype, 2**-20) * k)


@given(special_sizes, special_sizes, st.sampled_from([1, 16, 33, 100]), seeds)
@properties
def test_products_near_overflow_are_finite_where_the_sums_are(m, n, k, seed):
    largest = float(np.finfo(np.float32).max)
    rng = np.random.default_rng(seed)
    a, b = draw(rng, (m, k), "float32"), draw(rng, (k, n), "float32")
    at = rng.integers(k)
    # A column of the largest numbers meets small ones: all partial sums are finite.
    a[:, at] = largest * rng.choice([1, -1, 1 - 2**-23], m)
    b[at] = rng.uniform(-0.9, 0.9, n)
    exact, size = product(a, b, "float32")
    check(tensor(a, "float32") @ tensor(b, "float32"), exact, size, k, "float32")
    # Sums of positive numbers beyond the largest are infinite, in any order.
    a, b = np.abs(a), np.abs(b)
    b[at] = 2
    assert np.isposinf(values(tensor(a, "float32") @ tensor(b, "float32"))).all()


@given(special_sizes, special_sizes, special_sizes, st.booleans(), seeds)
@properties
def test_denormal_operands_count_as_what_they_are_or_as_zero(m, n, k, all_of_them, seed):
    rng = np.random.default_rng(seed)
    a, b = draw(rng, (m, k), "float32"), draw(rng, (k, n), "float32", spread=True)
    small = (rng.standard_normal((m, k)) * 1e-39).astype(np.float32)
    a = small if all_of_them else np.where(rng.random((m, k)) < 0.5, small, a)
    exact, size = product(a, b, "float32")
    lost = (TINY * np.abs(b).astype(np.float64)).sum(0)  # of each denormal at most the smallest normal number
    error = np.abs(values(tensor(a, "float32") @ tensor(b, "float32")) - exact)
    assert (error <= 3 * (k + 2) * 2.0**-23 * size + lost + 4 * (k + 1) * TINY).all()


@given(special_sizes, special_sizes, special_sizes, seeds)
@properties
def test_very_small_and_very_large_factors_keep_their_digits(m, n, k, seed):
    # Near the ends of the range the lower pieces of a split number are denormal, or its upper one rounds to infinity.
    rng = np.random.default_rng(seed)
    a = (draw(rng, (m, k), "float32") * np.float32(2.0) ** rng.choice([-120, -100, 90, 110])).astype(
        np.float32
    )
    b = (draw(rng, (k, n), "float32") * np.float32(2.0) ** rng.integers(-4, 5)).astype(np.float32)
    exact, size = product(a, b, "float32")
    check(tensor(a, "float32") @ tensor(b, "float32"), exact, size + (k + 2) * TINY * 2**24, k, "float32")


# ---- convolutions ------------------------------------------------------------------------------------------


class Convolution:
    """A random convolution of `dims` spatial dims, with its operands as arrays."""

    def __init__(self, seed: int, dims: int, dtype: str, window: int = 0) -> None:
        rng = self.rng = np.random.default_rng(seed)
        self.dims, self.dtype = dims, dtype
        self.groups = int(rng.choice([1, 1, 1, 2, 3]))
        per_group, out = int(rng.choice([1, 2, 4, 16, 19])), int(rng.choice([1, 2, 8, 17, 32]))
        if rng.random() < 0.2:  # depthwise
            self.groups, per_group, out = int(rng.choice([2, 16, 33])), 1, 1
        if window:  # the shape that Winograd's method is for
            self.groups, per_group, out = 1, int(rng.choice([12, 32, 40])), int(rng.choice([16, 33, 48]))
        kernel = [window or int(rng.integers(1, 4)) for _ in range(dims)]
        plain = bool(window)
        self.stride = [1 if plain else int(rng.integers(1, 4)) for _ in range(dims)]
        self.dilation = [1 if plain else int(rng.integers(1, 3)) for _ in range(dims)]
        self.padding = [int(rng.integers(0, 3)) for _ in range(dims)]
        least = [max(1, d * (k - 1) + 1 - 2 * p) for d, k, p in zip(self.dilation, kernel, self.padding)]
        longest = {1: 40, 2: 14, 3: 6}[dims]
        self.size = [n + int(rng.integers(*((6, 28) if plain else (0, longest)))) for n in least]
        batch = int(rng.choice([0, 1, 1, 2, 3])) if not plain else int(rng.choice([1, 2]))
        self.x = draw(rng, (batch, self.groups * per_group, *self.size), dtype)
        self.w = draw(rng, (self.groups * out, per_group, *kernel), dtype)
        self.depth = per_group * math.prod(kernel)
        self.options = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}
        self.options["groups"] = self.groups

    def forward(self) -> Callable[..., ctorch.Tensor]:
        return getattr(F, f"conv{self.dims}d")

    def transposed(self) -> Callable[..., ctorch.Tensor]:
        return getattr(F, f"conv_transpose{self.dims}d")

    def exact(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        """In the dtype of the arrays, one tap after the other."""
        x = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in self.padding)))
        n, (o, c), g = x.shape[0], w.shape[:2], self.groups
        shape = [
            (size - d * (k - 1) - 1) // s + 1
            for size, d, k, s in zip(x.shape[2:], self.dilation, w.shape[2:], self.stride)
        ]
        y = np.zeros((n, g, o // g, *shape), np.result_type(x, w))
        for tap in np.ndindex(*w.shape[2:]):
            window = tuple(
                slice(t * d, t * d + (m - 1) * s + 1, s)
                for t, d, m, s in zip(tap, self.dilation, shape, self.stride)
            )
            part = x[(slice(None), slice(None), *window)].reshape(n, g, c, *shape)
            weight = w[(slice(None), slice(None), *tap)].reshape(g, o // g, c)
            y += np.einsum("ngc...,goc->ngo...", part, weight)
        return y.reshape(n, o, *shape)

    def bound(self) -> float:
        most = [float(np.abs(a).max(initial=0)) for a in (self.x, self.w)]
        bound = 8 * (self.depth + 2) * eps_of(self.dtype) * most[0] * most[1] + 1e-30
        return 3 * bound if self.dtype.startswith("complex") else bound


def image_layouts(x: np.ndarray, dtype: str, layout: str) -> ctorch.Tensor:
    """The image with other strides: channels innermost, every other column, or dense."""
    if layout == "channels last":
        return tensor(np.moveaxis(x, 1, -1), dtype).movedim(-1, 1)
    if layout == "every other":
        return tensor(np.stack([x, x], -1), dtype)[..., 0]
    return tensor(x, dtype)


conv_dtypes = st.sampled_from(["float32"] * 4 + ["float64", "bfloat16", "float16", "complex64", "int64"])
conv_layouts = st.sampled_from(["dense", "channels last", "every other"])


@given(seeds, st.sampled_from([1, 2, 2, 3]), conv_dtypes, conv_layouts, conv_layouts, st.booleans())
@properties
def test_a_convolution_is_within_the_bound_of_its_sums(seed, dims, dtype, layout_x, layout_w, with_bias):
    c = Convolution(seed, dims, dtype)
    compare(c, layout_x, layout_w, with_bias)


@given(seeds, st.sampled_from(["float32", "float32", "float64"]), conv_layouts, st.booleans())
@properties
def test_a_convolution_of_3_by_3_is_within_the_bound_of_its_sums(seed, dtype, layout_x, with_bias):
    compare(Convolution(seed, 2, dtype, window=3), layout_x, "dense", with_bias)


def compare(c: Convolution, layout_x: str, layout_w: str, with_bias: bool) -> None:
    dtype = c.dtype
    x, w = image_layouts(c.x, dtype, layout_x), image_layouts(c.w, dtype, layout_w)
    b = draw(c.rng, (c.w.shape[0],), dtype) if with_bias else np.zeros(c.w.shape[0], c.w.dtype)
    got = c.forward()(x, w, tensor(b, dtype) if with_bias else None, **c.options)
    assert got.dtype == getattr(ctorch, dtype)
    if dtype == "int64":
        want = c.exact(c.x, c.w) + b.reshape(-1, *[1] * c.dims)  # both wrap
        np.testing.assert_array_equal(got.numpy(), want)
        return
    wide = np.complex128 if dtype.startswith("complex") else np.float64
    exact = c.exact(c.x.astype(wide), c.w.astype(wide)) + b.reshape(-1, *[1] * c.dims)
    assert tuple(got.shape) == exact.shape
    most = float(np.abs(exact).max(initial=0))
    bound = c.bound() + 4 * UNIT.get(dtype, eps_of(dtype)) * (most + float(np.abs(b).max(initial=0)))
    error = float(np.abs(values(got) - exact).max(initial=0))
    assert error <= bound, f"{error / bound} of the bound"


@given(
    seeds, st.sampled_from([1, 2, 2, 3]), st.sampled_from(["float32", "float32", "float64"]), st.booleans()
)
@properties
def test_a_transposed_convolution_is_the_transpose_of_the_convolution(seed, dims, dtype, as_gradient):
    c = Convolution(seed, dims, dtype, window=3 if dims == 2 and seed % 2 else 0)
    adjoint(c, as_gradient)


def adjoint(c: Convolution, as_gradient: bool) -> None:
    """<conv(x, w), y> == <x, conv_transpose(y, w)>; also as the gradients that backward() gives."""
    x, w = tensor(c.x, c.dtype).requires_grad_(as_gradient), tensor(c.w, c.dtype).requires_grad_(as_gradient)
    result = c.forward()(x, w, **c.options)
    y = draw(c.rng, tuple(result.shape), c.dtype)
    if as_gradient:
        result.backward(tensor(y, c.dtype))
        back, filter_grad = x.grad, w.grad
    else:
        reach = [d * (k - 1) + 1 for d, k in zip(c.dilation, c.w.shape[2:])]
        missing = [
            n - ((m - 1) * s - 2 * p + r)
            for n, m, s, p, r in zip(c.size, y.shape[2:], c.stride, c.padding, reach)
        ]
        if c.x.shape[0] == 0 or any(m >= max(s, d) for m, s, d in zip(missing, c.stride, c.dilation)):
            return
        back, filter_grad = c.transposed()(tensor(y, c.dtype), w, output_padding=missing, **c.options), None
    one = (values(result.detach()).astype(np.longdouble) * y).sum()
    size = (c.exact(magnitude(c.x), magnitude(c.w)) * magnitude(y)).sum()
    terms = c.depth + c.w.shape[0] * math.prod(c.w.shape[2:])
    bound = 32 * terms * eps_of(c.dtype) * size + 1e-30
    assert abs(one - (values(back).astype(np.longdouble) * c.x).sum()) <= bound
    if filter_grad is not None:
        points = math.prod(y.shape[2:]) * y.shape[0]
        bound += 3 * points * eps_of(c.dtype) * size
        assert abs(one - (values(filter_grad).astype(np.longdouble) * c.w).sum()) <= bound


@given(seeds, st.booleans(), st.lists(special_values, max_size=2), st.lists(special_values, max_size=1))
@properties
def test_infinities_and_nan_of_a_convolution_are_those_of_its_sums(seed, three_by_three, in_x, in_w):
    c = Convolution(seed, 2, "float32", window=3 if three_by_three else 0)
    if c.x.size == 0:
        return
    if in_w:  # whether padding meets an infinite weight is up to the method
        c.padding[:] = [0, 0]
        c.x = np.pad(c.x, ((0, 0), (0, 0), (4, 4), (4, 4)))
    sprinkle(c.rng, c.x, in_x), sprinkle(c.rng, c.w, in_w)
    got = values(c.forward()(tensor(c.x, "float32"), tensor(c.w, "float32"), **c.options))
    with np.errstate(invalid="ignore"):
        want = c.exact(c.x.astype(np.float64), c.w.astype(np.float64))
    np.testing.assert_array_equal(kinds(got), kinds(want))
    finite = np.isfinite(want)
    np.testing.assert_allclose(got[finite], want[finite], rtol=0, atol=1e-3)


@given(seeds, st.booleans())
@properties
def test_convolutions_near_overflow_and_with_denormals_are_those_of_their_sums(seed, three_by_three):
    c = Convolution(seed, 2, "float32", window=3 if three_by_three else 0)
    if c.x.size == 0:
        return
    largest = float(np.finfo(np.float32).max)
    x, w = np.clip(c.x, -1, 1), np.clip(c.w, -1, 1)
    for scale_x, scale_w in ((largest, 0.5 / c.depth), (1e-39, 1.0), (1.0, 1e-39), (1e-30, 1e-30)):
        c.x, c.w = (x * scale_x).astype(np.float32), (w * scale_w).astype(np.float32)
        got = values(c.forward()(tensor(c.x, "float32"), tensor(c.w, "float32"), **c.options))
        exact = c.exact(c.x.astype(np.float64), c.w.astype(np.float64))
        most = [float(np.abs(a).max()) for a in (c.x, c.w)]
        bound = c.bound() + TINY * c.depth * (4 + most[0] + most[1])
        assert float(np.abs(got - exact).max()) <= bound


# ---- threads and levels --------------------------------------------------------------------------------------


@pytest.fixture
def thread_counts() -> Iterator[tuple[int, ...]]:
    before = ctorch.get_num_threads()
    yield (1, 2, 3)
    ctorch.set_num_threads(before)


def bits(function: Callable[..., ctorch.Tensor], *operands: ctorch.Tensor) -> list[bytes]:
    """Of the result and of the gradients."""
    leaves = [t.detach().requires_grad_() for t in operands]
    result = function(*leaves)
    result.backward(result.detach())
    return [values(t.detach()).tobytes() for t in (result, *(x.grad for x in leaves))]


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_products_have_the_same_bits_for_every_number_of_threads(thread_counts, dtype):
    rng = np.random.default_rng(0)
    for m, n, k in [(300, 200, 500), (1, 1000, 900), (16, 700, 800), (1000, 3, 400), (97, 101, 1303)]:
        a, b = tensor(draw(rng, (m, k), dtype), dtype), tensor(draw(rng, (k, n), dtype), dtype)
        found = []
        for threads in thread_counts:
            ctorch.set_num_threads(threads)
            found.append(bits(ctorch.mm, a, b))
        assert found[0] == found[1] == found[2], (m, n, k)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_convolutions_have_the_same_bits_for_every_number_of_threads(thread_counts, dims):
    for seed in range(12):
        c = Convolution(seed, dims, "float32", window=3 if dims == 2 and seed < 6 else 0)
        x = tensor(np.concatenate([c.x] * 4), "float32") if c.x.size else tensor(c.x, "float32")
        w = tensor(c.w, "float32")
        found = []
        for threads in thread_counts:
            ctorch.set_num_threads(threads)
            found.append(bits(lambda x, w, c=c: c.forward()(x, w, **c.options), x, w))
        assert found[0] == found[1] == found[2], seed


@not_at_a_forced_level
@pytest.mark.parametrize("level", LEVELS)
def test_the_properties_hold_at_every_kernel_level(level):
    run_at_level(__file__, level, CTORCH_TEST_EXAMPLES="30")


# ---- errors ------------------------------------------------------------------------------------------------


def ones(*shape: int) -> ctorch.Tensor:
    """Of any size: one element, expanded."""
    return ctorch.ones(1).expand(*shape)


@pytest.mark.parametrize(
    "call, shapes",
    [
        (ctorch.mm, [(2, 3), (4, 5)]),
        (ctorch.mm, [(2, 0), (1, 5)]),
        (ctorch.mv, [(2, 3), (4,)]),
        (ctorch.dot, [(2,), (4,)]),
        (ctorch.bmm, [(2, 3, 4), (2, 5, 6)]),
        (ctorch.bmm, [(2, 3, 4), (3, 4, 6)]),
        (ctorch.matmul, [(2, 3), (4, 5, 6)]),
        (ctorch.matmul, [(2, 3, 4), (3, 4, 5)]),
        (ctorch.matmul, [(3,), (2, 4, 5)]),
        (ctorch.addmm, [(2, 7), (2, 3), (3, 5)]),
        (ctorch.addmm, [(2, 5), (2, 3), (4, 5)]),
        (ctorch.addmv, [(2,), (2, 3), (4,)]),
        (ctorch.baddbmm, [(2, 3, 7), (2, 3, 4), (2, 4, 5)]),
        (ctorch.baddbmm, [(2, 3, 5), (2, 3, 4), (2, 6, 5)]),
        (ctorch.addbmm, [(3, 7), (2, 3, 4), (2, 4, 5)]),
        (ctorch.inner, [(2, 3), (4, 5)]),
        (F.linear, [(2, 3), (4, 5)]),
        (F.linear, [(2, 3), (4, 3), (5,)]),
        (F.bilinear, [(2, 3), (2, 4), (5, 3, 6)]),
        (lambda a, b: ctorch.tensordot(a, b, 1), [(2, 3), (4, 5)]),
        (lambda *t: ctorch.linalg.multi_dot(t), [(2, 3), (4, 5), (5, 6)]),
        (F.conv1d, [(1, 3, 8), (4, 2, 3)]),
        (F.conv2d, [(1, 3, 8, 8), (4, 2, 3, 3)]),
        (F.conv2d, [(1, 2, 2, 8), (4, 2, 3, 3)]),
        (F.conv3d, [(1, 3, 8, 8, 8), (4, 2, 3, 3, 3)]),
        (F.conv_transpose2d, [(1, 3, 8, 8), (4, 2, 3, 3)]),
    ],
)
def test_shapes_that_do_not_fit_are_named(call, shapes):
    with pytest.raises(RuntimeError) as caught:
        call(*(ones(*s) for s in shapes))
    missing = [s for s in shapes if str(s) not in str(caught.value)]
    assert not missing, str(caught.value)


HUGE = 2**40


@pytest.mark.parametrize(
    "call",
    [
        lambda: ctorch.mm(ones(HUGE, 2), ones(2, HUGE)),  # more elements than an int64 counts
        lambda: ctorch.mm(ones(2**31, 2), ones(2, 2**31)),  # more bytes
        lambda: ctorch.mm(ones(2**22, 2), ones(2, 2**22)),  # more memory than there is
        lambda: ctorch.matmul(ones(3, HUGE, 2), ones(2, HUGE)),
        lambda: ctorch.bmm(ones(2**50, 2, 2), ones(2**50, 2, 2)),
        lambda: ctorch.mv(ones(2**61, 2), ones(2)),
        lambda: ctorch.outer(ones(HUGE), ones(HUGE)),
        lambda: ctorch.inner(ones(HUGE, 2), ones(HUGE, 2)),
        lambda: ctorch.addmm(ones(1), ones(HUGE, 2), ones(2, HUGE)),
        lambda: ctorch.addmv(ones(1), ones(2**45, 2), ones(2)),
        lambda: ctorch.baddbmm(ones(1), ones(4, HUGE, 2), ones(4, 2, HUGE)),
        lambda: ctorch.addbmm(ones(1), ones(3, HUGE, 2), ones(3, 2, HUGE)),
        lambda: F.linear(ones(HUGE, 2), ones(HUGE, 2)),
        lambda: F.bilinear(ones(HUGE, 2), ones(HUGE, 2), ones(HUGE, 2, 2)),
        lambda: ctorch.einsum("ik,kj->ij", ones(HUGE, 2), ones(2, HUGE)),
        lambda: ctorch.einsum("ij,kl->ijkl", ones(2**20, 2**20), ones(2**20, 2**20)),
        lambda: ctorch.tensordot(ones(HUGE, 2), ones(HUGE, 2), 0),
        lambda: ctorch.kron(ones(HUGE, 2), ones(HUGE, 2)),
        lambda: ctorch.linalg.multi_dot([ones(HUGE, 2), ones(2, 2), ones(2, HUGE)]),
        lambda: F.conv1d(ones(1, 1, 4), ones(1, 1, 3), padding=2**44),
        lambda: F.conv2d(ones(1, 1, 4, 4), ones(1, 1, 3, 3), padding=2**31),
        lambda: F.conv2d(ones(1, 1, 4, 4), ones(1, 1, 3, 3), padding=2**62),
        lambda: F.conv1d(ones(1, 1, 4), ones(1, 1, 3), dilation=2**62),
        lambda: F.conv1d(ones(1, 1, 4), ones(1, 1, 5), dilation=2**62, padding=4),
        lambda: F.conv1d(ones(HUGE, 1, 4), ones(HUGE, 1, 3)),
        lambda: F.conv2d(ones(1, 1, 2**22, 2**22), ones(1, 1, 3, 3)),
        lambda: F.conv_transpose1d(ones(1, 1, 4), ones(1, 1, 3), stride=2**62),
        lambda: F.conv_transpose2d(ones(1, 1, 4, 4), ones(1, 1, 3, 3), stride=2**31),
        lambda: F.conv_transpose1d(ones(1, 1, 4), ones(1, 2**61, 3)),
    ],
)
def test_results_that_no_memory_holds_are_errors(call):
    with pytest.raises(
        RuntimeError, match=r"overflow|no \d+ bytes to give|would have size|greater than actual|is too large"
    ):
        call()
