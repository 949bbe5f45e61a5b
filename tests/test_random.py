"""Random numbers: the bits that PyTorch draws on the CPU, for the same seed."""

from __future__ import annotations

import copy
import pickle
import random
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ctorch

FLOATS = ["float32", "float64", "float16", "bfloat16"]
COMPLEXES = ["complex64", "complex128"]
SMALL_INTEGERS = ["uint8", "int8", "int16", "int32", "int64"]
UNSIGNED = ["uint16", "uint32", "uint64"]
# Around 16 the order of normals changes, around 512 a block of words ends, around 624 the twister's state.
SIZES = [0, 1, 2, 15, 16, 17, 31, 100, 511, 513, 625, 20011]
SEEDS = [0, 42, 2**32 + 5, -1]
INT_OF_SIZE = {1: "uint8", 2: "int16", 4: "int32", 8: "int64"}


def torch_module() -> Any:
    return pytest.importorskip("torch")


def as_bits(lib: Any, t: Any) -> np.ndarray:
    t = t.detach()
    if t.is_complex():
        t = lib.view_as_real(t) if hasattr(lib, "view_as_real") else t
        return t.numpy()
    if t.element_size() != 1:
        t = t.contiguous().view(getattr(lib, INT_OF_SIZE[t.element_size()]))
    return t.numpy()


def check_same(ours: Any, theirs: Any, note: object = "") -> None:
    torch = torch_module()
    assert str(ours.dtype) == str(theirs.dtype), note
    assert tuple(ours.shape) == tuple(theirs.shape), note
    if ours.is_complex():
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=str(note))
    else:
        np.testing.assert_array_equal(as_bits(ctorch, ours), as_bits(torch, theirs), err_msg=str(note))


def check_state(note: object = "") -> None:
    theirs = torch_module().get_rng_state().numpy()
    np.testing.assert_array_equal(ctorch.get_rng_state().numpy(), theirs, err_msg=str(note))


def compare(draw: Callable[[Any], Any], seed: int = 0, note: object = "") -> None:
    """Hold what ``draw(lib)`` gives, and where it leaves the stream, against PyTorch."""
    torch = torch_module()
    ctorch.manual_seed(seed)
    torch.manual_seed(seed)
    ours, theirs = draw(ctorch), draw(torch)
    if not isinstance(ours, tuple):
        ours, theirs = (ours,), (theirs,)
    for a, b in zip(ours, theirs, strict=True):
        check_same(a, b, note)
    check_state(note)


# ---- known numbers -----------------------------------------------------------------------------------------


def test_numbers_of_the_tutorials() -> None:
    ctorch.manual_seed(0)
    assert ctorch.rand(3).tolist() == [0.49625658988952637, 0.7682217955589294, 0.08847743272781372]
    ctorch.manual_seed(0)
    assert ctorch.randn(3).tolist() == [1.5409960746765137, -0.293428897857666, -2.1787893772125244]
    ctorch.manual_seed(0)
    assert ctorch.randint(10, (8,)).tolist() == [4, 9, 3, 0, 3, 9, 7, 3]


# ---- fills -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS + COMPLEXES)
@pytest.mark.parametrize("seed", SEEDS)
def test_uniform(dtype: str, seed: int) -> None:
    for n in SIZES:
        for low, high in [(0, 1), (-1, 1), (0.3, 5.7), (2, 2), (-1000, 0.1)]:
            compare(
                lambda lib: lib.empty(n, dtype=getattr(lib, dtype)).uniform_(low, high), seed, (n, low, high)
            )


@pytest.mark.parametrize("dtype", FLOATS + COMPLEXES)
@pytest.mark.parametrize("seed", SEEDS)
def test_normal(dtype: str, seed: int) -> None:
    for n in SIZES:
        for mean, std in [(0, 1), (0.5, 2.3), (-3, 0.01), (1, 0)]:
            compare(
                lambda lib: lib.empty(n, dtype=getattr(lib, dtype)).normal_(mean, std), seed, (n, mean, std)
            )


@pytest.mark.parametrize("dtype", [*FLOATS, *SMALL_INTEGERS, "bool"])
def test_bernoulli(dtype: str) -> None:
    for n in SIZES:
        for p in [0, 1, 0.5, 0.3, 1 / 3]:
            compare(lambda lib: lib.empty(n, dtype=getattr(lib, dtype)).bernoulli_(p), n, (n, p))


@pytest.mark.parametrize("dtype", [*FLOATS, "int64", "bool"])
@pytest.mark.parametrize("p_dtype", FLOATS)
def test_bernoulli_of_probabilities(dtype: str, p_dtype: str) -> None:
    def draw(lib: Any) -> Any:
        p = lib.rand(7, 1, 31, dtype=getattr(lib, p_dtype))
        fill = lib.empty(7, 5, 31, dtype=getattr(lib, dtype)).bernoulli_(p)
        return fill, lib.bernoulli(p), lib.bernoulli(p.transpose(0, 2)), lib.bernoulli(p, 0.25)

    compare(draw, 3)


@pytest.mark.parametrize("dtype", [*FLOATS, *SMALL_INTEGERS, "bool"])
def test_random_over_the_whole_dtype(dtype: str) -> None:
    for n in SIZES:
        compare(lambda lib: lib.empty(n, dtype=getattr(lib, dtype)).random_(), n, n)


@pytest.mark.parametrize("dtype", [*SMALL_INTEGERS, *UNSIGNED, *FLOATS, "bool"])
def test_random_in_ranges(dtype: str) -> None:
    limits = {
        "bool": (0, 2),
        "uint8": (0, 256),
        "int8": (-128, 128),
        "int16": (-(2**15), 2**15),
        "int32": (-(2**31), 2**31),
        "int64": (-(2**63), 2**63 - 1),
        "uint16": (0, 2**16),
        "uint32": (0, 2**32),
        "uint64": (0, 2**63 - 1),
        "float16": (-(2**11), 2**11),
        "bfloat16": (-(2**8), 2**8),
        "float32": (-(2**24), 2**24),
        "float64": (-(2**53), 2**53),
    }
    low, high = limits[dtype]
    choose = random.Random(dtype)
    ranges = [(low, high)]
    for width in [1, 2, 3, 10, 64, 1000, 2**20 + 7, 2**28 - 1, 2**28, 2**32 - 1, 2**32, 2**33 + 7]:
        if width <= high - low:
            start = choose.randint(low, high - width)
            ranges.append((start, start + width))
    for i, (start, end) in enumerate(ranges):
        compare(lambda lib: lib.empty(37, dtype=getattr(lib, dtype)).random_(start, end), i, (start, end))


def test_random_open_ended() -> None:
    for dtype in ["int64", "float64", "float32", "bfloat16"]:
        compare(lambda lib: lib.empty(37, dtype=getattr(lib, dtype)).random_(-(2**63), None), 1, dtype)
    for dtype in ["int32", "int64", "float32", "float16", "bool"]:
        compare(lambda lib: lib.empty(37, dtype=getattr(lib, dtype)).random_(0, None), 2, dtype)
    compare(lambda lib: lib.empty(37, dtype=lib.int32).random_(to=5), 3)


@pytest.mark.filterwarnings("ignore:.*is out of bounds")
def test_random_moves_bounds_to_representable_floats() -> None:
    for dtype, low, high in [
        ("float16", 0, 65504),
        ("bfloat16", 257, 1001),
        ("float32", -(2**30) - 1, 2**25 + 1),
    ]:
        compare(
            lambda lib: lib.empty(99, dtype=getattr(lib, dtype)).random_(low, high), 4, (dtype, low, high)
        )


@pytest.mark.parametrize("dtype", FLOATS)
def test_continuous_distributions(dtype: str) -> None:
    for n in SIZES:
        for fill in [
            lambda t: t.exponential_(),
            lambda t: t.exponential_(1.7),
            lambda t: t.cauchy_(0.3, 0.7),
            lambda t: t.log_normal_(0.3, 0.7),
        ]:
            compare(lambda lib: fill(lib.empty(n, dtype=getattr(lib, dtype))), n, n)


@pytest.mark.parametrize("dtype", FLOATS + SMALL_INTEGERS)
def test_geometric(dtype: str) -> None:
    for p in [0.9, 0.5, 0.2, 0.001]:
        compare(lambda lib: lib.empty(300, dtype=getattr(lib, dtype)).geometric_(p), 5, p)


LAYOUTS: dict[str, Callable[[Any, Any], Any]] = {
    "transposed": lambda lib, dt: lib.zeros(5, 7, dtype=dt).t(),
    "permuted": lambda lib, dt: lib.zeros(3, 4, 5, dtype=dt).permute(1, 2, 0),
    "every second row": lambda lib, dt: lib.zeros(10, 7, dtype=dt)[::2, 1:4],
    "a column": lambda lib, dt: lib.zeros(20, 3, dtype=dt)[:, 1],
    "transposed with gaps": lambda lib, dt: lib.zeros(9, 8, dtype=dt)[::3, ::2].t(),
    "size 1": lambda lib, dt: lib.zeros(4, 1, 6, dtype=dt).transpose(0, 2),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_layouts_are_filled_in_the_order_of_memory(layout: str, dtype: str) -> None:
    make = LAYOUTS[layout]
    fills: list[Callable[[Any], Any]] = [lambda t: t.uniform_(), lambda t: t.normal_(1, 2)]
    if dtype != "complex64":
        fills += [
            lambda t: t.bernoulli_(0.4),
            lambda t: t.random_(9),
            lambda t: t.exponential_(),
            lambda t: t.log_normal_(),
        ]
    for fill in fills:
        compare(lambda lib: fill(make(lib, getattr(lib, dtype))), 6)


def test_bernoulli_of_probabilities_in_other_layouts() -> None:
    for make in LAYOUTS.values():

        def draw(lib: Any, make: Callable[[Any, Any], Any] = make) -> Any:
            t = make(lib, lib.float32)
            p = lib.rand(t.shape[-1])
            return t.bernoulli_(p)

        compare(draw, 7)


# ---- new tensors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_creation(seed: int) -> None:
    compare(lambda lib: lib.rand(2, 3), seed)
    compare(lambda lib: lib.rand((2, 3), dtype=lib.float64), seed)
    compare(lambda lib: lib.rand(size=(4, 5), dtype=lib.complex64), seed)
    compare(lambda lib: lib.rand(()), seed)
    compare(lambda lib: lib.randn(3, 7, 5), seed)
    compare(lambda lib: lib.randn(7, dtype=lib.complex128), seed)
    compare(lambda lib: lib.randint(10, (4, 4)), seed)
    compare(lambda lib: lib.randint(-3, 10, (4, 4), dtype=lib.float16), seed)
    compare(lambda lib: lib.randint(high=2**40, size=(5,)), seed)
    compare(lambda lib: lib.normal(2.0, 3.0, (5, 5)), seed)
    compare(lambda lib: lib.normal(mean=2.0, std=3.0, size=(5,), dtype=lib.float64), seed)


def test_likes_keep_dtype_and_strides() -> None:
    def draw(lib: Any) -> Any:
        x = lib.zeros(5, 7, dtype=lib.float64).t()
        i = lib.zeros(5, 7, dtype=lib.int64)
        return (
            lib.rand_like(x),
            lib.randn_like(x),
            lib.randint_like(x, 10),
            lib.randint_like(i, 3, 10),
            lib.rand_like(i, dtype=lib.float32),
            lib.rand_like(x, memory_format=lib.contiguous_format),
        )

    compare(draw, 8)
    x = ctorch.zeros(5, 7).t()
    assert ctorch.rand_like(x).stride() == x.stride()
    assert ctorch.bernoulli(ctorch.rand(5, 7).t()).stride() == (5, 1)


@pytest.mark.parametrize("dtype", FLOATS + SMALL_INTEGERS)
def test_randperm(dtype: str) -> None:
    for n in [0, 1, 2, 10, 100, 128, 2000, 100_000]:
        most = {"uint8": 256, "int8": 128, "int16": 2**15, "float16": 2049, "bfloat16": 257}.get(dtype, n)
        if n <= most:
            compare(lambda lib: lib.randperm(n, dtype=getattr(lib, dtype)), n, n)


def test_normal_of_tensors() -> None:
    def draw(lib: Any) -> Any:
        mean = lib.linspace(-2, 2, 35).reshape(7, 5)
        std = lib.linspace(0, 3, 35).reshape(5, 7).t()
        return (
            lib.normal(mean, std),
            lib.normal(mean, std[:, :1]),
            lib.normal(mean, 0.5),
            lib.normal(mean),
            lib.normal(0.5, std),
            lib.normal(mean.to(lib.float64), std),
            lib.normal(mean, std.to(lib.float64)),
        )

    compare(draw, 9)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("replacement", [False, True])
def test_multinomial(dtype: str, replacement: bool) -> None:
    def draw(lib: Any, shape: tuple[int, ...], samples: int) -> Any:
        return lib.multinomial(lib.rand(*shape, dtype=getattr(lib, dtype)), samples, replacement)

    for shape in [(10,), (3, 10), (4, 1000)]:
        for samples in [1, 2, 9]:
            compare(lambda lib: draw(lib, shape, samples), samples, (shape, samples))
    compare(lambda lib: lib.multinomial(lib.rand(6, 4, dtype=getattr(lib, dtype)).t(), 5, replacement), 10)


def test_multinomial_among_ties() -> None:
    for n, k in [(5, 3), (20, 7), (100, 40), (200, 2), (1000, 3)]:

        def draw(lib: Any, n: int = n, k: int = k) -> Any:
            w = lib.zeros(n)
            w[::7] = 1.0
            return lib.multinomial(w, k)

        compare(draw, n, (n, k))


def test_mixed_calls_follow_one_stream() -> None:
    calls: list[Callable[[Any, int], Any]] = [
        lambda lib, n: lib.rand(n),
        lambda lib, n: lib.randn(n),
        lambda lib, n: lib.randn(n, dtype=lib.float64),
        lambda lib, n: lib.empty(n).log_normal_(),
        lambda lib, n: lib.randperm(n),
        lambda lib, n: lib.randint(1000, (n,)),
        lambda lib, n: lib.empty(n).bernoulli_(0.3),
        lambda lib, n: lib.nn.functional.dropout(lib.ones(n), 0.3),
    ]
    choose = random.Random(1)
    plan = [(choose.choice(calls), choose.choice([1, 2, 3, 15, 16, 17, 700])) for _ in range(200)]
    compare(lambda lib: tuple(call(lib, n) for call, n in plan), 11)


# ---- dropout -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("p", [0.0, 0.1, 0.25, 1 / 3, 0.5, 0.7, 0.9, 1.0])
def test_dropout(dtype: str, p: float) -> None:
    def draw(lib: Any) -> Any:
        x = lib.randn(40, 50, dtype=getattr(lib, dtype))
        return (
            lib.dropout(x, p, True),
            lib.dropout(x.t(), p, True),
            lib.dropout(x[::2, 3:20], p, True),
            lib.nn.functional.dropout(x, p),
            *lib.native_dropout(x, p, True),
        )

    compare(draw, 12)


def test_dropout_scales_as_division_does() -> None:
    choose = random.Random(2)
    for p in [choose.random() for _ in range(200)]:
        for dtype in FLOATS:
            compare(lambda lib: lib.dropout(lib.ones(8, dtype=getattr(lib, dtype)), p, True), 13, (p, dtype))


def test_dropout_that_does_nothing_returns_its_input() -> None:
    x = ctorch.ones(3)
    assert ctorch.dropout(x, 0.5, False) is x
    assert ctorch.dropout(x, 0.0, True) is x
    y, mask = ctorch.native_dropout(x, 0.5, False)
    assert y.tolist() == [1, 1, 1] and mask.tolist() == [True, True, True]


def test_dropout_gradient_is_the_mask() -> None:
    ctorch.manual_seed(1)
    x = ctorch.randn(100, dtype=ctorch.float64, requires_grad=True)
    y = ctorch.dropout(x, 0.25, True)
    (g,) = ctorch.autograd.grad(y.sum(), x, create_graph=True)
    kept = (y != 0).to(ctorch.float64)
    assert (g == kept / 0.75).all()
    out, mask = ctorch.native_dropout(x, 0.25, True)
    (g,) = ctorch.autograd.grad(out.sum(), x)
    assert (g == mask.to(ctorch.float64) / 0.75).all()


def test_dropout_second_derivative() -> None:
    def f(x: Any) -> Any:
        ctorch.manual_seed(2)
        return ctorch.dropout(x * x, 0.4, True) + ctorch.native_dropout(x * x * x, 0.4, True)[0]

    x = ctorch.linspace(1, 2, 12, dtype=ctorch.float64).requires_grad_()
    assert ctorch.autograd.gradcheck(f, (x,))
    assert ctorch.autograd.gradgradcheck(f, (x,))


def test_fills_cut_the_gradient() -> None:
    x = ctorch.ones(5, requires_grad=True)
    for fill in ["uniform_", "normal_", "exponential_", "random_", "bernoulli_", "log_normal_", "cauchy_"]:
        y = x * 1
        getattr(y, fill)()
        assert y.requires_grad
        (g,) = ctorch.autograd.grad((y * y).sum(), x)
        assert g.tolist() == [0] * 5, fill
    mean = ctorch.zeros(5, requires_grad=True)
    ctorch.normal(mean, 1.0).sum().backward()
    assert mean.grad.tolist() == [0] * 5
    p = ctorch.full((5,), 0.5, requires_grad=True)
    ctorch.bernoulli(p).sum().backward()
    assert p.grad.tolist() == [0] * 5
    assert not ctorch.rand_like(x).requires_grad
    assert not ctorch.multinomial(p, 2).requires_grad
    with pytest.raises(RuntimeError, match="leaf Variable"):
        x.uniform_()


# ---- generators --------------------------------------------------------------------------------------------


def test_seeds() -> None:
    torch = torch_module()
    for seed in [0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1, -1, -(2**63), 1.5, True, "3"]:
        ours, theirs = ctorch.manual_seed(seed), torch.manual_seed(seed)
        assert ctorch.initial_seed() == torch.initial_seed() == ours.initial_seed() == theirs.initial_seed()
        check_state(seed)
    for seed in [2**64, -(2**63) - 1]:
        with pytest.raises(ValueError, match="Overflow"):
            ctorch.manual_seed(seed)
    for bad in [1.5, True, "3"]:
        with pytest.raises(RuntimeError, match="manual_seed expected a long"):
            ctorch.Generator().manual_seed(bad)
    assert ctorch.Generator().manual_seed(np.int64(3)).initial_seed() == 3
    assert ctorch.Generator().initial_seed() == torch.Generator().initial_seed() == 67280421310721


def test_entropy_seeds() -> None:
    g = ctorch.Generator()
    seed = g.seed()
    assert seed == g.initial_seed() != g.seed()
    a = ctorch.rand(3, generator=ctorch.Generator().manual_seed(seed))
    b = ctorch.rand(3, generator=g.manual_seed(seed))
    assert a.tolist() == b.tolist()
    assert ctorch.seed() == ctorch.initial_seed()


def test_states_go_both_ways() -> None:
    torch = torch_module()
    torch.manual_seed(4)
    torch.randn(700)
    torch.randn(3)  # leaves a normal waiting
    ctorch.set_rng_state(ctorch.from_numpy(torch.get_rng_state().numpy().copy()))
    check_state()
    check_same(ctorch.randn(4), torch.randn(4))
    ctorch.randn(5)
    torch.set_rng_state(torch.from_numpy(ctorch.get_rng_state().numpy().copy()))
    check_same(ctorch.rand(1000), torch.rand(1000))
    assert ctorch.get_rng_state().dtype == ctorch.uint8
    assert tuple(ctorch.get_rng_state().shape) == (5056,)


def test_generator_argument() -> None:
    torch = torch_module()
    ours, theirs = ctorch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    ctorch.manual_seed(0)
    before = ctorch.get_rng_state().tolist()
    for draw in [
        lambda lib, g: lib.rand(5, generator=g),
        lambda lib, g: lib.randn(5, generator=g),
        lambda lib, g: lib.randint(9, (5,), generator=g),
        lambda lib, g: lib.randperm(5, generator=g),
        lambda lib, g: lib.rand_like(lib.ones(5), generator=g),
        lambda lib, g: lib.normal(lib.ones(5), 2.0, generator=g),
        lambda lib, g: lib.multinomial(lib.ones(5), 2, generator=g),
        lambda lib, g: lib.bernoulli(lib.full((5,), 0.5), generator=g),
        lambda lib, g: lib.empty(5).uniform_(generator=g),
        lambda lib, g: lib.empty(5).normal_(generator=g),
        lambda lib, g: lib.empty(5).exponential_(generator=g),
        lambda lib, g: lib.empty(5).random_(generator=g),
        lambda lib, g: lib.empty(5).bernoulli_(generator=g),
        lambda lib, g: lib.empty(5).geometric_(0.5, generator=g),
        lambda lib, g: lib.empty(5).log_normal_(generator=g),
        lambda lib, g: lib.empty(5).cauchy_(generator=g),
    ]:
        check_same(draw(ctorch, ours), draw(torch, theirs))
    assert ctorch.get_rng_state().tolist() == before
    assert ctorch.rand(2, generator=None).shape == (2,)
    assert str(ours.device) == "cpu"


def test_copies_of_generators_go_on_alone() -> None:
    g = ctorch.Generator(device="cpu").manual_seed(6)
    ctorch.randn(5, generator=g)
    copies = [g.clone_state(), copy.deepcopy(g), copy.copy(g), pickle.loads(pickle.dumps(g))]
    expected = ctorch.randn(5, generator=g).tolist()
    for other in copies:
        assert other.initial_seed() == 6
        assert ctorch.randn(5, generator=other).tolist() == expected


def test_fork_rng() -> None:
    ctorch.manual_seed(7)
    expected = ctorch.rand(3).tolist()
    ctorch.manual_seed(7)
    with ctorch.random.fork_rng():
        ctorch.rand(100)
    assert ctorch.rand(3).tolist() == expected
    ctorch.manual_seed(7)
    with pytest.raises(KeyError), ctorch.random.fork_rng():
        ctorch.rand(100)
        raise KeyError
    assert ctorch.rand(3).tolist() == expected
    ctorch.manual_seed(7)
    with ctorch.random.fork_rng(enabled=False):
        ctorch.rand(3)
    assert ctorch.rand(3).tolist() != expected


def test_threads_share_a_generator_without_mixing_calls() -> None:
    n, calls = 50_000, 8
    g = ctorch.Generator().manual_seed(8)
    expected = sorted(ctorch.rand(n, generator=g)[0].item() for _ in range(2 * calls))
    g.manual_seed(8)
    seen: list[float] = []

    def work() -> None:
        for _ in range(calls):
            seen.append(ctorch.rand(n, generator=g)[0].item())

    threads = [threading.Thread(target=work) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(seen) == expected


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    before = ctorch.get_num_threads()
    try:
        results = []
        for threads in [1, 2, 3]:
            ctorch.set_num_threads(threads)
            ctorch.manual_seed(9)
            results.append((ctorch.randn(150_001).tolist(), ctorch.empty(70_001).exponential_().tolist()))
    finally:
        ctorch.set_num_threads(before)
    assert results[0] == results[1] == results[2]


# ---- out=, requires_grad, errors ---------------------------------------------------------------------------


def test_out() -> None:
    compare(lambda lib: lib.rand(5, out=lib.empty(0)), 14)
    compare(lambda lib: lib.randn(5, out=lib.empty(5, dtype=lib.float64)), 14)
    compare(lambda lib: lib.randint(5, (4,), out=lib.empty(4)), 14)
    compare(lambda lib: lib.randperm(5, out=lib.empty(0, dtype=lib.int32)), 14)
    compare(lambda lib: lib.randperm(5, out=lib.empty(10, dtype=lib.int64)[::2]), 14)
    compare(lambda lib: lib.bernoulli(lib.rand(5), out=lib.empty(5, dtype=lib.int64)), 14)
    compare(lambda lib: lib.multinomial(lib.ones(5), 2, out=lib.empty(0, dtype=lib.int64)), 14)
    compare(lambda lib: lib.normal(lib.zeros(5), lib.ones(5), out=lib.empty(0, dtype=lib.float64)), 14)
    compare(lambda lib: lib.normal(0.3, lib.ones(5), out=lib.empty(0, dtype=lib.float64)), 14)
    t = ctorch.empty(3)
    assert ctorch.rand(3, out=t) is t


def test_requires_grad() -> None:
    assert ctorch.rand(2, requires_grad=True).requires_grad
    assert ctorch.randn_like(ctorch.ones(2), requires_grad=True).is_leaf
    with pytest.raises(RuntimeError, match="floating point and complex"):
        ctorch.randint(5, (2,), requires_grad=True)


MISSING = "not implemented for"


class Ours(str):
    """What ctorch's error says where PyTorch's has other words."""


ERRORS: list[tuple[Callable[[Any], Any], type[Exception], str]] = [
    (lambda lib: lib.rand(-1), RuntimeError, "negative dimension"),
    (lambda lib: lib.rand(2, dtype=lib.int64), NotImplementedError, MISSING),
    (lambda lib: lib.randn(2, dtype=lib.bool), NotImplementedError, MISSING),
    (lambda lib: lib.rand(2, generator=3), TypeError, "rand"),
    (lambda lib: lib.rand(2, 2.5), TypeError, "rand"),
    (lambda lib: lib.rand_like(lib.ones(2, dtype=lib.int64)), NotImplementedError, MISSING),
    (lambda lib: lib.randint(0, (2,)), RuntimeError, "'from' to be less than 'to'"),
    (lambda lib: lib.randint(5, 3, (2,)), RuntimeError, "'from' to be less than 'to'"),
    (lambda lib: lib.randint(5, 5, (0,)), RuntimeError, "'from' to be less than 'to'"),
    (lambda lib: lib.randint(0, 300, (2,), dtype=lib.uint8), RuntimeError, "to - 1 is out of bounds"),
    (lambda lib: lib.randint(-1, 3, (2,), dtype=lib.uint8), RuntimeError, "from is out of bounds"),
    (lambda lib: lib.randint(0, 3, (2,), dtype=lib.bool), RuntimeError, "to - 1 is out of bounds"),
    (lambda lib: lib.randint(10, (2,), dtype=lib.complex64), RuntimeError, "integral, floating"),
    (lambda lib: lib.randint(0, 100000, (2,), dtype=lib.float16), RuntimeError, "to - 1 is out of bounds"),
    (lambda lib: lib.randint(0, 10.5, (2,)), TypeError, "randint"),
    (lambda lib: lib.randperm(-1), RuntimeError, "negative dimension"),
    (lambda lib: lib.randperm(257, dtype=lib.uint8), RuntimeError, Ours("n=257 is more than dtype uint8")),
    (lambda lib: lib.randperm(129, dtype=lib.int8), RuntimeError, Ours("n=129 is more than dtype int8")),
    (
        lambda lib: lib.randperm(2050, dtype=lib.float16),
        RuntimeError,
        Ours("n=2050 is more than dtype float16"),
    ),
    (lambda lib: lib.randperm(5, dtype=lib.bool), NotImplementedError, MISSING),
    (lambda lib: lib.randperm(5, dtype=lib.complex64), NotImplementedError, MISSING),
    (
        lambda lib: lib.randperm(5, dtype=lib.int64, out=lib.empty(2, dtype=lib.int32)),
        RuntimeError,
        "out parameter",
    ),
    (lambda lib: lib.empty(2).uniform_(2, 1), RuntimeError, r"from=2 > to=1"),
    (lambda lib: lib.empty(2).uniform_(-3e38, 3e38), RuntimeError, "to-from"),
    (lambda lib: lib.empty(2, dtype=lib.float16).uniform_(0, 1e6), RuntimeError, "to is out of bounds"),
    (lambda lib: lib.empty(2).uniform_(0, float("nan")), RuntimeError, "to is out of bounds"),
    (lambda lib: lib.empty(2, dtype=lib.int64).uniform_(), NotImplementedError, MISSING),
    (lambda lib: lib.empty(2, dtype=lib.int64).normal_(), NotImplementedError, MISSING),
    (lambda lib: lib.empty(0).normal_(0, -1), RuntimeError, "std >= 0.0"),
    (lambda lib: lib.empty(2).normal_(0, float("nan")), RuntimeError, "std >= 0.0"),
    (
        lambda lib: lib.empty(2, dtype=lib.int64).exponential_(),
        RuntimeError,
        Ours("expected a floating dtype, got int64"),
    ),
    (lambda lib: lib.empty(2).exponential_(0), RuntimeError, "lambda > 0.0"),
    (lambda lib: lib.empty(2).geometric_(0), RuntimeError, r"p to be in \(0, 1\)"),
    (lambda lib: lib.empty(2).geometric_(1), RuntimeError, r"p to be in \(0, 1\)"),
    (lambda lib: lib.empty(2, dtype=lib.bool).geometric_(0.5), NotImplementedError, MISSING),
    (lambda lib: lib.empty(2).log_normal_(0, 0), RuntimeError, "std > 0.0"),
    (lambda lib: lib.empty(2, dtype=lib.int64).log_normal_(), NotImplementedError, MISSING),
    (lambda lib: lib.empty(2).cauchy_(0, 0), RuntimeError, "sigma > 0.0"),
    (
        lambda lib: lib.empty(2, dtype=lib.complex64).cauchy_(),
        RuntimeError,
        Ours("expected a floating dtype, got complex64"),
    ),
    (lambda lib: lib.empty(2).bernoulli_(1.5), RuntimeError, r"p to be in \[0, 1\]"),
    (
        lambda lib: lib.empty(2).bernoulli_(lib.tensor([0.5, 2.0])),
        RuntimeError,
        Ours("expected probabilities in"),
    ),
    (
        lambda lib: lib.empty(2).bernoulli_(lib.tensor([0.5, 0.2, 0.3])),
        RuntimeError,
        Ours("cannot be expanded to"),
    ),
    (lambda lib: lib.empty(2).bernoulli_(lib.tensor([1, 0])), NotImplementedError, MISSING),
    (lambda lib: lib.empty(2, dtype=lib.complex64).bernoulli_(0.5), NotImplementedError, MISSING),
    (lambda lib: lib.bernoulli(lib.tensor([1, 0])), NotImplementedError, MISSING),
    (lambda lib: lib.empty(2, dtype=lib.uint16).random_(), NotImplementedError, MISSING),
    (lambda lib: lib.empty(2).random_(5, 3), RuntimeError, "'from' to be less than 'to'"),
    (
        lambda lib: lib.empty(2, dtype=lib.int32).random_(-(2**63), None),
        RuntimeError,
        Ours("full range of 64 bits"),
    ),
    (lambda lib: lib.empty(2).random_(2**24 + 1, None), RuntimeError, "'from' casted to dtype"),
    (lambda lib: lib.empty(1).expand(3).uniform_(), RuntimeError, "single memory location"),
    (lambda lib: lib.empty(1).expand(20).normal_(), RuntimeError, "single memory location"),
    (lambda lib: lib.multinomial(lib.ones(3), 4), RuntimeError, "without replacement"),
    (lambda lib: lib.multinomial(lib.ones(3), 0), RuntimeError, "n_sample <= 0"),
    (lambda lib: lib.multinomial(lib.ones(2, 3, 4), 2), RuntimeError, "1 or 2 dim"),
    (lambda lib: lib.multinomial(lib.tensor(1.0), 1), RuntimeError, "1 or 2 dim"),
    (lambda lib: lib.multinomial(lib.ones(3, dtype=lib.int64), 2), RuntimeError, "floating-point"),
    (lambda lib: lib.multinomial(lib.tensor([-1.0, 2]), 1), RuntimeError, "probability tensor contains"),
    (
        lambda lib: lib.multinomial(lib.tensor([-1.0, 2]), 3, True),
        RuntimeError,
        Ours("weights of at least 0, got -1"),
    ),
    (
        lambda lib: lib.multinomial(lib.tensor([float("nan"), 2]), 1),
        RuntimeError,
        "probability tensor contains",
    ),
    (
        lambda lib: lib.multinomial(lib.tensor([float("inf"), 2]), 3, True),
        RuntimeError,
        Ours("weights of at least 0, got inf"),
    ),
    (lambda lib: lib.multinomial(lib.zeros(3), 2), RuntimeError, "sum of probabilities"),
    (
        lambda lib: lib.multinomial(lib.ones(3), 2, out=lib.empty(0, dtype=lib.int32)),
        RuntimeError,
        "Long tensor out",
    ),
    (lambda lib: lib.normal(lib.zeros(3), lib.tensor([1.0, -1, 1])), RuntimeError, "std >= 0.0"),
    (lambda lib: lib.normal(lib.zeros(3), -1.0), RuntimeError, "std >= 0.0"),
    (lambda lib: lib.normal(lib.zeros(3), lib.ones(2)), RuntimeError, Ours("do not broadcast")),
    (lambda lib: lib.normal(lib.zeros(3, dtype=lib.int64), 1.0), NotImplementedError, MISSING),
    (lambda lib: lib.normal(0.0, 1.0), TypeError, "normal"),
    (lambda lib: lib.dropout(lib.ones(3), 1.5, True), RuntimeError, "between 0 and 1"),
    (lambda lib: lib.native_dropout(lib.ones(3), 1.5, True), RuntimeError, "got p=-0.5"),
    (
        lambda lib: lib.dropout(lib.ones(3, dtype=lib.int64), 0.5, True),
        RuntimeError,
        Ours("expected a floating dtype, got int64"),
    ),
    (lambda lib: lib.dropout(lib.ones(3, dtype=lib.complex64), 0.5, True), NotImplementedError, MISSING),
    (lambda lib: lib.Generator().set_state(lib.zeros(10, dtype=lib.uint8)), RuntimeError, "5056"),
    (
        lambda lib: lib.Generator().set_state(lib.zeros(5056, dtype=lib.uint8)),
        RuntimeError,
        Ours("expected a Mersenne Twister state"),
    ),
    (lambda lib: lib.Generator().set_state(lib.zeros(5056)), TypeError, "ByteTensor"),
    (lambda lib: lib.Generator().set_state(3), TypeError, "ByteTensor"),
    (lambda lib: lib.Generator().get_offset(), RuntimeError, "does not use offset"),
    (lambda lib: lib.Generator("cuda"), RuntimeError, Ours("expected device cpu, got cuda")),
]


@pytest.mark.parametrize("case", range(len(ERRORS)))
def test_errors_are_pytorchs(case: int) -> None:
    call, kind, text = ERRORS[case]
    with pytest.raises(kind, match=text):
        call(ctorch)
    theirs = None if isinstance(text, Ours) else text.replace("integral, floating", "") or None
    with pytest.raises(kind, match=theirs):
        call(torch_module())


def test_a_refused_state_changes_nothing() -> None:
    g = ctorch.Generator().manual_seed(3)
    before = g.get_state().tolist()
    broken = g.get_state()
    broken[8:16] = 255
    with pytest.raises(RuntimeError, match="Mersenne Twister"):
        g.set_state(broken)
    assert g.get_state().tolist() == before
