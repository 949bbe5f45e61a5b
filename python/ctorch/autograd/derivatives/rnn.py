"""The derivative of recurrent layers. A plain backward pass runs the fused one; one that is itself recorded
(create_graph=True) goes through the steps as operations that have derivatives.
"""

from __future__ import annotations

from typing import Any

import ctorch
from ctorch import _C
from ctorch.autograd.registry import define, not_differentiable


def _step(cell, gates, h, c, weight_hh, bias_hh, weight_hr):
    """(h, c) after one step, from what the input adds to the gates and the states before."""
    if cell == "gru":
        r, z, n = gates.chunk(3, -1)
        hr, hz, hn = ctorch.nn.functional.linear(h, weight_hh, bias_hh).chunk(3, -1)
        z = (z + hz).sigmoid()
        n = (n + (r + hr).sigmoid() * hn).tanh()
        return n + z * (h - n), c
    gates = gates + h @ weight_hh.t()
    if cell != "lstm":
        return (gates.tanh() if cell == "tanh" else gates.relu()), c
    i, f, g, o = gates.chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    h = o.sigmoid() * c.tanh()
    return (h if weight_hr is None else h @ weight_hr.t()), c


def _composed(data, h, c, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, batch_sizes, cell, reverse):
    """The layer's output and its last h and c."""
    bias = bias_ih
    if cell != "gru" and bias_hh is not None:
        bias = bias_hh if bias_ih is None else bias_ih + bias_hh
    gates = ctorch.nn.functional.linear(data, weight_ih, bias)
    parts = list(gates.split(list(batch_sizes)))
    outputs = list(parts)
    for t in reversed(range(len(parts))) if reverse else range(len(parts)):
        n = batch_sizes[t]
        new_h, new_c = _step(
            cell, parts[t], h[:n], None if c is None else c[:n], weight_hh, bias_hh, weight_hr
        )
        outputs[t] = new_h
        h = ctorch.cat([new_h, h[n:]])
        c = None if c is None else ctorch.cat([new_c, c[n:]])
    return ctorch.cat(outputs), h, c


def _layer(
    gs,
    data,
    h0,
    c0,
    weight_ih,
    weight_hh,
    bias_ih,
    bias_hh,
    weight_hr,
    batch_sizes,
    cell,
    reverse,
    out0,
    out3,
    out4,
    out5,
):
    grads = gs[:3]
    inputs = (data, h0, c0, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr)
    if not ctorch.is_grad_enabled():
        weights = any(w is not None and w.requires_grad for w in (weight_ih, weight_hh, weight_hr))
        backward: Any = _C._rnn_layer_backward
        return backward(
            *grads, *inputs, batch_sizes, cell, reverse, out0, out3, out4, out5, data.requires_grad, weights
        )
    results = _composed(*inputs, batch_sizes, cell, reverse)
    pairs = [(result, g) for result, g in zip(results, grads) if g is not None and result is not None]
    wanted = [t for t in inputs if t is not None and t.requires_grad]
    found = iter(
        ctorch.autograd.grad(
            [r for r, _ in pairs], wanted, [g for _, g in pairs], create_graph=True, allow_unused=True
        )
    )
    return tuple(next(found) if t is not None and t.requires_grad else None for t in inputs)


define(
    "_rnn_layer",
    data=_layer,
    h0=_layer,
    c0=_layer,
    weight_ih=_layer,
    weight_hh=_layer,
    bias_ih=_layer,
    bias_hh=_layer,
    weight_hr=_layer,
    node="RnnLayerBackward0",
)
not_differentiable("_rnn_layer_backward")
