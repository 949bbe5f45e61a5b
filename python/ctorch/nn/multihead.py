"""Attention of several heads with its projections, as a function."""

from __future__ import annotations

import math
import warnings
from typing import Any

from .. import _C
from .._C import Tensor
from .attention import scaled_dot_product_attention
from .dropouts import dropout
from .padding import pad

_OP = "multi_head_attention_forward"


def expect(condition: bool, *parts: Any) -> None:
    """PyTorch raises AssertionError for what does not fit here."""
    if not condition:
        raise AssertionError(f"{_OP}: " + "".join(str(part) for part in parts))


def additive_mask(
    mask: Tensor | None, name: str, dtype: Any, other: Tensor | None = None, other_name: str = ""
) -> Tensor | None:
    """A mask that is added to the scores: one of bool becomes minus infinity where it is True."""
    if mask is None:
        return None
    if mask.dtype is not _C.bool and not mask.is_floating_point():
        raise AssertionError(f"only bool and floating types of {name} are supported, got {mask.dtype}")
    if other is not None and other.dtype != mask.dtype:
        warnings.warn(
            f"Support for mismatched {name} and {other_name} is deprecated. Use same type for both instead.",
            stacklevel=3,
        )
    if mask.is_floating_point():
        return mask
    return _C.zeros_like(mask, dtype=dtype).masked_fill_(mask, float("-inf"))


def _check_dims(
    query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None, attn_mask: Tensor | None
) -> None:
    n = query.dim()
    expect(n in (2, 3), "query should be unbatched 2D or batched 3D, got shape ", tuple(query.shape))
    expect(
        key.dim() == n and value.dim() == n,
        f"expected key and value of {n} dims as query, got {key.dim()} and {value.dim()}",
    )
    if key_padding_mask is not None:
        expect(
            key_padding_mask.dim() == n - 1,
            f"expected key_padding_mask of {n - 1} dims, got {key_padding_mask.dim()}",
        )
    if attn_mask is not None:
        expect(attn_mask.dim() in (2, 3), f"expected attn_mask of 2 or 3 dims, got {attn_mask.dim()}")


def _projections(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weight: Tensor | None,
    separate: tuple[Tensor | None, Tensor | None, Tensor | None] | None,
    bias: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values; inputs that are one tensor are projected in one product."""
    width = query.size(-1)
    if separate is not None:
        w_q, w_k, w_v = separate
        if w_q is None or w_k is None or w_v is None:
            raise AssertionError(f"{_OP}: use_separate_proj_weight is True but one of the weights is None")
        for name, w, x in (("query", w_q, query), ("key", w_k, key), ("value", w_v, value)):
            shape = (width, x.size(-1))
            expect(tuple(w.shape) == shape, f"expecting {name} weights of {shape}, got ", tuple(w.shape))
    else:
        if weight is None:
            raise AssertionError(f"{_OP}: use_separate_proj_weight is False but in_proj_weight is None")
        if query is key and key is value:
            q, k, v = _C.linear(query, weight, bias).chunk(3, -1)
            return q, k, v
        if key is value:
            w_q, w_kv = weight.split([width, 2 * width])
            b_q, b_kv = (None, None) if bias is None else bias.split([width, 2 * width])
            k, v = _C.linear(key, w_kv, b_kv).chunk(2, -1)
            return _C.linear(query, w_q, b_q), k, v
        w_q, w_k, w_v = weight.chunk(3)
    b_q, b_k, b_v = (None, None, None) if bias is None else bias.chunk(3)
    return _C.linear(query, w_q, b_q), _C.linear(key, w_k, b_k), _C.linear(value, w_v, b_v)


def _check_mask(mask: Tensor, batch: int, heads: int, rows: int, columns: int) -> Tensor:
    """The mask as (1 or batch * heads, rows, columns)."""
    wanted = (rows, columns) if mask.dim() == 2 else (batch * heads, rows, columns)
    if tuple(mask.shape) != wanted:
        raise RuntimeError(
            f"{_OP}: The shape of the {mask.dim()}D attn_mask is {tuple(mask.shape)}, but should be {wanted}."
        )
    return mask.unsqueeze(0) if mask.dim() == 2 else mask


def _heads(x: Tensor, batch: int, heads: int) -> Tensor:
    """(rows, batch, heads * width) as (batch * heads, rows, width)."""
    return x.reshape(x.size(0), batch * heads, -1).transpose(0, 1)


def _given_heads(x: Tensor | None, name: str, usual: Tensor, count: int, width: int) -> Tensor:
    if x is None:
        return usual
    expect(x.size(0) == count, f"expecting {name}.size(0) of {count}, but got {x.size(0)}")
    expect(x.size(2) == width, f"expecting {name}.size(2) of {width}, but got {x.size(2)}")
    return x


def _more(mask: Tensor | None) -> Tensor | None:
    """The mask with one more key, which all see."""
    return mask if mask is None else pad(mask, (0, 1))


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Project query, key and value, let every head attend, and project what the heads give, joined.

    Args:
        query: (L, N, E), or (L, E) for one sample. E = ``embed_dim_to_check``, a multiple of ``num_heads``.
        key, value: (S, N, Ek) and (S, N, Ev); without separate weights Ek = Ev = E.
        in_proj_weight: (3 * E, E), of queries, keys and values. With ``use_separate_proj_weight`` instead
            ``q_proj_weight`` (E, E), ``k_proj_weight`` (E, Ek), ``v_proj_weight`` (E, Ev).
        in_proj_bias: (3 * E,).
        bias_k, bias_v: (1, 1, E), a further key and value.
        add_zero_attn: have a further key and value of zeros.
        dropout_p: the part of the weights left out while ``training``.
        key_padding_mask: (N, S), of bool (True: nobody sees the key) or added to the scores.
        need_weights: return the weights too; without them the L x S matrix is never formed.
        attn_mask: (L, S) or (N * num_heads, L, S), of bool (True: not seen) or added to the scores.
        static_k, static_v: (N * num_heads, S, E / num_heads), in place of the projected keys and values.
        average_attn_weights: return the mean of the weights over the heads, not those of each.
        is_causal: a hint that ``attn_mask`` is causal, which then need not be read.
    Returns: (L, N, E), and the weights (N, L, S) or (N, num_heads, L, S), or None.
    Raises: AssertionError for shapes that do not fit; RuntimeError for an ``attn_mask`` of the wrong shape, or
        ``is_causal`` without it.
    """
    _check_dims(query, key, value, key_padding_mask, attn_mask)
    batched = query.dim() == 3
    if not batched:
        if attn_mask is not None and attn_mask.dim() == 3:
            wanted = (num_heads, query.size(0), key.size(0))
            expect(
                tuple(attn_mask.shape) == wanted,
                f"expected attn_mask of shape {wanted}, got {tuple(attn_mask.shape)}",
            )
        same_kv, same_qk = key is value, query is key
        query = query.unsqueeze(1)
        key = query if same_qk else key.unsqueeze(1)
        value = key if same_kv else value.unsqueeze(1)
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    rows, batch, width = query.shape
    dtype = query.dtype
    key_padding_mask = additive_mask(key_padding_mask, "key_padding_mask", dtype, attn_mask, "attn_mask")
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "Need attn_mask if specifying the is_causal hint. You may use the Transformer module method "
            "`generate_square_subsequent_mask` to create this mask."
        )
    if is_causal and key_padding_mask is None and not need_weights:
        attn_mask = None
    else:
        attn_mask = additive_mask(attn_mask, "attn_mask", dtype)
        is_causal = False
    expect(
        width == embed_dim_to_check, f"was expecting embedding dimension of {embed_dim_to_check}, got {width}"
    )
    head = width // num_heads
    expect(head * num_heads == width, f"embed_dim {width} not divisible by num_heads {num_heads}")
    same = key.shape[:2] == value.shape[:2] if use_separate_proj_weight else key.shape == value.shape
    expect(same, f"key {tuple(key.shape)} and value {tuple(value.shape)} do not fit")
    separate = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else None
    q, k, v = _projections(query, key, value, in_proj_weight, separate, in_proj_bias)

    if attn_mask is not None:
        attn_mask = _check_mask(attn_mask, batch, num_heads, rows, key.size(0))
    expect((bias_k is None) == (bias_v is None), "bias_k and bias_v have to be given together")
    if bias_k is not None and bias_v is not None:
        expect(static_k is None and static_v is None, "bias cannot be added to static key or value.")
        k = _C.cat([k, bias_k.repeat(1, batch, 1)])
        v = _C.cat([v, bias_v.repeat(1, batch, 1)])
        attn_mask, key_padding_mask = _more(attn_mask), _more(key_padding_mask)
    q = _heads(q, batch, num_heads)
    k = _given_heads(static_k, "static_k", _heads(k, batch, num_heads), batch * num_heads, head)
    v = _given_heads(static_v, "static_v", _heads(v, batch, num_heads), batch * num_heads, head)
    if add_zero_attn:
        zeros = k.new_zeros((batch * num_heads, 1, head))
        k, v = _C.cat([k, zeros], 1), _C.cat([v, zeros], 1)
        attn_mask, key_padding_mask = _more(attn_mask), _more(key_padding_mask)
    columns = k.size(1)
    if key_padding_mask is not None:
        expect(
            tuple(key_padding_mask.shape) == (batch, columns),
            f"expected key_padding_mask of shape {(batch, columns)}, got {tuple(key_padding_mask.shape)}",
        )
        wide = key_padding_mask.reshape(batch, 1, 1, columns).expand(-1, num_heads, -1, -1)
        wide = wide.reshape(batch * num_heads, 1, columns)
        attn_mask = wide if attn_mask is None else attn_mask + wide
    p = dropout_p if training else 0.0

    if not need_weights:
        if attn_mask is not None:
            if attn_mask.size(0) == 1:
                attn_mask = attn_mask.unsqueeze(0)
            else:
                attn_mask = attn_mask.reshape(batch, num_heads, -1, columns)
        q, k, v = (t.reshape(batch, num_heads, -1, head) for t in (q, k, v))
        joined = scaled_dot_product_attention(q, k, v, attn_mask, p, is_causal)
        joined = joined.permute(2, 0, 1, 3).reshape(rows, batch, width)
        result = _C.linear(joined, out_proj_weight, out_proj_bias)
        return (result if batched else result.squeeze(1)), None

    q = q * math.sqrt(1.0 / head)
    scores = _C.bmm(q, k.transpose(1, 2))
    weights = _C.softmax(scores if attn_mask is None else scores + attn_mask, -1)
    if p > 0.0:
        weights = dropout(weights, p)
    joined = _C.bmm(weights, v).transpose(0, 1).reshape(rows, batch, width)
    result = _C.linear(joined, out_proj_weight, out_proj_bias)
    weights = weights.reshape(batch, num_heads, rows, columns)
    if average_attn_weights:
        weights = weights.mean(1)
    return (result, weights) if batched else (result.squeeze(1), weights.squeeze(0))
