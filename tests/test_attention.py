"""scaled_dot_product_attention: against PyTorch, its own composition, and its promise of memory."""

from __future__ import annotations

import math

import pytest

import ctorch

try:
    import torch
except ImportError:
    torch = None
needs_torch = pytest.mark.skipif(torch is None, reason="torch is not installed")

F = ctorch.nn.functional
sdpa = F.scaled_dot_product_attention

SHAPES = [  # query, key, value
    ((2, 3, 5, 8), (2, 3, 7, 8), (2, 3, 7, 4)),
    ((1, 2, 300, 16), (1, 2, 513, 16), (1, 2, 513, 16)),  # several blocks of queries and of keys
    ((4, 6, 8), (4, 9, 8), (4, 9, 8)),
    ((6, 8), (9, 8), (9, 3)),
    ((2, 1, 3, 5, 8), (2, 4, 3, 7, 8), (1, 4, 3, 7, 8)),  # leading dims that broadcast
]


def composed(q, k, v, mask=None, causal=False, scale=None):
    scores = q @ k.transpose(-2, -1) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if causal:
        mask = ctorch.ones(scores.shape[-2:], dtype=ctorch.bool).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype is ctorch.bool else scores + mask
    return scores.softmax(-1) @ v


def operands(shapes, dtype=ctorch.float64, requires_grad=True):
    ctorch.manual_seed(7)
    return [ctorch.randn(*s, dtype=dtype).requires_grad_(requires_grad) for s in shapes]


def gradients(result, inputs):
    weights = ctorch.linspace(-1, 1, result.numel(), dtype=result.dtype).reshape(result.shape)
    return ctorch.autograd.grad(result, inputs, weights)


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize(
    "causal, masked", [(True, None), (False, None), (False, "bool"), (False, "number"), (False, "row")]
)
def test_agrees_with_its_composition(shapes, causal, masked) -> None:
    inputs = operands(shapes)
    q, k, _ = inputs
    mask = None
    if masked:
        mask = ctorch.randn(q.shape[-2] if masked != "row" else 1, k.shape[-2], dtype=ctorch.float64)
        if masked == "bool":
            mask = mask > -1
            mask[..., 0] = True  # every query sees something: the composition gives nan elsewhere
    got = sdpa(*inputs, attn_mask=mask, is_causal=causal)
    want = composed(*inputs, mask, causal)
    ctorch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    for a, b in zip(gradients(got, inputs), gradients(want, inputs)):
        ctorch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_grouped_heads_read_the_same_keys() -> None:
    inputs = operands([(2, 6, 5, 8), (2, 2, 7, 8), (2, 2, 7, 8)])
    q, k, v = inputs
    got = sdpa(q, k, v, enable_gqa=True)
    want = composed(q, k.repeat_interleave(3, 1), v.repeat_interleave(3, 1))
    ctorch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    for a, b in zip(gradients(got, inputs), gradients(want, inputs)):
        ctorch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["plain", "causal", "bool", "number", "grouped", "dropout"])
def test_first_and_second_derivatives(kind) -> None:
    heads = 4 if kind == "grouped" else 2
    q, k, v = operands([(1, heads, 3, 2), (1, 2, 4, 2), (1, 2, 4, 3)])
    mask = ctorch.tensor([[True, True, False, True]]).expand(3, 4) if kind == "bool" else None
    inputs = [q, k, v]
    if kind == "number":
        inputs.append(ctorch.randn(3, 4, dtype=ctorch.float64, requires_grad=True))

    def attend(q, k, v, mask=mask):
        ctorch.manual_seed(3)
        return sdpa(q, k, v, mask, 0.4 if kind == "dropout" else 0.0, kind == "causal", enable_gqa=heads == 4)

    assert ctorch.autograd.gradcheck(attend, inputs)
    assert ctorch.autograd.gradgradcheck(attend, inputs)


def test_a_query_that_sees_no_key_gives_zero_and_no_gradient() -> None:
    q, k, v = operands([(1, 1, 3, 4), (1, 1, 300, 4), (1, 1, 300, 4)])
    mask = ctorch.ones(3, 300, dtype=ctorch.bool)
    mask[1] = False
    result = sdpa(q, k, v, mask)
    assert result[0, 0, 1].tolist() == [0.0] * 4
    dq, dk, dv = ctorch.autograd.grad(result.sum(), [q, k, v])
    assert dq[0, 0, 1].tolist() == [0.0] * 4
    assert dk.isfinite().all() and dv.isfinite().all()


@pytest.mark.parametrize("dtype", [ctorch.float64, ctorch.float32, ctorch.bfloat16])
def test_a_query_hidden_by_the_lowest_number_sees_all_keys_alike(dtype) -> None:
    q, k, v = inputs = operands([(1, 1, 3, 8), (1, 1, 5, 8), (1, 1, 5, 8)], dtype)
    mask = ctorch.zeros(3, 5, dtype=dtype)
    mask[1] = ctorch.finfo(dtype).min
    out = sdpa(q, k, v, attn_mask=mask)
    mean = v.detach().mean(-2)
    assert (out[0, 0, 1] - mean[0, 0]).abs().max() < 4 * max(ctorch.finfo(dtype).eps, 1e-7)
    wide = [x.detach().double().requires_grad_() for x in inputs]
    expected = gradients(composed(*wide, mask.double()), wide)
    for ours, theirs in zip(gradients(out, inputs), expected, strict=True):
        assert (ours.double() - theirs).abs().max() < 8 * max(ctorch.finfo(dtype).eps, 1e-7)


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("masked", [None, "causal", "bool", "number"])
@pytest.mark.parametrize("scale", [None, 0.0, -0.5])
def test_bfloat16_agrees_with_the_composition_in_double(shapes, masked, scale) -> None:
    inputs = operands(shapes, ctorch.bfloat16)
    q, k, _ = inputs
    mask = ctorch.randn(q.shape[-2], k.shape[-2]).bfloat16() if masked in ("bool", "number") else None
    if masked == "bool":
        mask = mask > -1
        mask[..., 0] = True
    out = sdpa(*inputs, attn_mask=mask, is_causal=masked == "causal", scale=scale)
    wide = [x.detach().double().requires_grad_() for x in inputs]
    wide_mask = mask.double() if masked == "number" else mask
    expected = composed(*wide, wide_mask, masked == "causal", scale)
    assert out.dtype is ctorch.bfloat16
    for ours, theirs in zip(
        (out, *gradients(out, inputs)), (expected, *gradients(expected, wide)), strict=True
    ):
        assert (ours.double() - theirs).abs().max() < 6 / 256 * max(1, theirs.abs().max().item())


def test_masks_of_the_first_keys_do_not_hide_the_later_ones() -> None:
    q, k, v = operands([(1, 1, 4, 8), (1, 1, 600, 8), (1, 1, 600, 8)])
    mask = ctorch.zeros(4, 600, dtype=ctorch.bool)
    mask[:, 550:] = True  # the first blocks of keys are seen by nobody
    got, want = sdpa(q, k, v, mask), composed(q, k[..., 550:, :], v[..., 550:, :])
    ctorch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [ctorch.float64, ctorch.bfloat16])
@pytest.mark.parametrize("sizes", [(0, 5, 8, 4), (3, 0, 8, 4), (3, 5, 8, 0), (3, 5, 0, 4), (3, 5, 0, 0)])
def test_empty_operands(sizes, dtype) -> None:
    rows, keys, width, value_width = sizes
    inputs = operands([(1, 2, rows, width), (1, 2, keys, width), (1, 2, keys, value_width)], dtype)
    result = sdpa(*inputs)
    assert result.shape == (1, 2, rows, value_width) and (result == 0).all() == (
        keys == 0 or result.numel() == 0
    )
    for grad, x in zip(ctorch.autograd.grad(result.sum(), inputs), inputs):
        assert grad.shape == x.shape and grad.isfinite().all()


@pytest.mark.parametrize("dtype", [ctorch.float32, ctorch.bfloat16])
@pytest.mark.parametrize("batch, heads", [(0, 3), (1, 0)])
def test_no_heads(batch, heads, dtype) -> None:
    inputs = operands([(batch, heads, 5, 8), (batch, 3, 7, 8), (batch, 3, 7, 4)], dtype)
    result = sdpa(*inputs, enable_gqa=True)
    assert result.shape == (batch, heads, 5, 4)
    for grad, x in zip(ctorch.autograd.grad(result.sum(), inputs), inputs, strict=True):
        assert grad.shape == x.shape and (grad == 0).all()


def test_negative_and_odd_strides() -> None:
    q, k, v = operands([(2, 5, 3, 8), (7, 3, 2, 8), (2, 3, 4, 7)], requires_grad=False)
    q, k, v = q.transpose(1, 2), k.permute(2, 1, 0, 3)[..., ::-1], v.transpose(2, 3)
    want = composed(q.contiguous(), k.contiguous(), v.contiguous())
    ctorch.testing.assert_close(sdpa(q, k, v), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("threads", [1, 2])
def test_results_do_not_depend_on_threads(threads) -> None:
    inputs = operands([(2, 3, 200, 16), (2, 3, 300, 16), (2, 3, 300, 16)], ctorch.float32)
    before = ctorch.get_num_threads()
    results = []
    for n in (1, threads):
        ctorch.set_num_threads(n)
        result = sdpa(*inputs)
        results.append([result, *gradients(result, inputs)])
    ctorch.set_num_threads(before)
    for a, b in zip(*results):
        assert ctorch.equal(a, b)


def test_memory_grows_with_rows_not_with_their_product() -> None:
    rows = 4096  # the weights of 2 heads would take 134 MB
    inputs = operands([(1, 2, rows, 16)] * 3, ctorch.float32)
    ctorch.reset_peak_memory_stats()
    before = ctorch.memory_stats()["allocated_bytes"]
    sdpa(*inputs, is_causal=True).sum().backward()
    assert ctorch.memory_stats()["allocated_bytes_peak"] - before < 20e6


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda q: sdpa(q, q[..., :3], q), RuntimeError, "need one width"),
        (lambda q: sdpa(q, q, q[..., :2, :]), RuntimeError, "as many rows"),
        (lambda q: sdpa(q[0, 0, 0], q, q), RuntimeError, "at least 2 dims"),
        (lambda q: sdpa(q, q.double(), q), RuntimeError, "one floating dtype"),
        (lambda q: sdpa(q.long(), q.long(), q.long()), RuntimeError, "floating dtype"),
        (lambda q: sdpa(q, q, q, ctorch.ones(4, 9, dtype=ctorch.bool)), RuntimeError, "attn_mask of shape"),
        (lambda q: sdpa(q, q, q, ctorch.ones(4, 4, dtype=ctorch.int64)), RuntimeError, "attn_mask of dtype"),
        (lambda q: sdpa(q, q, q, ctorch.ones(4, 4), is_causal=True), RuntimeError, "is_causal"),
        (lambda q: sdpa(q, q, q, dropout_p=1.5), ValueError, "dropout_p"),
        (lambda q: sdpa(q, q[:, :2], q[:, :2], enable_gqa=True), RuntimeError, "multiple of the heads"),
        (lambda q: sdpa(q, q[:, :2], q[:, :2]), RuntimeError, "broadcast"),
    ],
)
def test_bad_input_is_named(call, error, text) -> None:
    with pytest.raises(error, match=text):
        call(ctorch.randn(2, 3, 4, 8))


@needs_torch
@pytest.mark.parametrize("dropout", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("rows", [5, 260])
def test_dropout_draws_what_pytorch_draws(dropout, rows) -> None:
    results = []
    for T in (torch, ctorch):
        T.manual_seed(11)
        q, k, v = (T.randn(2, 3, rows, 8).requires_grad_() for _ in range(3))
        out = T.nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
        out.sum().backward()
        results.append([x.detach().numpy() for x in (out, q.grad, k.grad, v.grad)] + [T.rand(3).numpy()])
    for a, b in zip(*results):
        assert abs(a - b).max() < 2e-5


@needs_torch
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_dtypes_as_in_pytorch(dtype) -> None:
    results = []
    for T in (torch, ctorch):
        T.manual_seed(5)
        inputs = [T.randn(1, 2, 40, 16).to(getattr(T, dtype)).requires_grad_() for _ in range(3)]
        out = T.nn.functional.scaled_dot_product_attention(*inputs, is_causal=True)
        out.float().square().sum().backward()
        assert str(out.dtype) == f"torch.{dtype}"
        results.append([x.detach().float().numpy() for x in (out, *(i.grad for i in inputs))])
    eps = ctorch.finfo(getattr(ctorch, dtype)).eps
    for a, b in zip(*results):
        assert abs(a - b).max() <= 8 * max(eps, 1.2e-7) * max(1, abs(a).max())
