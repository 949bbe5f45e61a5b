"""The derivative of attention. A plain backward pass runs the fused kernel, which never holds the weights; one that is
itself recorded (create_graph=True), or that of a mask that is added, composes the weights anew.
"""

from __future__ import annotations

import ctorch
from ctorch import _C
from ctorch.autograd.registry import define, not_differentiable


def _over_heads(t, heads):
    """Each head of keys or values as often as there are heads of queries that read it."""
    return t if t.shape[1] == heads else t.repeat_interleave(heads // t.shape[1], 1)


def _of_heads(g, heads):
    return g if g.shape[1] == heads else g.unflatten(1, (heads, g.shape[1] // heads)).sum(2)


def _kept(shape, dropout_p, rng_state, dtype):
    """What dropout multiplied the weights by."""
    if dropout_p == 1:  # draws nothing
        return _C.zeros(shape, dtype=dtype)
    generator = _C.Generator()
    generator.set_state(rng_state)
    kept = _C.empty(shape, dtype=dtype).bernoulli_(1 - dropout_p, generator=generator)
    return kept * (1 / (1 - dropout_p))


def _composed(g, query, key, value, attn_mask, dropout_p, is_causal, scale, rng_state):
    heads = query.shape[1]
    k, v = _over_heads(key, heads), _over_heads(value, heads)
    scores = (query @ k.transpose(-2, -1)) * scale
    seen = None
    if attn_mask is not None:
        if attn_mask.dtype is _C.bool:
            seen = attn_mask
        else:
            scores = scores + attn_mask
    if is_causal:
        below = scores.new_ones(scores.shape[-2:], dtype=_C.bool).tril()
        seen = below if seen is None else seen & below
    if seen is not None:
        scores = scores.masked_fill(~seen, -ctorch.inf)
    empty = (scores.detach() == -ctorch.inf).all(-1, keepdim=True)
    weights = scores.masked_fill(empty, 0).softmax(-1).masked_fill(empty, 0)
    grad_weights = g @ v.transpose(-2, -1)
    dropped = weights
    if dropout_p > 0:
        kept = _kept(scores.shape, dropout_p, rng_state, weights.dtype)
        dropped, grad_weights = weights * kept, grad_weights * kept
    grad_scores = weights * (grad_weights - (weights * grad_weights).sum(-1, keepdim=True))
    dq = (grad_scores @ k) * scale
    dk = _of_heads((grad_scores.transpose(-2, -1) @ query) * scale, key.shape[1])
    return dq, dk, _of_heads(dropped.transpose(-2, -1) @ g, value.shape[1]), grad_scores


def _attention(g, query, key, value, attn_mask, dropout_p, is_causal, scale, rng_state, out0, out1):
    given = (query, key, value, attn_mask, dropout_p, is_causal, scale, rng_state)
    if ctorch.is_grad_enabled():
        return _composed(g, *given)[:3]
    return _C._attention_backward(g, *given, out0, out1)


def _mask(g, query, key, value, attn_mask, dropout_p, is_causal, scale, rng_state):
    return _composed(g, query, key, value, attn_mask, dropout_p, is_causal, scale, rng_state)[3]


define(
    "_attention",
    query=_attention,
    key=_attention,
    value=_attention,
    attn_mask=_mask,
    node="ScaledDotProductFlashAttentionForCpuBackward0",
)
not_differentiable("_attention_backward")
