"""nn.MultiheadAttention and the transformer against PyTorch: values, gradients, state, masks, errors."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest

import ctorch
import ctorch.nn.functional as F

torch = pytest.importorskip("torch", reason="the oracle of these tests")
from tests.nn_oracle import array, close, derivatives, same_error, same_function, same_module  # noqa: E402

L, S, N, E, H = 5, 7, 3, 8, 2


def attention(nn, **options):
    return nn.MultiheadAttention(E, H, **options)


@pytest.mark.parametrize(
    "options",
    (
        {},
        {"bias": False},
        {"add_bias_kv": True},
        {"add_zero_attn": True},
        {"add_bias_kv": True, "add_zero_attn": True, "batch_first": True},
        {"dropout": 0.3},
    ),
)
@pytest.mark.parametrize("train", (True, False))
def test_attention_module(options, train):
    first = options.get("batch_first")

    def shaped(n):
        return array(N, n, E) if first else array(n, N, E)

    def make(nn):
        return attention(nn, **options)

    same_module(make, shaped(L), shaped(S), shaped(S), train=train)
    same_module(make, array(L, E), array(S, E), array(S, E), train=train)


@pytest.mark.parametrize("first", (True, False))
def test_attention_of_other_widths(first):
    q, k, v = (array(*((N, n, w) if first else (n, N, w))) for n, w in ((L, E), (S, 6), (S, 5)))
    same_module(lambda nn: attention(nn, kdim=6, vdim=5, batch_first=first), q, k, v)


@pytest.mark.parametrize("together", ("all", "kv", "none"))
@pytest.mark.parametrize("weights", (True, False))
def test_one_tensor_for_several_inputs(together, weights):
    def run(lib, x, y, z):
        lib.manual_seed(2)
        layer = attention(lib.nn)
        q, k, v = {"all": (x, x, x), "kv": (x, y, y), "none": (x, y, z)}[together]
        result = layer(q, k, v, need_weights=weights)
        return tuple(r for r in result if r is not None)

    same_function(run, *(array(L, N, E, seed=i) for i in range(3)))


MASKS = ("none", "bool", "float", "bool3", "float3")


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("padding", ("none", "bool", "float"))
@pytest.mark.parametrize("weights", (True, False))
@pytest.mark.parametrize("extra", (True, False))
def test_attention_masks(mask, padding, weights, extra):
    rng = np.random.default_rng(0)
    seen = rng.random((N * H, L, S) if mask.endswith("3") else (L, S)) < 0.3
    seen[..., 0] = False
    padded = rng.random((N, S)) < 0.3
    padded[:, 0] = False

    def of(lib, kind, values):
        if kind == "none":
            return None
        t = lib.from_numpy(values.copy())
        return t if kind.startswith("bool") else lib.zeros(values.shape).masked_fill(t, -1.5)

    def run(lib, q, k):
        lib.manual_seed(2)
        layer = attention(lib.nn, add_bias_kv=extra, add_zero_attn=extra)
        result = layer(
            q,
            k,
            k,
            key_padding_mask=of(lib, padding, padded),
            attn_mask=of(lib, mask, seen),
            need_weights=weights,
            average_attn_weights=False,
        )
        return tuple(r for r in result if r is not None)

    same_function(run, array(L, N, E), array(S, N, E, seed=1))


@pytest.mark.parametrize("weights", (True, False))
@pytest.mark.parametrize("padding", (True, False))
def test_causal_hint(weights, padding):
    padded = np.zeros((N, L), dtype=bool)
    padded[1, 3:] = True

    def run(lib, x):
        lib.manual_seed(2)
        mask = lib.nn.Transformer.generate_square_subsequent_mask(L)
        pad = lib.from_numpy(padded).float().masked_fill(lib.from_numpy(padded), float("-inf"))
        layer = attention(lib.nn)
        return layer(
            x,
            x,
            x,
            attn_mask=mask,
            is_causal=True,
            need_weights=weights,
            key_padding_mask=pad if padding else None,
        )[0]

    same_function(run, array(L, N, E))


def test_static_keys_and_values():
    def run(lib, x, k, v, w, b):
        return lib.nn.functional.multi_head_attention_forward(
            x, x, x, E, H, w, b, None, None, False, 0.0, w[:E], b[:E], static_k=k, static_v=v
        )

    heads = [array(N * H, L, E // H, seed=i) for i in (1, 2)]
    same_function(run, array(L, N, E), *heads, array(3 * E, E), array(3 * E))


def test_attention_errors():
    same_error(lambda lib: lib.nn.MultiheadAttention(7, 2))
    same_error(lambda lib: lib.nn.MultiheadAttention(0, 2))

    def fails(*shapes, options=None, **masks):
        def run(lib):
            tensors = {k: lib.zeros(v, dtype=lib.bool) for k, v in masks.items()}
            return attention(lib.nn)(*(lib.ones(s) for s in shapes), **tensors, **(options or {}))

        same_error(run)

    fails((L, N, E), (S, E), (S, N, E))
    fails((L, N, E, 1), (S, N, E), (S, N, E))
    fails((L, N, 6), (S, N, 6), (S, N, 6))
    fails((L, N, E), (S, N, E), (S + 1, N, E))
    fails((L, N, E), (S, N, E), (S, N, E), attn_mask=(L, S + 1))
    fails((L, N, E), (S, N, E), (S, N, E), attn_mask=(N, L, S))
    fails((L, N, E), (S, N, E), (S, N, E), attn_mask=(1, N, L, S))
    fails((L, N, E), (S, N, E), (S, N, E), key_padding_mask=(N,))
    fails((L, E), (S, E), (S, E), attn_mask=(N, L, S))
    fails((L, N, E), (S, N, E), (S, N, E), options={"is_causal": True})
    same_error(
        lambda lib: attention(lib.nn)(*[lib.ones(L, N, E)] * 3, attn_mask=lib.zeros((L, L), dtype=lib.int64))
    )


def test_second_derivative_of_attention():
    w, b = (ctorch.from_numpy(array(*s, dtype="float64")) for s in ((12, 4), (12,)))

    def run(x, y):
        return F.multi_head_attention_forward(
            x, y, y, 4, 2, w, b, None, None, True, 0.0, w[:4], b[:4], need_weights=True
        )

    derivatives(run, array(2, 1, 4), array(3, 1, 4))


LAYERS = (
    {},
    {"norm_first": True},
    {"activation": "gelu", "batch_first": True},
    {"bias": False, "layer_norm_eps": 1e-3},
    {"dropout": 0.0, "norm_first": True, "batch_first": True},
)


@pytest.mark.parametrize("options", LAYERS)
@pytest.mark.parametrize("train", (True, False))
def test_layers(options, train):
    options = {"dim_feedforward": 12, **options}
    x, y = array(N, L, E), array(N, S, E) if options.get("batch_first") else array(S, L, E)
    same_module(lambda nn: nn.TransformerEncoderLayer(E, H, **options), x, train=train)
    same_module(lambda nn: nn.TransformerDecoderLayer(E, H, **options), x, y, train=train)
    same_module(lambda nn: nn.TransformerEncoderLayer(E, H, **options), array(L, E), train=train)
    same_module(lambda nn: nn.TransformerDecoderLayer(E, H, **options), array(L, E), array(S, E), train=train)


def test_layers_with_modules_and_functions_as_activation():
    same_module(lambda nn: nn.TransformerEncoderLayer(E, H, 12, activation=nn.Tanh()), array(L, N, E))
    for name in ("silu", "gelu"):
        same_module(
            lambda nn: nn.TransformerDecoderLayer(
                E, H, 12, activation=getattr(torch.nn.functional if nn is torch.nn else F, name)
            ),
            array(L, N, E),
            array(S, N, E),
        )
    same_error(lambda lib: lib.nn.TransformerEncoderLayer(E, H, activation="tanh"))


@pytest.mark.parametrize("options", LAYERS)
def test_transformer(options):
    first = options.get("batch_first")
    x, y = (array(*((N, n, E) if first else (n, N, E)), seed=n) for n in (S, L))

    def make(nn):
        return nn.Transformer(E, H, 2, 2, dim_feedforward=12, **options)

    for train in (True, False):
        same_module(make, x, y, train=train, tol=1e-4)
    same_module(make, array(S, E), array(L, E), tol=1e-4)


@pytest.mark.parametrize("kind", ("bool", "float"))
@pytest.mark.parametrize("causal", (None, True, False))
def test_transformer_masks(kind, causal):
    def run(lib, src, tgt):
        lib.manual_seed(1)
        model = lib.nn.Transformer(E, H, 2, 2, 12, dropout=0.0)

        def mask(rows, columns):
            t = lib.ones(rows, columns).triu(1)
            return (
                t.bool() if kind == "bool" else lib.zeros(rows, columns).masked_fill(t.bool(), float("-inf"))
            )

        def padding(n):
            t = lib.zeros(N, n, dtype=lib.bool)
            t[1, n - 2 :] = True
            return t if kind == "bool" else lib.zeros(N, n).masked_fill(t, float("-inf"))

        return model(
            src,
            tgt,
            src_mask=mask(S, S),
            tgt_mask=mask(L, L),
            memory_mask=mask(L, S),
            src_key_padding_mask=padding(S),
            tgt_key_padding_mask=padding(L),
            memory_key_padding_mask=padding(S),
            src_is_causal=causal,
            tgt_is_causal=causal,
        ), model(src, tgt, tgt_mask=mask(L, L))

    same_function(run, array(S, N, E), array(L, N, E, seed=1), tol=1e-4)


@pytest.mark.parametrize("aligned", (True, False))
@pytest.mark.parametrize("nested", (True, False))
def test_padding_in_evaluation(aligned, nested):
    padded = np.zeros((N, S), dtype=bool)
    padded[1, 4:] = True
    padded[2, 2 if aligned else 1 :] = True
    padded[2, -1] = aligned

    def run(lib):
        lib.manual_seed(1)
        layer = lib.nn.TransformerEncoderLayer(E, H, 12, batch_first=True)
        model = lib.nn.TransformerEncoder(layer, 2, lib.nn.LayerNorm(E), enable_nested_tensor=nested).eval()
        with lib.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return model(lib.from_numpy(array(N, S, E)), src_key_padding_mask=lib.from_numpy(padded))

    ours, theirs = run(ctorch).numpy(), run(torch).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_transformer_errors():
    def model(lib):
        return lib.nn.Transformer(E, H, 1, 1, 12)

    same_error(lambda lib: model(lib)(lib.ones(S, N, E), lib.ones(L, N + 1, E)))
    same_error(lambda lib: model(lib)(lib.ones(S, N, E + 1), lib.ones(L, N, E + 1)))


def test_layers_are_copied_and_pickled():
    for activation in ("relu", "gelu", ctorch.nn.GELU(), F.silu):
        layer = ctorch.nn.TransformerEncoderLayer(E, H, 12, activation=activation).eval()
        x = ctorch.from_numpy(array(L, N, E))
        for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            close(other(x), layer(x))


def test_subsequent_mask():
    close(
        ctorch.nn.Transformer.generate_square_subsequent_mask(4),
        torch.nn.Transformer.generate_square_subsequent_mask(4),
    )
