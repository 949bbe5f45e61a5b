"""Recurrent layers and packed sequences: against PyTorch, against their own steps, and by gradcheck."""

from __future__ import annotations

import numpy as np
import pytest

import ctorch
from ctorch import nn
from ctorch.nn.utils import rnn as rnn_utils

try:
    import torch
    from torch.nn.utils import rnn as torch_rnn
except ImportError:
    torch = None
needs_torch = pytest.mark.skipif(torch is None, reason="torch is not installed")

LAYERS = [
    *((name, options) for name in ("LSTM", "GRU", "RNN") for options in (
        {}, {"num_layers": 2}, {"bidirectional": True}, {"bias": False},
        {"num_layers": 2, "bidirectional": True, "batch_first": True, "dropout": 0.3},
    )),
    ("LSTM", {"proj_size": 3, "num_layers": 2, "bidirectional": True}),
    ("RNN", {"nonlinearity": "relu"}),
]  # fmt: skip


def run(T, utils, name, options, kind):
    """Outputs, last states and all gradients of a layer, as arrays."""
    T.manual_seed(1)
    layer = getattr(T.nn, name)(5, 7, **options)
    rows = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    h = T.randn(rows, 4, options.get("proj_size", 0) or 7, requires_grad=True)
    c = T.randn(rows, 4, 7, requires_grad=True)
    x = (T.randn(4, 6, 5) if options.get("batch_first") else T.randn(6, 4, 5)).requires_grad_()
    given, state = x, (h, c) if name == "LSTM" else h
    if kind == "packed":
        parts = [T.randn(n, 5) for n in (3, 6, 1, 4)]
        given = utils.pack_sequence(parts, enforce_sorted=False)
    elif kind == "one sequence":
        given, state = T.randn(6, 5), (h[:, 0], c[:, 0]) if name == "LSTM" else h[:, 0]
    elif kind == "no state":
        state = None
    T.manual_seed(2)
    out, last = layer(given, state)
    out = out.data if kind == "packed" else out
    last = list(last) if name == "LSTM" else [last]
    weights = T.linspace(-1, 1, out.numel()).reshape(out.shape)
    ((out * weights).sum() + sum((s * s).sum() for s in last)).backward()
    tensors = [out, *last, *(p.grad for p in layer.parameters())]
    return [t.detach().numpy() for t in (*tensors, *(i.grad for i in (x, h, c) if i.grad is not None))]


@needs_torch
@pytest.mark.parametrize("kind", ["padded", "packed", "one sequence", "no state"])
@pytest.mark.parametrize("name, options", LAYERS)
@pytest.mark.filterwarnings("ignore")
def test_layers_agree_with_pytorch(name, options, kind) -> None:
    want = run(torch, torch_rnn, name, options, kind)
    got = run(ctorch, rnn_utils, name, options, kind)
    assert len(want) == len(got)
    for a, b in zip(want, got):
        assert a.shape == b.shape
        assert abs(a - b).max() <= 2e-6 * max(1, abs(a).max())


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_a_layer_is_its_cell_step_by_step(name) -> None:
    ctorch.manual_seed(0)
    layer = getattr(nn, name)(3, 4)
    cell = getattr(nn, name + "Cell")(3, 4)
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in layer.state_dict().items()})
    x = ctorch.randn(5, 2, 3)
    state, outputs = None, []
    for step in x:
        state = cell(step, state)
        outputs.append(state[0] if name == "LSTM" else state)
    out, _ = layer(x)
    ctorch.testing.assert_close(out, ctorch.stack(outputs), rtol=1e-5, atol=1e-6)
    single = cell(x[0, 0])
    first = single[0] if name == "LSTM" else single
    ctorch.testing.assert_close(first, out[0, 0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    "cell, projected", [("lstm", False), ("lstm", True), ("gru", False), ("tanh", False)]
)
def test_first_and_second_derivatives(cell, projected, reverse) -> None:
    ctorch.manual_seed(3)
    hidden, width, gates = 3, 2 if projected else 3, {"lstm": 4, "gru": 3, "tanh": 1}[cell]

    def make(*size):
        return ctorch.randn(*size, dtype=ctorch.float64, requires_grad=True)

    inputs = [make(4, 2), make(2, width), make(gates * hidden, 2), make(gates * hidden, width)]
    biases = [make(gates * hidden), make(gates * hidden)]
    extra = [make(2, hidden)] if cell == "lstm" else []
    extra += [make(width, hidden)] if projected else []

    def layer(x, h, w_ih, w_hh, b_ih, b_hh, *more):
        c = more[0] if cell == "lstm" else None
        w_hr = more[-1] if projected else None
        results = ctorch._C._rnn_layer(x, h, c, w_ih, w_hh, b_ih, b_hh, w_hr, [2, 1, 1], cell, reverse)
        return results[: 3 if cell == "lstm" else 2]

    inputs += biases
    assert ctorch.autograd.gradcheck(layer, [*inputs, *extra])
    assert ctorch.autograd.gradgradcheck(layer, [*inputs, *extra])


@pytest.mark.parametrize("dtype", [ctorch.float64, ctorch.bfloat16])
def test_other_dtypes(dtype) -> None:
    ctorch.manual_seed(0)
    layer = nn.LSTM(3, 4)
    x = ctorch.randn(5, 2, 3)
    want = layer(x)[0]
    got = layer.to(dtype)(x.to(dtype))[0]
    assert got.dtype is dtype
    ctorch.testing.assert_close(got.float(), want, rtol=0.05, atol=0.02)


# Enough rows and a large enough matrix for threads to take sequences through all steps, each some.
@pytest.mark.parametrize("dtype", [ctorch.float32, ctorch.float64, ctorch.bfloat16])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "name, options",
    [("LSTM", {}), ("LSTM", {"proj_size": 64}), ("LSTM", {"proj_size": 5}), ("GRU", {}), ("RNN", {})],
)
def test_results_do_not_depend_on_threads(name, options, packed, dtype) -> None:
    ctorch.manual_seed(0)
    hidden, batch = 66, 47
    layer = getattr(nn, name)(20, hidden, bidirectional=True, **options).to(dtype)
    x = ctorch.randn(9, batch, 20, dtype=dtype, requires_grad=True)
    h = ctorch.randn(2, batch, options.get("proj_size", hidden), dtype=dtype, requires_grad=True)
    c = ctorch.randn(2, batch, hidden, dtype=dtype, requires_grad=True)
    lengths = [1 + i * 8 // (batch - 1) for i in range(batch)][::-1]
    given = rnn_utils.pack_padded_sequence(x, lengths) if packed else x
    leaves = [x, h, *([c] if name == "LSTM" else []), *layer.parameters()]
    before = ctorch.get_num_threads()
    results = []
    try:
        for n in (1, 2, 3, 5, 16):
            ctorch.set_num_threads(n)
            out, last = layer(given, (h, c) if name == "LSTM" else h)
            out, last = out.data if packed else out, last if name == "LSTM" else (last,)
            grads = ctorch.autograd.grad(
                [out.square().sum(), *(t.square().sum() for t in last)], leaves, retain_graph=True
            )
            results.append([out, *last, *grads])
    finally:
        ctorch.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other):
            assert ctorch.equal(a, b)


@needs_torch
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "name, options", [("LSTM", {}), ("LSTM", {"proj_size": 64}), ("GRU", {}), ("RNN", {"bias": False})]
)
def test_large_layers_agree_with_pytorch(name, options, packed) -> None:
    hidden, batch = 66, 47
    lengths = [1 + i * 8 // (batch - 1) for i in range(batch)][::-1]
    results = []
    theirs = getattr(torch.nn, name)(20, hidden, bidirectional=True, dtype=torch.float64, **options)
    weights = {key: value.detach().numpy() for key, value in theirs.named_parameters()}
    data = torch.randn(9, batch, 20, dtype=torch.float64).numpy()
    for T, utils, layer in (
        (torch, torch_rnn, theirs),
        (
            ctorch,
            rnn_utils,
            getattr(nn, name)(20, hidden, bidirectional=True, dtype=ctorch.float64, **options),
        ),
    ):
        layer.load_state_dict({key: T.tensor(value) for key, value in weights.items()})
        x = T.tensor(data, requires_grad=True)
        out, last = layer(utils.pack_padded_sequence(x, lengths) if packed else x)
        out, last = out.data if packed else out, last if name == "LSTM" else (last,)
        ((out * out).sum() + sum((s * s * s).sum() for s in last)).backward()
        tensors = [out, *last, x.grad, *(p.grad for p in layer.parameters())]
        results.append([t.detach().numpy() for t in tensors])
    for want, got in zip(*results):
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)


def test_gradients_that_are_not_wanted() -> None:
    layer, x = nn.LSTM(6, 8), ctorch.randn(5, 3, 6, requires_grad=True)
    layer(x)[0].sum().backward()
    want = [x.grad, *(p.grad for p in layer.parameters())]
    x.grad = None
    layer.zero_grad()
    layer(x.detach())[0].sum().backward()
    for p, grad in zip(layer.parameters(), want[1:]):
        assert ctorch.equal(p.grad, grad)
    # The biases have one gradient, but not one tensor.
    assert layer.bias_ih_l0.grad.data_ptr() != layer.bias_hh_l0.grad.data_ptr()
    layer.requires_grad_(False).zero_grad()
    layer(x)[0].sum().backward()
    assert ctorch.equal(x.grad, want[0])
    assert all(p.grad is None for p in layer.parameters())
    layer.bias_hh_l0.requires_grad_(True)
    layer(x.detach())[0].sum().backward()
    assert ctorch.equal(layer.bias_hh_l0.grad, want[-1])
    assert layer.weight_hh_l0.grad is None


def test_sequences_survive_packing_and_padding() -> None:
    parts = [ctorch.randn(n, 2, requires_grad=True) for n in (3, 5, 1)]
    packed = rnn_utils.pack_sequence(parts, enforce_sorted=False)
    assert packed.batch_sizes.tolist() == [3, 2, 2, 1, 1]
    for a, b in zip(rnn_utils.unpack_sequence(packed), parts):
        assert ctorch.equal(a, b)
    padded, lengths = rnn_utils.pad_packed_sequence(packed, batch_first=True, padding_value=7, total_length=6)
    assert padded.shape == (3, 6, 2) and lengths.tolist() == [3, 5, 1]
    assert (padded[2, 1:] == 7).all()
    padded.sum().backward()
    assert all((p.grad == 1).all() for p in parts)
    left = rnn_utils.pad_sequence(parts, batch_first=True, padding_side="left")
    assert (left[2, :4] == 0).all() and ctorch.equal(left[2, 4], parts[2][0])
    for a, b in zip(rnn_utils.unpad_sequence(rnn_utils.pad_sequence(parts), lengths), parts):
        assert ctorch.equal(a, b)


def test_state_dict_names_and_repr() -> None:
    layer = nn.LSTM(3, 4, num_layers=2, bidirectional=True, dropout=0.1, proj_size=2)
    names = list(layer.state_dict())
    assert names[:5] == ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "weight_hr_l0"]
    assert names[5] == "weight_ih_l0_reverse" and len(names) == 20
    assert repr(layer) == "LSTM(3, 4, proj_size=2, num_layers=2, dropout=0.1, bidirectional=True)"
    assert repr(nn.RNNCell(3, 4, nonlinearity="relu")) == "RNNCell(3, 4, nonlinearity=relu)"


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda: nn.LSTM(3, 0), ValueError, "hidden_size must be greater"),
        (lambda: nn.LSTM(3, 4, dropout=1.5), ValueError, "dropout"),
        (lambda: nn.LSTM(3, 4, proj_size=4), ValueError, "proj_size"),
        (lambda: nn.GRU(3, 4, proj_size=2), ValueError, "only supported for LSTM"),
        (lambda: nn.RNN(3, 4, nonlinearity="sin"), ValueError, "nonlinearity 'sin'"),
        (lambda: nn.LSTM(3, 4)(ctorch.zeros(5, 2, 6)), RuntimeError, "Expected 3, got 6"),
        (lambda: nn.LSTM(3, 4)(ctorch.zeros(3)), ValueError, "got 1D"),
        (lambda: nn.LSTM(3, 4)(ctorch.zeros(5, 2, 3).double()), ValueError, "does not match weight dtype"),
        (lambda: nn.GRU(3, 4)(ctorch.zeros(5, 2, 3), ctorch.zeros(1, 3, 4)), RuntimeError, "Expected hidden"),
        (lambda: nn.GRU(3, 4)(ctorch.zeros(5, 3), ctorch.zeros(1, 3, 4)), RuntimeError, "unbatched 2-D"),
        (lambda: nn.GRU(3, 4)(ctorch.zeros(0, 2, 3)), RuntimeError, "sequence length"),
        (lambda: nn.GRUCell(3, 4)(ctorch.zeros(2, 5)), RuntimeError, "got 5 expected 3"),
        (lambda: nn.GRUCell(3, 4)(ctorch.zeros(2, 3), ctorch.zeros(3, 4)), RuntimeError, "hidden of shape"),
        (
            lambda: rnn_utils.pack_padded_sequence(ctorch.zeros(5, 2, 3), [2, 5]),
            RuntimeError,
            "sorted in decreasing order",
        ),
        (
            lambda: rnn_utils.pack_padded_sequence(ctorch.zeros(5, 2, 3), [5, 0]),
            RuntimeError,
            "greater than 0",
        ),
        (
            lambda: rnn_utils.pack_padded_sequence(ctorch.zeros(5, 2, 3), [6, 2]),
            RuntimeError,
            "at most 5 steps",
        ),
        (lambda: rnn_utils.pad_sequence([]), RuntimeError, "empty list"),
    ],
)
def test_bad_input_is_named(call, error, text) -> None:
    with pytest.raises(error, match=text):
        call()
