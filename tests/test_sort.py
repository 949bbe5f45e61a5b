"""Sorting, searching, counting, sets, and operations that move elements, against NumPy and PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import ctorch

REAL = ["uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"]
# Around the lengths at which the method changes: insertion, merging, narrow and wide digits, shared lines.
LENGTHS = [0, 1, 2, 15, 16, 17, 47, 48, 49, 300, 5000, 40_000, 70_000]


def lines(dtype, lines, length, seed=0, special=True):
    """Values with repeats, and for floats with infinities, NaN and both zeros."""
    rng = np.random.default_rng(seed)
    if dtype in ("uint8", "int8", "int16", "int32", "int64"):
        info = np.iinfo(dtype)
        values = rng.integers(info.min, info.max, (lines, length), dtype=dtype, endpoint=True)
        return ctorch.from_numpy(values)
    values = rng.normal(0, 1e3, (lines, length)).round(1)
    if special and length > 20:
        for value in (np.inf, -np.inf, np.nan, 0.0, -0.0, 5e-324):
            values[rng.integers(0, lines, 7), rng.integers(0, length, 7)] = value
    return ctorch.from_numpy(values).to(getattr(ctorch, dtype))


def as_numpy(t):
    return t.to(ctorch.float64).numpy() if t.dtype in (ctorch.float16, ctorch.bfloat16) else t.numpy()


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("dtype", REAL)
def test_sort_is_stable_and_right(dtype, length):
    x = lines(dtype, 3, length)
    n = as_numpy(x)
    for descending in (False, True):
        values, indices = x.sort(1, descending)
        if descending:  # stable from above: the mirrored line, sorted and read backwards
            want = length - 1 - np.argsort(n[:, ::-1], axis=1, kind="stable")[:, ::-1]
        else:
            want = np.argsort(n, axis=1, kind="stable")
        assert np.array_equal(indices.numpy(), want)
        assert np.array_equal(as_numpy(values), np.take_along_axis(n, want, 1), equal_nan=n.dtype.kind == "f")


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_sort_for_any_number_of_threads(threads):
    before = ctorch.get_num_threads()
    try:
        ctorch.set_num_threads(threads)
        for dtype in ("float32", "float64", "int16"):
            x = lines(dtype, 1, 200_003)
            assert np.array_equal(x[0].argsort().numpy(), np.argsort(as_numpy(x)[0], kind="stable"))
    finally:
        ctorch.set_num_threads(before)


def test_sort_of_other_layouts():
    x = lines("float32", 7, 60)
    for t in (x.t(), x[::-1, ::2], x[:, :1].expand(7, 9), x.reshape(7, 3, 20).transpose(0, 2)):
        for dim in range(t.dim()):
            values, indices = t.sort(dim)
            assert np.array_equal(indices.numpy(), np.argsort(t.numpy(), axis=dim, kind="stable"))
            assert values.shape == t.shape
    scalar = ctorch.tensor(3.0).sort()
    assert scalar.values.item() == 3 and scalar.indices.item() == 0


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("largest", [True, False])
def test_topk_is_the_start_of_sort(dtype, largest):
    for length, k in (
        (1, 1),
        (40, 0),
        (40, 40),
        (300, 7),
        (5000, 1),
        (5000, 100),
        (5000, 3000),
        (70_000, 50),
    ):
        x = lines(dtype, 2, length)
        values, indices = x.topk(k, 1, largest)
        want = x.sort(1, largest)
        assert np.array_equal(indices.numpy(), want.indices[:, :k].numpy())
        assert np.array_equal(as_numpy(values), as_numpy(want.values[:, :k]), equal_nan=dtype not in REAL[:5])
    ordered = ctorch.arange(100_000).to(ctorch.float64)
    assert ordered.topk(3).indices.tolist() == [99_999, 99_998, 99_997]
    assert ordered.topk(3, largest=False).indices.tolist() == [0, 1, 2]


def test_median_kthvalue_mode():
    torch = pytest.importorskip("torch")
    for length in (1, 2, 7, 100, 1001):
        n = np.random.default_rng(length).integers(0, 20, (4, length)).astype(np.float32)
        for nan in (False, True):
            if nan:
                n[1, length // 2] = np.nan
                n[2, :] = np.nan
            x, t = ctorch.from_numpy(n.copy()), torch.from_numpy(n.copy())
            for name, args in (("median", (1,)), ("nanmedian", (1,)), ("kthvalue", ((length + 1) // 2, 1))):
                got, want = getattr(x, name)(*args), getattr(t, name)(*args)
                assert np.array_equal(got.values.numpy(), want.values.numpy(), equal_nan=True), name
                picked = np.take_along_axis(n, got.indices.numpy()[:, None], 1)[:, 0]
                assert np.array_equal(picked, got.values.numpy(), equal_nan=True)
            if not nan:
                assert x.mode(1).values.tolist() == t.mode(1).values.tolist()
            assert np.array_equal(x.median().numpy(), t.median().numpy(), equal_nan=True)
            assert np.array_equal(x.nanmedian().numpy(), t.nanmedian().numpy(), equal_nan=True)


@pytest.mark.parametrize("dtype", [*REAL, "bool"])
def test_unique(dtype):
    for n in (0, 1, 10, 3000):
        values = np.random.default_rng(n).integers(0, 2 if dtype == "bool" else 100, n)
        x = ctorch.from_numpy(values).to(getattr(ctorch, dtype))
        want = np.unique(values, return_inverse=True, return_counts=True)
        got = ctorch.unique(x, return_inverse=True, return_counts=True)
        for g, w in zip(got, want):
            assert g.to(ctorch.int64).tolist() == w.tolist()
        assert x.unique().to(ctorch.int64).tolist() == want[0].tolist()


def test_unique_of_wide_ranges_and_slices():
    x = ctorch.tensor([2**62, -(2**62), 5, 5, 2**62])
    assert ctorch.unique(x, return_counts=True)[1].tolist() == [1, 2, 2]
    rows = np.random.default_rng(0).integers(-1, 2, (50, 3)).astype(np.float32)
    got = ctorch.unique(ctorch.from_numpy(rows), return_inverse=True, return_counts=True, dim=0)
    want = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    assert got[0].tolist() == want[0].tolist()
    assert got[1].tolist() == want[1].reshape(-1).tolist()
    assert got[2].tolist() == want[2].tolist()
    across = ctorch.unique(ctorch.from_numpy(rows), dim=1)
    assert across.tolist() == np.unique(rows, axis=1).tolist()
    nan = ctorch.tensor([float("nan"), 1.0, float("nan"), -0.0, 0.0])
    assert ctorch.unique(nan).numel() == 4  # a NaN equals nothing
    runs = ctorch.unique_consecutive(ctorch.tensor([1, 1, 2, 2, 1]), return_inverse=True, return_counts=True)
    assert [t.tolist() for t in runs] == [[1, 2, 1], [0, 0, 1, 1, 2], [2, 2, 1]]


@pytest.mark.parametrize("right", [False, True])
def test_searchsorted(right):
    rng = np.random.default_rng(0)
    sequence, values = np.sort(rng.integers(0, 50, 33)), rng.integers(-5, 55, (4, 5))
    side = "right" if right else "left"
    want = np.searchsorted(sequence, values, side)
    s, v = ctorch.from_numpy(sequence), ctorch.from_numpy(values)
    assert ctorch.searchsorted(s, v, right=right).tolist() == want.tolist()
    assert ctorch.searchsorted(s, v, side=side, out_int32=True).dtype == ctorch.int32
    assert ctorch.bucketize(v, s, right=right).tolist() == want.tolist()
    assert ctorch.searchsorted(s, v.to(ctorch.float32), right=right).tolist() == want.tolist()
    order = rng.permutation(33)
    sorter = np.argsort(sequence[order], kind="stable")
    shuffled = ctorch.from_numpy(sequence[order].copy())
    assert (
        ctorch.searchsorted(shuffled, v, right=right, sorter=ctorch.from_numpy(sorter)).tolist()
        == want.tolist()
    )
    with pytest.raises(IndexError):
        ctorch.searchsorted(s, v, sorter=ctorch.full((33,), 33))
    rows = ctorch.from_numpy(np.sort(rng.normal(size=(4, 7)), 1))
    points = ctorch.from_numpy(rng.normal(size=(4, 5)))
    got = ctorch.searchsorted(rows, points, right=right)
    assert got.tolist() == [
        np.searchsorted(a, b, side).tolist() for a, b in zip(rows.numpy(), points.numpy())
    ]


def test_counting():
    rng = np.random.default_rng(0)
    x, w = rng.integers(0, 30, 500), rng.normal(size=500)
    assert ctorch.from_numpy(x).bincount(minlength=40).tolist() == np.bincount(x, minlength=40).tolist()
    assert np.allclose(ctorch.from_numpy(x).bincount(ctorch.from_numpy(w)).numpy(), np.bincount(x, w))
    for bad in (ctorch.tensor([-1]), ctorch.ones(2, 2, dtype=ctorch.int64), ctorch.ones(3)):
        with pytest.raises(RuntimeError):
            bad.bincount()
    assert ctorch.from_numpy(w).histc(20, -2, 2).tolist() == np.histogram(w, 20, (-2, 2))[0].tolist()
    assert ctorch.isin(ctorch.from_numpy(x), ctorch.tensor([3, 7])).tolist() == np.isin(x, [3, 7]).tolist()
    assert ctorch.isin(ctorch.from_numpy(x), 3, invert=True).tolist() == np.isin(x, [3], invert=True).tolist()


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4), (0, 3), (129, 257)])
def test_moves_are_numpys(shape):
    n = np.arange(int(np.prod(shape))).reshape(shape).astype(np.float32)
    for x in (
        ctorch.from_numpy(n.copy()),
        ctorch.from_numpy(np.ascontiguousarray(n.T)).permute(*range(n.ndim)[::-1]),
    ):
        for d in range(n.ndim):
            assert np.array_equal(x.flip(d).numpy(), np.flip(n, d))
            assert np.array_equal(x.roll(3, d).numpy(), np.roll(n, 3, d))
        assert np.array_equal(x.roll(-2).numpy(), np.roll(n, -2))
        repeats = tuple(range(1, n.ndim + 1))
        assert np.array_equal(x.repeat(2, *repeats).numpy(), np.tile(n, (2, *repeats)))
        assert np.array_equal(x.tile((2,)).numpy(), np.tile(n, 2))
        assert np.array_equal(x.repeat_interleave(3, 0).numpy(), np.repeat(n, 3, 0))
        if n.ndim >= 2:
            for k in (-300, -2, 0, 1, 300):
                assert np.array_equal(x.tril(k).numpy(), np.tril(n, k))
                assert np.array_equal(x.clone().triu_(k).numpy(), np.triu(n, k))
            for k in range(5):
                assert np.array_equal(x.rot90(k).numpy(), np.rot90(n, k))
        pads = [(1, 2)] * n.ndim
        got = ctorch.constant_pad_nd(x, [1, 2] * n.ndim, 9)
        assert np.array_equal(got.numpy(), np.pad(n, pads, constant_values=9))


def test_joining():
    a, b = ctorch.arange(6).reshape(2, 3), ctorch.arange(6, 12).reshape(2, 3)
    n, m = a.numpy(), b.numpy()
    assert ctorch.cat((a, b)).tolist() == np.concatenate((n, m)).tolist()
    assert ctorch.cat((a.t(), b.t()), -1).tolist() == np.concatenate((n.T, m.T), -1).tolist()
    assert ctorch.cat((a, ctorch.empty(0), b)).dtype == ctorch.float32
    assert ctorch.cat((a, b.to(ctorch.float64))).dtype == ctorch.float64
    assert ctorch.stack((a, b), -1).tolist() == np.stack((n, m), -1).tolist()
    out = ctorch.empty(0)
    assert ctorch.cat((a, b), 1, out=out) is out and out.tolist() == np.concatenate((n, m), 1).tolist()
    for ours, theirs in (
        (ctorch.hstack, np.hstack),
        (ctorch.vstack, np.vstack),
        (ctorch.dstack, np.dstack),
        (ctorch.column_stack, np.column_stack),
    ):
        assert ours((a, b)).tolist() == theirs((n, m)).tolist()
        assert ours((a[0], b[1])).tolist() == theirs((n[0], m[1])).tolist()
    big = [ctorch.randn(300, 7 * i + 1) for i in range(5)]
    assert np.array_equal(ctorch.cat(big, 1).numpy(), np.concatenate([t.numpy() for t in big], 1))
    for indexing in ("ij", "xy"):
        got = ctorch.meshgrid(ctorch.arange(3), ctorch.arange(4), indexing=indexing)
        for g, w in zip(got, np.meshgrid(np.arange(3), np.arange(4), indexing=indexing)):
            assert g.tolist() == w.tolist()


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: ctorch.cat([]), (RuntimeError, ValueError)),
        (lambda: ctorch.cat((ctorch.ones(2, 3), ctorch.ones(2, 4))), RuntimeError),
        (lambda: ctorch.cat((ctorch.ones(2, 3), ctorch.ones(2))), RuntimeError),
        (lambda: ctorch.cat((ctorch.ones(2), ctorch.tensor(1.0))), RuntimeError),
        (lambda: ctorch.cat((ctorch.ones(2), ctorch.ones(2)), 1), IndexError),
        (lambda: ctorch.stack((ctorch.ones(2), ctorch.ones(3))), RuntimeError),
        (lambda: ctorch.ones(2, 3).repeat(2), RuntimeError),
        (lambda: ctorch.ones(2).repeat(-1), RuntimeError),
        (lambda: ctorch.ones(2).repeat(2**62, 2**62), RuntimeError),
        (lambda: ctorch.ones(2, 3).flip(0, 0), RuntimeError),
        (lambda: ctorch.ones(2, 3).flip(2), IndexError),
        (lambda: ctorch.ones(2, 3).roll((1, 2), (0,)), RuntimeError),
        (lambda: ctorch.ones(3).tril(), RuntimeError),
        (lambda: ctorch.constant_pad_nd(ctorch.ones(3), (-2, -2)), RuntimeError),
        (lambda: ctorch.constant_pad_nd(ctorch.ones(3), (2**62, 2**62)), RuntimeError),
        (lambda: ctorch.ones(3).topk(4), RuntimeError),
        (lambda: ctorch.ones(3).kthvalue(0), RuntimeError),
        (lambda: ctorch.ones(3).sort(1), IndexError),
        (lambda: ctorch.ones(3, dtype=ctorch.complex64).sort(), (RuntimeError, NotImplementedError)),
        (lambda: ctorch.ones(0, 3).median(0), IndexError),
        (lambda: ctorch._C.one_hot(ctorch.tensor([3]), 3), RuntimeError),
        (lambda: ctorch._C.one_hot(ctorch.tensor([-1])), RuntimeError),
        (lambda: ctorch.ones(2).repeat_interleave(ctorch.tensor([1, -1])), RuntimeError),
    ],
)
def test_errors(call, error):
    with pytest.raises(error):
        call()
