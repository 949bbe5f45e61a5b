"""Attention as a function of queries, keys and values."""

from __future__ import annotations

import math

from ctorch import _C
from ctorch._C import Tensor
from ctorch.runtime import broadcast_shapes

_OP = "scaled_dot_product_attention"


def _four_dims(t: Tensor, lead: tuple[int, ...]) -> Tensor:
    """(*lead, rows, width) as (batch, heads, rows, width), by broadcasting; a view where that can be."""
    t = t.expand(*lead, *t.shape[-2:])
    if len(lead) > 2:
        return t.flatten(0, len(lead) - 2)
    return t if len(lead) == 2 else t.unsqueeze(0) if lead else t.unsqueeze(0).unsqueeze(0)


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(scale query keyᵀ + mask) value, in blocks: memory grows with the rows, not with their product.

    Args:
        query: (..., Hq, L, E), of a floating dtype.
        key: (..., H, S, E). Leading dims are broadcast.
        value: (..., H, S, Ev).
        attn_mask: broadcast to (..., Hq, L, S); of bool (True: the query sees the key), or of the dtype of query
            and added. A query that sees no key gives 0.
        dropout_p: the part of the weights that is left out at random; the others are scaled by 1 / (1 - dropout_p).
            It is always applied: pass 0 in evaluation.
        is_causal: whether query i sees the keys 0 ... i only. Not together with attn_mask.
        scale: of the scores; 1 / sqrt(E) unless given.
        enable_gqa: whether Hq may be a multiple of H; then Hq / H query heads in turn read one head of the keys.
    Returns: (..., Hq, L, Ev).
    Raises: RuntimeError if shapes or dtypes do not fit; ValueError for a dropout_p outside [0, 1].
    """
    shapes = [tuple(t.shape) for t in (query, key, value)]
    if attn_mask is not None and is_causal:
        raise RuntimeError(f"{_OP}: explicit attn_mask should not be set when is_causal=True")
    if min(len(shape) for shape in shapes) < 2:
        raise RuntimeError(
            f"{_OP}: expected query, key and value of at least 2 dims, got {', '.join(map(str, shapes))}"
        )
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise RuntimeError(
            f"{_OP}: query {shapes[0]}, key {shapes[1]} and value {shapes[2]} do not fit: query and key need "
            "one width, key and value as many rows"
        )
    if enable_gqa:
        if min(len(shape) for shape in shapes) < 3 or key.shape[-3] == 0 or query.shape[-3] % key.shape[-3]:
            raise RuntimeError(
                f"{_OP}: enable_gqa needs as many or a multiple of the heads of key and value in query, got "
                f"{', '.join(map(str, shapes))}"
            )
        batch = broadcast_shapes(query.shape[:-3], key.shape[:-3], value.shape[:-3])
        lead, key_lead = (*batch, query.shape[-3]), (*batch, key.shape[-3])
    else:
        lead = key_lead = tuple(broadcast_shapes(query.shape[:-2], key.shape[:-2], value.shape[:-2]))
    mask = attn_mask
    if mask is not None:
        rows = (query.shape[-2], key.shape[-2])
        try:
            mask = mask.expand(*lead, *rows)
        except RuntimeError:
            raise RuntimeError(
                f"{_OP}: attn_mask of shape {tuple(mask.shape)} does not broadcast to {(*lead, *rows)}"
            ) from None
        mask = _four_dims(mask, lead)
    if scale is None:
        scale = 1 / math.sqrt(query.shape[-1]) if query.shape[-1] else 0.0
    state = _C.default_generator.get_state() if dropout_p > 0 else None
    result = _C._attention(
        _four_dims(query, lead),
        _four_dims(key, key_lead),
        _four_dims(value, key_lead),
        mask,
        dropout_p,
        is_causal,
        scale,
        state,
    )[0]
    return result if len(lead) == 2 else result.reshape(*lead, *result.shape[-2:]).contiguous()
