"""Printing of tensors against PyTorch's, by random shapes, values and options, and some texts in full."""

import math
import random

import pytest

import ctorch

DTYPES = (
    *("bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64"),
    *("float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
)
SPECIAL = (math.inf, -math.inf, math.nan, 0.0, -0.0)
OPTIONS = {
    "precision": (0, 1, 2, 3, 6, 10),
    "threshold": (0, 5, 100, 1000, math.inf),
    "edgeitems": (0, 1, 2, 3, 5),
    "linewidth": (10, 40, 80, 120, 200),
    "sci_mode": (None, True, False),
    "profile": ("default", "short", "full"),
}


@pytest.fixture(autouse=True)
def restore_options():
    yield
    ctorch.set_printoptions(profile="default")
    ctorch.set_default_dtype(ctorch.float32)


@pytest.fixture
def torch():
    torch = pytest.importorskip("torch", reason="torch is the oracle")
    yield torch
    torch.set_printoptions(profile="default")
    torch.set_default_dtype(torch.float32)


def numbers(rng, n, dtype):
    """Python numbers of a dtype: of some magnitude, whole or not, with some special values among them."""
    if dtype == "bool":
        return [rng.random() < 0.5 for _ in range(n)]
    if "int" in dtype:
        high = rng.choice((2, 10, 120))
        return [rng.randrange(0 if dtype[0] == "u" else -high, high) for _ in range(n)]
    if "complex" in dtype:
        return list(map(complex, numbers(rng, n, "float64"), numbers(rng, n, "float64")))
    scale, spread = 10.0 ** rng.choice((0, 0, 1, 3, 5, 9, -3, -5, -9)), rng.choice((0, 0, 0, 6))
    values = [rng.gauss(0, 1) * scale * 10 ** (spread * rng.random()) for _ in range(n)]
    kind = rng.random()
    if kind < 0.25:
        values = [float(round(v)) for v in values]
    if kind < 0.05 or 0.25 <= kind < 0.4:
        for _ in range(n and 2):
            values[rng.randrange(n)] = rng.choice(SPECIAL)
    return [0.0] * n if kind > 0.95 else values


def shape_of(rng):
    sizes = (0, 1, 1, 2, 3, 7, 8, 12, 60, 300)[rng.random() > 0.1 :]
    shape = [rng.choice(sizes) for _ in range(rng.randrange(5))]
    while math.prod(shape) > 3000:
        shape[rng.randrange(len(shape))] = 3
    return shape


@pytest.mark.parametrize("dtype", DTYPES)
def test_text_is_pytorchs(torch, dtype):
    rng = random.Random(dtype)
    for _ in range(150):
        shape = shape_of(rng)
        values = numbers(rng, math.prod(shape), dtype)
        options = {name: rng.choice(some) for name, some in OPTIONS.items() if rng.random() < 0.25}
        default = rng.choice(("float32", "float32", "float64", "float16", "bfloat16"))
        state = rng.choice(("plain", "plain", "leaf", "result", "parameter", "frozen parameter"))
        texts = []
        for module in (torch, ctorch):
            module.set_default_dtype(module.float32)
            t = module.tensor(values, dtype=getattr(module, dtype)).reshape(shape)
            if state == "leaf" and t.dtype.is_floating_point:
                t.requires_grad_()
            elif state == "result" and t.dtype.is_floating_point:
                t = t.requires_grad_() * 1
            elif "parameter" in state and t.dtype.is_floating_point:
                t = module.nn.Parameter(t, requires_grad=state == "parameter")
            module.set_default_dtype(getattr(module, default))
            module.set_printoptions(profile="default")
            module.set_printoptions(**options)
            texts.append(repr(t))
        assert texts[1] == texts[0], (shape, options, state, default)


def test_summary_of_a_large_tensor_reads_its_corners_only(torch):
    shape = (1 << 20, 1 << 20, 1 << 20)  # far more elements than memory
    texts = [repr(m.tensor([1.5]).expand(shape)) for m in (torch, ctorch)]
    assert texts[1] == texts[0]


def test_noncontiguous(torch):
    texts = [repr(m.arange(24.0).reshape(2, 3, 4).permute(2, 0, 1)[1:, :, ::2]) for m in (torch, ctorch)]
    assert texts[1] == texts[0]


def test_subclass_has_its_name(torch):
    texts = []
    for module in (torch, ctorch):
        kind = type("Length", (module.Tensor,), {})
        texts.append(repr(module.Tensor._make_subclass(kind, module.arange(40.0))))
    assert texts[1] == texts[0]


def test_buffer_is_plain(torch):
    texts = [repr(module.nn.Buffer(module.arange(3.0))) for module in (torch, ctorch)]
    assert texts[1] == texts[0]


@pytest.mark.parametrize("spec", ["", ".3f", "10.2e", ">12", "g"])
def test_format_of_one_number(torch, spec):
    for value in (1.0, -2.5, 1e20, math.nan):
        assert format(ctorch.tensor(value), spec) == format(torch.tensor(value), spec)


def test_format_of_many_numbers():
    t = ctorch.tensor([1.0, 2.0])
    assert f"{t}" == "tensor([1., 2.])"
    with pytest.raises(TypeError, match="format string"):
        f"{t:.2f}"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: ctorch.tensor(3), "tensor(3)"),
        (lambda: ctorch.tensor([1.0, -2.0]), "tensor([ 1., -2.])"),
        (lambda: ctorch.tensor([0.1, 1e-5]), "tensor([1.0000e-01, 1.0000e-05])"),
        (lambda: ctorch.tensor([[True], [False]]), "tensor([[ True],\n        [False]])"),
        (lambda: ctorch.tensor([1 + 2j]), "tensor([1.+2.j])"),
        (lambda: ctorch.zeros(2, 0, dtype=ctorch.int32), "tensor([], size=(2, 0), dtype=torch.int32)"),
        (lambda: ctorch.ones(2, requires_grad=True), "tensor([1., 1.], requires_grad=True)"),
        (lambda: ctorch.ones(2, requires_grad=True) * 2, "tensor([2., 2.], grad_fn=<MulBackward0>)"),
        (lambda: ctorch.arange(2000), "tensor([   0,    1,    2,  ..., 1997, 1998, 1999])"),
    ],
)
def test_text_in_full(make, text):
    assert repr(make()) == str(make()) == text


def test_options_are_kept_and_reset():
    ctorch.set_printoptions(precision=2, sci_mode=True)
    changed = ctorch._repr.get_printoptions()
    assert (changed["precision"], changed["sci_mode"], changed["edgeitems"]) == (2, True, 3)
    ctorch.set_printoptions(linewidth=100)
    assert ctorch._repr.get_printoptions()["sci_mode"] is None
    with pytest.raises(ValueError, match=r"set_printoptions.*'fancy'"):
        ctorch.set_printoptions(profile="fancy")
