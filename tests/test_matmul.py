"""Products of matrices and vectors, einsum and its relatives: layouts, dtypes, results in place, gradients, errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ctorch

DTYPES = ["float32", "float64", "float16", "bfloat16", "int32", "int64", "uint8", "complex64", "complex128"]
EPS = {
    "float32": 2**-23,
    "float64": 2**-52,
    "float16": 2**-10,
    "bfloat16": 2**-7,
    "complex64": 2**-22,
    "complex128": 2**-51,
}


def values(shape, dtype="float32", seed=0):
    """Numbers that half types hold exactly, so that only the product rounds."""
    rng = np.random.default_rng(seed)
    a = rng.integers(-8, 9, shape) / (1 if dtype.startswith(("int", "uint")) else 8)
    if dtype.startswith("complex"):
        a = a + 1j * rng.integers(-8, 9, shape) / 8
    return a


def tensor(a, dtype):
    wide = {"float16": "float32", "bfloat16": "float32"}.get(dtype, dtype)
    return ctorch.from_numpy(
        np.array(a).astype(np.int64).astype(wide) if "int" in dtype else np.array(a).astype(wide)
    ).to(getattr(ctorch, dtype))


def exact(dtype, a):
    """What the dtype holds of exact numbers: integers wrap."""
    return a.astype(dtype) if "int" in dtype else a


def check(ours, want, dtype, depth):
    got = ours.to(ctorch.float64) if dtype in ("float16", "bfloat16") else ours
    got = got.numpy()
    assert got.shape == want.shape
    if "int" in dtype:
        np.testing.assert_array_equal(got, exact(dtype, want))
    else:
        bound = EPS[dtype] * (2 + np.sqrt(depth)) * max(1.0, float(np.abs(want).max(initial=0)))
        np.testing.assert_allclose(got, want, rtol=0, atol=bound)


def views(t):
    """The same matrix in the layouts that views have, negative strides included."""
    yield t
    yield t.t().contiguous().t()
    yield ctorch.stack([t, t], -1)[..., 1]
    yield ctorch._C._slice(ctorch._C.flip(t, [0, 1]), 0, None, None, -1)[:, ::-1]


@pytest.mark.parametrize("dtype", DTYPES)
def test_mm_of_every_dtype_and_layout(dtype):
    for m, k, n in [(1, 1, 1), (3, 4, 5), (1, 70, 9), (33, 65, 17), (90, 130, 70)]:
        a, b = values((m, k), dtype), values((k, n), dtype, 1)
        want = a @ b
        for x in views(tensor(a, dtype)):
            for y in views(tensor(b, dtype)):
                check(ctorch.mm(x, y), want, dtype, k)


@given(
    st.integers(0, 40),
    st.integers(0, 40),
    st.integers(0, 80),
    st.booleans(),
    st.booleans(),
    st.integers(0, 10**6),
)
@settings(max_examples=60, deadline=None)
def test_mm_of_random_shapes(m, n, k, turn_a, turn_b, seed):
    a, b = values((m, k), seed=seed), values((k, n), seed=seed + 1)
    x, y = tensor(a, "float32"), tensor(b, "float32")
    x = x.t().contiguous().t() if turn_a else x
    y = y.t().contiguous().t() if turn_b else y
    check(x @ y, a @ b, "float32", k)


@pytest.mark.parametrize(
    "left, right",
    [
        ((4,), (4,)),
        ((4,), (4, 3)),
        ((2, 4), (4,)),
        ((2, 4), (4, 3)),
        ((5, 2, 4), (4,)),
        ((5, 2, 4), (4, 3)),
        ((4,), (5, 4, 3)),
        ((2, 4), (5, 4, 3)),
        ((5, 2, 4), (5, 4, 3)),
        ((6, 1, 2, 4), (5, 4, 3)),
        ((1, 2, 1, 3, 1, 2, 4), (2, 2, 1, 1, 2, 4, 3)),
        ((0, 2, 4), (4, 3)),
        ((2, 0), (0, 3)),
        ((3, 2, 0), (0,)),
    ],
)
def test_matmul_of_all_numbers_of_dims(left, right):
    a, b = values(left), values(right, seed=1)
    check(
        ctorch.matmul(tensor(a, "float32"), tensor(b, "float32")), np.asarray(np.matmul(a, b)), "float32", 4
    )


def test_batches_that_share_an_operand_by_expansion():
    a, b = values((1, 6, 7)), values((5, 7, 3), seed=1)
    x = tensor(a, "float32").expand(5, 6, 7)
    check(ctorch.bmm(x, tensor(b, "float32")), np.matmul(a, b), "float32", 7)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int64", "complex64"])
def test_add_products(dtype):
    c, a, b = values((1, 5), dtype), values((4, 6), dtype, 1), values((6, 5), dtype, 2)
    x, y, z = (tensor(t, dtype) for t in (c, a, b))
    check(ctorch.addmm(x, y, z, beta=2, alpha=3), 2 * c + 3 * (a @ b), dtype, 200)
    check(ctorch.addmm(x * 0 + 9, y, z, beta=0), a @ b, dtype, 6)
    ba, bb = values((3, 4, 6), dtype, 3), values((3, 6, 5), dtype, 4)
    check(ctorch.baddbmm(x, tensor(ba, dtype), tensor(bb, dtype), beta=2), 2 * c + ba @ bb, dtype, 50)
    check(
        ctorch.addbmm(x, tensor(ba, dtype), tensor(bb, dtype), alpha=2), c + 2 * (ba @ bb).sum(0), dtype, 400
    )
    v = values((6,), dtype, 5)
    check(ctorch.addmv(tensor(c[0, :4], dtype), y, tensor(v, dtype)), c[0, :4] + a @ v, dtype, 6)
    check(ctorch.addr(x, y[:, 0], z[0]), c + np.outer(a[:, 0], b[0]), dtype, 6)


def test_beta_zero_does_not_read_the_addend():
    nan = ctorch.full((2, 2), float("nan"))
    eye = ctorch.eye(2)
    assert ctorch.addmm(nan, eye, eye, beta=0).equal(eye)


def test_results_in_place_and_in_out():
    a, b = values((4, 4)), values((4, 4), seed=1)
    x, y = tensor(a, "float32"), tensor(b, "float32")
    out = ctorch.empty(0)
    assert ctorch.mm(x, y, out=out) is out
    check(out, a @ b, "float32", 4)
    turned = ctorch.empty(4, 4).t()
    check(ctorch.mm(x, y, out=turned), a @ b, "float32", 4)
    z = x.clone()
    check(ctorch.mm(z, y, out=z), a @ b, "float32", 4)  # an operand is the result
    z = x.clone()
    check(z.addmm_(x, y), a + a @ b, "float32", 4)
    z = x.clone()
    check(ctorch.addmm(z.t(), x, y, out=z), a.T + a @ b, "float32", 4)  # the addend overlaps it otherwise
    with pytest.raises(RuntimeError, match=r"mm: expected out of dtype float32, got float64"):
        ctorch.mm(x, y, out=ctorch.empty(4, 4, dtype=ctorch.float64))


def test_infinities_and_nan_reach_only_their_elements():
    a, b = np.ones((40, 60)), np.ones((60, 50))
    a[3, 7], b[9, 11] = np.inf, np.nan
    got = (tensor(a, "float32") @ tensor(b, "float32")).numpy()
    assert np.isnan(got[:, 11]).all()
    rest = np.delete(got, 11, 1)
    assert np.isinf(rest[3]).all()
    assert (np.delete(rest, 3, 0) == 60).all()


def test_linear_over_any_leading_dims():
    w, b = values((3, 4)), values((3,), seed=1)
    for shape in [(4,), (2, 4), (5, 2, 4), (0, 4)]:
        x = values(shape, seed=2)
        got = ctorch.nn.functional.linear(tensor(x, "float32"), tensor(w, "float32"), tensor(b, "float32"))
        check(got, x @ w.T + b, "float32", 4)


@pytest.mark.parametrize(
    "equation, shapes",
    [
        ("ij,jk->ik", [(3, 4), (4, 5)]),
        ("bij,bkj->bik", [(2, 3, 4), (2, 5, 4)]),
        ("ii->i", [(4, 4)]),
        ("ii", [(4, 4)]),
        ("ij->ji", [(3, 4)]),
        ("i,j->ij", [(3,), (4,)]),
        ("...ij,...jk->...ik", [(2, 1, 3, 4), (5, 4, 6)]),
        ("i...->...", [(3, 4, 5)]),
        ("abc,cd,de->abe", [(2, 3, 4), (4, 5), (5, 6)]),
        ("bhqd,bhkd->bhqk", [(2, 3, 4, 5), (2, 3, 6, 5)]),
        ("ijk,ijk->", [(2, 3, 4), (2, 3, 4)]),
        ("bii,bij->bj", [(2, 3, 3), (2, 3, 4)]),
        (" a b , b -> a ", [(2, 3), (3,)]),
        ("Ab,bc", [(2, 3), (3, 4)]),
    ],
)
def test_einsum(equation, shapes):
    arrays = [values(s, "float64", i) for i, s in enumerate(shapes)]
    want = np.asarray(np.einsum(equation, *arrays))
    check(ctorch.einsum(equation, *(tensor(a, "float64") for a in arrays)), want, "float64", 60)


def test_einsum_with_lists_of_labels():
    a, b = values((3, 4), "float64"), values((4, 5), "float64", 1)
    x, y = tensor(a, "float64"), tensor(b, "float64")
    check(ctorch.einsum(x, [0, 1], y, [1, 2], [2, 0]), (a @ b).T, "float64", 4)
    check(ctorch.einsum(x, [Ellipsis, 1], y, [1, 2]), a @ b, "float64", 4)
    check(ctorch.einsum("ij,jk", [x, y]), a @ b, "float64", 4)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda a: ctorch.einsum("ij,jk", a), "names 2 operands"),
        (lambda a: ctorch.einsum("ijk", a), "number of subscripts"),
        (lambda a: ctorch.einsum("i.j->ij", a), "ellipsis"),
        (lambda a: ctorch.einsum("ij->ik", a), "does not appear in any input"),
        (lambda a: ctorch.einsum("ij->ii", a), "more than once in the output"),
        (lambda a: ctorch.einsum("i1->i", a), r"must be in \[a-zA-Z\]"),
        (lambda a: ctorch.einsum("ij,jk->ik", a, a), "does not broadcast"),
        (lambda a: ctorch.mm(a, a), r"mm: shapes cannot be multiplied, got \(2, 3\) and \(2, 3\)"),
        (lambda a: ctorch.mm(a[0], a), "mm: expected input to have 2 dimensions"),
        (lambda a: ctorch.mm(a, a.t().double()), "same dtype, but got: float32 != float64"),
        (lambda a: ctorch.mv(a, a[:, 0]), "mv: shapes cannot be multiplied"),
        (lambda a: ctorch.dot(a, a), "dot: expected 1D tensors"),
        (lambda a: ctorch.bmm(a, a), "bmm: expected input to have 3 dimensions"),
        (lambda a: ctorch.matmul(a[0, 0], a), "matmul: both arguments need to be at least 1D"),
        (lambda a: ctorch.matmul(a.expand(2, 2, 3), a.t().expand(3, 3, 2)), "matmul"),
        (lambda a: ctorch.addmm(a, a, a.t()), "addmm"),
        (lambda a: ctorch.addmm(a[0, 0].long(), a.long(), a.t().long(), alpha=0.5), "must not be a floating"),
        (lambda a: ctorch.nn.functional.linear(a, a.t()), r"linear: shapes cannot be multiplied"),
        (lambda a: ctorch.tensordot(a, a, 1), "contracted dimensions need to match"),
        (lambda a: ctorch.linalg.multi_dot([a]), "at least 2 tensors"),
    ],
)
def test_errors(call, message):
    with pytest.raises(RuntimeError, match=message):
        call(ctorch.ones(2, 3))


def test_relatives_of_einsum():
    a, b = values((2, 3, 4), "float64"), values((4, 3, 5), "float64", 1)
    x, y = tensor(a, "float64"), tensor(b, "float64")
    check(ctorch.tensordot(x, y, ([2, 1], [0, 1])), np.tensordot(a, b, ([2, 1], [0, 1])), "float64", 12)
    check(ctorch.tensordot(x, x, 0), np.tensordot(a, a, 0), "float64", 1)
    check(ctorch.kron(x[0], y[0]), np.kron(a[0], b[0]), "float64", 1)
    check(ctorch.cross(y[:, :, 0], y[:, :, 1], 1), np.cross(b[:, :, 0], b[:, :, 1]), "float64", 2)
    chain = [values(s, "float64", i) for i, s in enumerate([(10, 3), (3, 40), (40, 2), (2,)])]
    got = ctorch.linalg.multi_dot([tensor(t, "float64") for t in chain])
    check(got, np.linalg.multi_dot(chain), "float64", 400)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize(
    "function, shapes",
    [
        (lambda a, b: a @ b, [(3, 4), (4, 2)]),
        (lambda a, b: a @ b, [(4,), (2, 4, 3)]),
        (lambda a, b: a @ b, [(2, 1, 3, 4), (2, 4, 2)]),
        (lambda a, b: a @ b, [(2, 3, 4), (4,)]),
        (lambda a, b: a @ b, [(2, 3, 4), (4, 2)]),
        (lambda a, b: a @ b, [(4,), (4,)]),
        (ctorch.inner, [(2, 4), (3, 4)]),
        (ctorch.outer, [(2,), (3,)]),
        (ctorch.vdot, [(4,), (4,)]),
        (ctorch.nn.functional.linear, [(2, 2, 4), (3, 4), (3,)]),
        (ctorch.nn.functional.linear, [(4,), (3, 4)]),
        (lambda c, a, b: ctorch.addmm(c, a, b, beta=2, alpha=3), [(2,), (3, 4), (4, 2)]),
        (lambda c, a, b: ctorch.addbmm(c, a, b, alpha=2), [(3, 2), (2, 3, 4), (2, 4, 2)]),
        (lambda c, a, b: ctorch.baddbmm(c, a, b, beta=3), [(3, 2), (2, 3, 4), (2, 4, 2)]),
        (lambda c, a, b: ctorch.addmv(c, a, b), [(3,), (3, 4), (4,)]),
        (lambda c, a, b: ctorch.addr(c, a, b, alpha=2), [(3, 2), (3,), (2,)]),
        (lambda a, b: ctorch.einsum("bij,bjk->ik", a, b), [(2, 2, 3), (2, 3, 2)]),
        (lambda a: ctorch.einsum("ii->i", a), [(3, 3)]),
    ],
)
def test_gradients(dtype, function, shapes):
    inputs = [tensor(values(s, dtype, i), dtype).requires_grad_() for i, s in enumerate(shapes)]
    assert ctorch.autograd.gradcheck(function, inputs)
    assert ctorch.autograd.gradgradcheck(function, inputs)


def test_the_same_bits_for_every_number_of_threads():
    a, b = tensor(values((300, 400)), "float32"), tensor(values((400, 500), seed=1), "float32")
    before = ctorch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            ctorch.set_num_threads(threads)
            results.append((a / 3) @ (b / 7))
    finally:
        ctorch.set_num_threads(before)
    assert results[0].equal(results[1])
    assert results[0].equal(results[2])


# ---- precision of float32 products


@pytest.fixture
def precision():
    yield ctorch.set_float32_matmul_precision
    ctorch.set_float32_matmul_precision("highest")


SHAPES_OF_PRECISION = [(64, 64, 64), (33, 70, 301), (200, 17, 1030), (17, 300, 2), (100, 100, 5000)]


@pytest.mark.parametrize("level, bound", [("highest", 1e-6), ("high", 3e-5), ("medium", 8e-3)])
@pytest.mark.parametrize("m, n, k", SHAPES_OF_PRECISION)
@pytest.mark.parametrize("turned", [False, True])
def test_precision_bounds_the_error(precision, level, bound, m, n, k, turned):
    ctorch.manual_seed(0)
    a = ctorch.randn(k, m).t() if turned else ctorch.randn(m, k)
    b = ctorch.randn(n, k).t() if turned else ctorch.randn(k, n)
    exact = a.double() @ b.double()
    precision(level)
    assert ctorch.get_float32_matmul_precision() == level
    # Errors of the factors are independent: they add up like the products themselves.
    error = ((a @ b).double() - exact).abs().max().item()
    assert error <= bound * k**0.5 * 3
    added = ctorch.addmm(ctorch.ones(n), a, b, beta=2, alpha=0.5)
    assert (added.double() - (2 + 0.5 * exact)).abs().max().item() <= bound * k**0.5 * 3


def test_lower_precision_keeps_infinities_and_large_numbers_apart(precision):
    precision("medium")
    a = ctorch.zeros(64, 64)
    b = ctorch.eye(64)
    a[0, 0], a[1, 1], a[2, 2], a[3, 3] = 3.4e38, math.inf, math.nan, -3.4e38
    product = a @ b
    assert 3.3e38 < product[0, 0] < math.inf and -math.inf < product[3, 3] < -3.3e38
    assert product[1, 1] == math.inf and product[2, 2].isnan()


def test_an_unknown_precision_is_named(precision):
    with pytest.raises(ValueError, match="'best'"):
        precision("best")
