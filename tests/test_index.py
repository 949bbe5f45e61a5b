"""x[...], its assignment, and operations that read and write through indices, against NumPy and PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ctorch

SHAPES = st.lists(st.integers(0, 5), min_size=0, max_size=4).map(tuple)


def numbered(shape, lib=ctorch):
    return lib.arange(int(np.prod(shape, dtype=int))).reshape(shape)


@st.composite
def slices(draw, n):
    bound = st.one_of(st.none(), st.integers(-n - 2, n + 2))
    return slice(draw(bound), draw(bound), draw(st.sampled_from([None, 1, 2, 3, -1, -2, -3])))


@st.composite
def basic_indices(draw):
    shape = draw(SHAPES)
    first = draw(st.integers(0, len(shape)))
    last = draw(st.integers(first, len(shape)))

    def parts(sizes):
        for n in sizes:
            if draw(st.integers(0, 5)) == 0:
                yield None
            yield draw(st.integers(-n, n - 1)) if n and draw(st.booleans()) else draw(slices(n))

    index = list(parts(shape[:first]))
    if last > first or draw(st.booleans()):
        index.append(Ellipsis)
    return shape, tuple(index + list(parts(shape[last:])))


@given(basic_indices())
@settings(max_examples=400, deadline=None)
def test_basic_index_is_numpys(case):
    shape, index = case
    want = np.arange(int(np.prod(shape, dtype=int))).reshape(shape)[index]
    got = numbered(shape)[index]
    assert got.shape == want.shape
    assert got.tolist() == want.tolist()


@given(basic_indices(), st.booleans())
@settings(max_examples=300, deadline=None)
def test_basic_assignment_is_numpys(case, broadcast):
    shape, index = case
    want = np.arange(int(np.prod(shape, dtype=int))).reshape(shape)
    got = numbered(shape)
    part = want[index].shape
    if broadcast:
        want[index] = -7
        got[index] = -7
    else:
        values = -1 - np.arange(int(np.prod(part, dtype=int))).reshape(part)
        want[index] = values
        got[index] = ctorch.tensor(values.tolist(), dtype=ctorch.int64).reshape(part)
    assert got.tolist() == want.tolist()


@st.composite
def mixed_indices(draw):
    """Index tensors and masks among basic indices, as PyTorch takes them (no negative steps)."""
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple))
    broadcast = draw(st.lists(st.integers(1, 3), min_size=1, max_size=2).map(tuple))
    index, d = [], 0
    while d < len(shape):
        n = shape[d]
        kind = draw(
            st.sampled_from(["int", "slice", "list", "tensor", "mask", "none", "true", "zero", "stop"])
        )
        if kind == "stop":
            break
        if kind == "none":
            index.append(None)
            continue
        if kind == "true":
            index.append(draw(st.booleans()))
            continue
        if kind == "int":
            index.append(draw(st.integers(-n, n - 1)))
        elif kind == "slice":
            s = draw(slices(n))
            index.append(slice(s.start, s.stop, abs(s.step) if s.step else None))
        elif kind == "zero":
            index.append(np.array(draw(st.integers(-n, n - 1))))
        elif kind == "list":
            index.append(
                draw(st.lists(st.integers(-n, n - 1), min_size=broadcast[-1], max_size=broadcast[-1]))
            )
        elif kind == "tensor":
            count = int(np.prod(broadcast))
            values = draw(st.lists(st.integers(-n, n - 1), min_size=count, max_size=count))
            index.append(np.array(values).reshape(broadcast))
        else:
            index.append(np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n))))
        d += 1
        if draw(st.integers(0, 6)) == 0:
            break
    if len(index) == 1 and isinstance(index[0], list):
        return shape, index[0]
    return shape, tuple(index)


def in_library(lib, index):
    def one(i):
        return (
            lib.tensor(i.tolist(), dtype=lib.bool if i.dtype == bool else lib.int64)
            if isinstance(i, np.ndarray)
            else i
        )

    return tuple(map(one, index)) if isinstance(index, tuple) else index


def outcome(run):
    try:
        return run()
    except Exception as error:
        return type(error)


@given(mixed_indices())
@settings(max_examples=500, deadline=None)
def test_mixed_index_is_pytorchs(case):
    torch = pytest.importorskip("torch")
    shape, index = case
    want = outcome(lambda: numbered(shape, torch)[in_library(torch, index)])
    got = outcome(lambda: numbered(shape)[in_library(ctorch, index)])
    if isinstance(want, type):
        assert got is want
    else:
        assert tuple(got.shape) == tuple(want.shape)
        assert got.tolist() == want.tolist()


@given(mixed_indices(), st.sampled_from(["number", "full", "row"]))
@settings(max_examples=400, deadline=None)
def test_mixed_assignment_is_pytorchs(case, value):
    torch = pytest.importorskip("torch")
    shape, index = case

    def assigned(lib):
        x = numbered(shape, lib)
        at = in_library(lib, index)
        part = tuple(x[at].shape)
        if value == "number":
            x[at] = -5
        else:
            part = part if value == "full" else part[-1:]
            x[at] = (-1 - lib.arange(int(np.prod(part, dtype=int)))).reshape(part)
        return x.tolist()

    want = outcome(lambda: assigned(torch))
    # With repeated targets PyTorch's order is open; the values of such a case are not compared.
    x = numbered(shape)
    picked = outcome(lambda: x[in_library(ctorch, index)].flatten().tolist())
    if isinstance(picked, list) and len(set(picked)) < len(picked) and value != "number":
        assigned(ctorch)
        return
    assert outcome(lambda: assigned(ctorch)) == want


@pytest.mark.parametrize(
    ("index", "error", "text"),
    [
        (3, IndexError, "index 3 is out of bounds for dimension 0 with size 2"),
        (-3, IndexError, "index -3 is out of bounds for dimension 0 with size 2"),
        ((0, 5), IndexError, "index 5 is out of bounds for dimension 1 with size 3"),
        ((0, 0, 0), IndexError, "too many indices for tensor of dimension 2"),
        (([0, 7],), IndexError, "index 7 is out of bounds for dimension 0 with size 2"),
        (([0, 1], [0, 1, 2]), IndexError, "shape mismatch"),
        (([[True, False]],), IndexError, "shape of the mask"),
        (1.5, IndexError, "only integers"),
        ("a", TypeError, "only integers"),
        (slice(None, None, 0), ValueError, "slice step cannot be zero"),
        (slice(0.5, None), TypeError, "slice indices must be integers"),
    ],
)
def test_bad_index(index, error, text):
    x = ctorch.zeros(2, 3)
    with pytest.raises(error, match=text):
        x[index]
    with pytest.raises(error, match=text):
        x[index] = 1
    assert x.tolist() == [[0.0] * 3] * 2


def test_bad_values():
    x = ctorch.zeros(2, 3)
    with pytest.raises(TypeError):
        x[0] = [1, 2, 3]
    with pytest.raises(TypeError):
        x[0] = "a"
    with pytest.raises(RuntimeError):
        x[0] = 1j
    with pytest.raises(RuntimeError):
        x[0] = ctorch.ones(2)
    with pytest.raises(RuntimeError, match="dtypes match"):
        x[[0]] = ctorch.ones(3, dtype=ctorch.int64)
    with pytest.raises(TypeError):
        del x[0]
    with pytest.raises(IndexError):
        ctorch.tensor(1)[0]


def test_index_kinds_of_other_libraries():
    x = numbered((3, 4))
    assert x[np.int64(1)].tolist() == x[1].tolist()
    assert x[np.array([0, 2])].tolist() == x[[0, 2]].tolist()
    assert x[np.array([True, False, True])].tolist() == x[[0, 2]].tolist()
    assert x[np.array([2, 1, 0])[::-1]].tolist() == x[[0, 1, 2]].tolist()
    assert x[ctorch.tensor(1)].tolist() == x[1].tolist()
    assert x[ctorch.tensor([1, 0, 1], dtype=ctorch.uint8)].tolist() == x[[0, 2]].tolist()
    assert x[ctorch.tensor([1, 0], dtype=ctorch.int32)].tolist() == x[[1, 0]].tolist()
    assert x[range(2)].tolist() == x[[0, 1]].tolist()
    assert x[True].shape == (1, 3, 4)
    assert x[False].shape == (0, 3, 4)
    assert x[[]].shape == (0, 4)


def test_basic_index_is_a_view():
    x = numbered((3, 4))
    x[1, ::-1][0] = 100
    assert x[1, 3] == 100
    assert x[...].data_ptr() == x.data_ptr()
    x[[0]][0, 0] = 7  # a copy
    assert x[0, 0] == 0


def test_write_through_views_reaches_the_graph():
    a = ctorch.zeros(3, 4, dtype=ctorch.float64, requires_grad=True)
    v = ctorch.tensor(2.0, dtype=ctorch.float64, requires_grad=True)
    x = a * 3
    x[1, ::-2] = v * 5
    x[ctorch.tensor([0, 0]), ctorch.tensor([1, 2])] = v
    x[:, 0].mul_(2)
    x.sum().backward()
    assert a.grad.tolist() == [[6, 0, 0, 3], [6, 0, 3, 0], [6, 3, 3, 3]]
    assert v.grad.item() == 12
    with pytest.raises(RuntimeError, match="leaf"):
        a[0] = 1
    with ctorch.no_grad():
        a[0] = 1
    assert a[0].tolist() == [1, 1, 1, 1]


INDEXED = {
    "basic": lambda x: x[1, ::-2, None],
    "list": lambda x: x[[0, 2, 0]],
    "pair": lambda x: x[[0, 2, 0], [1, 1, 1]],
    "split": lambda x: x[[0, 2], None, [1, 1]],
    "mask": lambda x: x[ctorch.tensor([True, False, True])],
    "whole_mask": lambda x: x[x.detach() > 1],
    "index_select": lambda x: x.index_select(1, ctorch.tensor([3, 0, 3])),
    "gather": lambda x: x.gather(1, ctorch.tensor([[0, 0], [1, 3], [2, 2]])),
    "take": lambda x: x.take(ctorch.tensor([[0, -1], [5, 5]])),
    "take_along_dim": lambda x: x.take_along_dim(ctorch.tensor([[0], [1], [-1]]), 1),
    "masked_select": lambda x: x.masked_select(ctorch.tensor([True, False, True, False])),
    "embedding": lambda x: ctorch.embedding(x, ctorch.tensor([[0, 2], [2, 0]]), 1),
    "flip": lambda x: x.flip(0, 1),
    "roll": lambda x: x.roll((1, -2), (0, 1)),
    "repeat": lambda x: x.repeat(2, 1, 3),
    "repeat_interleave": lambda x: x.repeat_interleave(ctorch.tensor([1, 0, 2]), 0),
    "tril": lambda x: x.tril(-1),
    "triu": lambda x: x.triu(1),
    "diag": lambda x: x.diag(1),
    "diag_embed": lambda x: x.diag_embed(1),
    "pad": lambda x: ctorch.constant_pad_nd(x, (1, -2, 0, 3), 2.5),
    "cat": lambda x: ctorch.cat((x, x[:1]), 0),
    "stack": lambda x: ctorch.stack((x, x * x), 1),
    "sort": lambda x: x.sort(1)[0],
    "topk": lambda x: x.topk(2, 0)[0],
    "kthvalue": lambda x: x.kthvalue(2)[0],
    "median": lambda x: x.median(),
    "median_dim": lambda x: x.median(0, True)[0],
    "mode": lambda x: x.mode(1)[0],
}
WRITTEN = {
    "index_add": lambda x, y: x.index_add(0, ctorch.tensor([0, 2, 0]), y, alpha=2),
    "index_copy": lambda x, y: x.index_copy(0, ctorch.tensor([2, 0, 1]), y),
    "index_fill": lambda x, y: x.index_fill(1, ctorch.tensor([2, 0]), y.sum()),
    "index_put": lambda x, y: x.index_put((ctorch.tensor([2, 0]),), y[0]),
    "index_put_add": lambda x, y: x.index_put((ctorch.tensor([2, 2]),), y[:2], True),
    "scatter": lambda x, y: x.scatter(1, ctorch.tensor([[0, 1], [3, 2]]), y),
    "scatter_add": lambda x, y: x.scatter_add(1, ctorch.tensor([[0, 0, 0], [3, 2, 3]]), y),
    "sum": lambda x, y: x.scatter_reduce(1, ctorch.tensor([[0, 0], [3, 2]]), y, "sum", include_self=False),
    "prod": lambda x, y: x.scatter_reduce(1, ctorch.tensor([[0, 0], [3, 2]]), y, "prod"),
    "mean": lambda x, y: x.scatter_reduce(1, ctorch.tensor([[0, 0], [3, 2]]), y, "mean"),
    "amax": lambda x, y: x.scatter_reduce(1, ctorch.tensor([[0, 0], [3, 2]]), y, "amax"),
    "amin": lambda x, y: x.scatter_reduce(0, ctorch.tensor([[0, 0], [1, 2]]), y, "amin", include_self=False),
    "index_reduce": lambda x, y: x.index_reduce(0, ctorch.tensor([0, 0, 1]), y, "mean"),
    "put": lambda x, y: x.put(ctorch.tensor([0, 5, 5]), y[0, :3], True),
    "masked_scatter": lambda x, y: x.masked_scatter(ctorch.tensor([True, False, True, False]), y),
}


def wide(*shape):
    """Distinct values, so that orders and extremes have derivatives."""
    g = ctorch.Generator().manual_seed(5)
    n = int(np.prod(shape))
    x = (ctorch.randperm(n, generator=g).to(ctorch.float64) + 0.5) / 3
    return x.reshape(shape).detach().requires_grad_()


@pytest.mark.parametrize("name", INDEXED)
def test_gradients_of_reading(name):
    from ctorch.autograd.gradcheck import gradcheck, gradgradcheck

    x = wide(3, 4)
    assert gradcheck(INDEXED[name], (x,))
    assert gradgradcheck(INDEXED[name], (x,))


@pytest.mark.parametrize("name", WRITTEN)
def test_gradients_of_writing(name):
    from ctorch.autograd.gradcheck import gradcheck, gradgradcheck

    both = wide(6, 4)
    x, y = both[:3].detach().requires_grad_(), both[3:].detach().requires_grad_()
    assert gradcheck(WRITTEN[name], (x, y))
    assert gradgradcheck(WRITTEN[name], (x, y))


ALL_DTYPES = [
    "bool",
    "uint8",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "complex64",
    "complex128",
]


@pytest.mark.parametrize("dtype", ALL_DTYPES)
def test_every_dtype_moves(dtype):
    x = (numbered((4, 6)) % 2 if dtype == "bool" else numbered((4, 6))).to(getattr(ctorch, dtype))
    rows, cols = ctorch.tensor([3, 0, 3]), ctorch.tensor([5, 0, 2])
    n = np.array(x.to(ctorch.complex128).tolist())
    for layout in (x, x.t().contiguous().t(), x.flip(0)[::-1]):
        assert np.array_equal(np.array(layout[rows].to(ctorch.complex128).tolist()), n[rows.tolist()])
        assert np.array_equal(np.array(layout[:, cols].to(ctorch.complex128).tolist()), n[:, cols.tolist()])
        assert np.array_equal(
            np.array(layout[rows, cols].to(ctorch.complex128).tolist()), n[rows.tolist(), cols.tolist()]
        )
        assert np.array_equal(
            np.array(layout.gather(1, cols.repeat(4, 1)).to(ctorch.complex128).tolist()), n[:, cols.tolist()]
        )
        y = layout.clone()
        y[rows[:2], 1::-1] = layout[:2, 4:]
        m = n.copy()
        m[[3, 0], 1::-1] = n[:2, 4:]
        assert np.array_equal(np.array(y.to(ctorch.complex128).tolist()), m)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_repeated_targets_add_up_in_one_order(threads):
    g = ctorch.Generator().manual_seed(1)
    rows = ctorch.randint(50, (20000,), generator=g)
    source = ctorch.randn(20000, 16, generator=g)
    before = ctorch.get_num_threads()
    want = ctorch.zeros(50, 16)
    array, at = source.numpy(), rows.numpy()
    expected = np.zeros((50, 16), np.float32)
    np.add.at(expected, at, array)
    try:
        ctorch.set_num_threads(threads)
        assert np.array_equal(want.index_add(0, rows, source).numpy(), expected)
        assert np.array_equal(want.scatter_add(0, rows[:, None].expand(20000, 16), source).numpy(), expected)
        last = want.index_copy(0, rows, source).numpy()
        again = np.zeros((50, 16), np.float32)
        again[at] = array
        assert np.array_equal(last, again)
    finally:
        ctorch.set_num_threads(before)


@pytest.mark.parametrize(
    "call",
    [
        lambda x, i: x.index_select(0, i),
        lambda x, i: x.index_add(0, i, ctorch.ones(2, 3)),
        lambda x, i: x.index_copy(0, i, ctorch.ones(2, 3)),
        lambda x, i: x.index_fill(0, i, 1),
        lambda x, i: x.take(i + 1000),
        lambda x, i: x.put(i + 1000, ctorch.ones(2)),
        lambda x, i: x[i],
        lambda x, i: ctorch.embedding(x, i),
    ],
)
def test_indices_outside_are_index_errors(call):
    for bad in (4, 10**12, -5, -(2**63)):
        with pytest.raises(IndexError):
            call(ctorch.zeros(4, 3), ctorch.tensor([0, bad]))


def test_gather_and_scatter_outside_are_errors():
    for bad in (4, -1, 10**15):
        for call in (
            lambda i: ctorch.zeros(4, 3).gather(0, i),
            lambda i: ctorch.zeros(4, 3).scatter(0, i, 1.0),
            lambda i: ctorch.zeros(4, 3).scatter_add(0, i, ctorch.ones(1, 3)),
        ):
            with pytest.raises(RuntimeError, match="out of bounds"):
                call(ctorch.tensor([[0, bad, 1]]))


def test_nonzero_of_large_masks():
    rng = np.random.default_rng(0)
    for shape in ((10007,), (97, 211), (3, 5, 7, 11), (0, 3), ()):
        mask = rng.random(shape) > 0.7
        t = ctorch.tensor(mask.tolist(), dtype=ctorch.bool).reshape(shape)
        assert t.nonzero().tolist() == np.argwhere(mask).tolist()
        values = numbered(shape)
        assert values[t].tolist() == np.arange(mask.size).reshape(shape)[mask].tolist()
        assert values.masked_fill(t, 0).masked_scatter(t, values[t]).tolist() == values.tolist()


def test_assignment_of_a_tensor_to_its_own_part():
    x = numbered((5,))
    x[1:] = x[:-1]
    assert x.tolist() == [0, 0, 1, 2, 3]
    x = numbered((5,)).flip(0)
    x[x] = x[1:4].clone().sum() + x
    assert x.tolist() == [6, 7, 8, 9, 10]


def test_overlapping_out_is_refused():
    x = ctorch.randn(6)
    with pytest.raises(RuntimeError, match="single memory location"):
        ctorch.gather(x, 0, ctorch.tensor([0, 1]), out=x[:2])
    with pytest.raises(RuntimeError, match="single memory location"):
        ctorch.zeros(3).expand(4, 3).index_add_(0, ctorch.tensor([0]), ctorch.ones(1, 3))


def expanded(lib):
    """Tensors with several elements in one place."""
    return {
        "rows": lib.zeros(1, 3).expand(2, 3),
        "columns": lib.zeros(2, 1).expand(2, 3),
        "all": lib.zeros(1).expand(2, 3),
        "middle": lib.zeros(3, 2).T[:, None].expand(2, 4, 3),
    }


@pytest.mark.parametrize("name", ["rows", "columns", "all", "middle"])
def test_fills_of_expanded_tensors(name):
    import warnings

    torch = pytest.importorskip("torch")
    values = []
    for lib in (ctorch, torch):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's, that this may go away
            for mask_of in (
                lambda x: lib.arange(x.numel()).reshape(x.shape) == 1,
                lambda x: x > 0,
                lambda x: lib.tensor([False, False, True]),
            ):
                x = expanded(lib)[name]
                x.masked_fill_(mask_of(x), 5)
                values.append(x.tolist())
            for write in (
                lambda x: x.index_fill_(0, lib.tensor([1]), 7),
                lambda x: x.index_fill_(-1, lib.tensor([0, 2]), 7),
                lambda x: x.index_put_((lib.tensor([1]),), lib.tensor(3.0)),
                lambda x: x.__setitem__([0], 4),
                lambda x: x.__setitem__(x == 0, 4),
            ):
                x = expanded(lib)[name]
                write(x)
                values.append(x.tolist())
    assert values[: len(values) // 2] == values[len(values) // 2 :]
    with pytest.raises(RuntimeError, match="expand"):
        expanded(ctorch)["all"].masked_fill_(ctorch.zeros(4, 2, 3, dtype=ctorch.bool), 5)


def test_equal_of_two_dtypes():
    torch = pytest.importorskip("torch")
    for lib in (ctorch, torch):
        x = lib.ones(2)
        assert x.equal(lib.ones(2, dtype=lib.int64)) and not x.equal(lib.zeros(2, dtype=lib.int64))
        assert not x.equal(lib.ones(3, dtype=lib.float64))


def test_roll_and_tile_of_what_pytorch_takes():
    x = ctorch.arange(6)
    assert x.roll(1, None).tolist() == ctorch.roll(x, 1, dims=None).tolist() == [5, 0, 1, 2, 3, 4]
    assert x[:2].tile(ctorch.tensor(2)).tolist() == x[:2].tile(2).tolist() == [0, 1, 0, 1]
    with pytest.raises(TypeError, match="tile"):
        x.tile(ctorch.tensor([2, 1]))


def test_bincount_of_what_it_cannot_count():
    with pytest.raises(NotImplementedError, match=r"bincount: .* float32"):
        ctorch.bincount(ctorch.tensor([1.0]))
    with pytest.raises(RuntimeError, match=r"bincount: .* got 9223372036854775807"):
        ctorch.bincount(ctorch.tensor([2**63 - 1]))


def test_classes_of_errors_of_methods():
    with pytest.raises(TypeError, match=r"take_along_dim.* int"):
        ctorch.ones(3).take_along_dim(0, 1)
    with pytest.raises(TypeError, match="integer and Boolean-type tensors, got float32"):
        ~ctorch.ones(3)
    with pytest.raises(RuntimeError, match=r"set_.* float32, .* int64"):
        ctorch.ones(2).set_(ctorch.ones(3, dtype=ctorch.int64))
    assert (~ctorch.tensor([True, False])).tolist() == [False, True] and (~ctorch.tensor(3)).item() == -4
