"""Recurrent layers as functions: stacks of layers in one or both directions over packed sequences, and single steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ctorch import _C
from ctorch._C import Tensor

# What the modes are called in the modules, and the cell of the engine.
CELLS = {"LSTM": "lstm", "GRU": "gru", "RNN_TANH": "tanh", "RNN_RELU": "relu"}
GATES = {"lstm": 4, "gru": 3, "tanh": 1, "relu": 1}

Weights = Sequence[Any]  # weight_ih, weight_hh, bias_ih, bias_hh, weight_hr; None where there is none


def layer(
    cell: str,
    data: Tensor,
    batch_sizes: Sequence[int],
    h: Tensor,
    c: Tensor | None,
    weights: Weights,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """One direction of one layer.

    Args:
        data: (N, I), the rows of all time steps, one step after the other.
        batch_sizes: how many of them each step has; they belong to the first sequences.
        h, c: (B, P) and (B, H) before the first step; c for "lstm" alone.
    Returns: the output (N, P), and h and c after the last step of each sequence.
    """
    weight_ih, weight_hh, bias_ih, bias_hh, weight_hr = weights
    sizes = list(batch_sizes)
    out, h, last_c = _C._rnn_layer(
        data, h, c, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, sizes, cell, reverse
    )[:3]
    return out, h, last_c if cell == "lstm" else None


def stack(
    cell: str,
    data: Tensor,
    batch_sizes: Sequence[int],
    h0: Tensor,
    c0: Tensor | None,
    weights: Sequence[Weights],
    directions: int,
    dropout: float,
    training: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Layers one above the other; `weights` and the states' dim 0 go by layer, then by direction.

    Returns: the output of the last layer, (N, directions * P), and all last states.
    """
    last_h: list[Tensor] = []
    last_c: list[Any] = []
    layers = len(weights) // directions
    for i in range(layers):
        outputs = []
        for d in range(directions):
            k = i * directions + d
            out, h, c = layer(
                cell, data, batch_sizes, h0[k], None if c0 is None else c0[k], weights[k], d == 1
            )
            outputs.append(out)
            last_h.append(h)
            last_c.append(c)
        data = outputs[0] if directions == 1 else _C.cat(outputs, 1)
        if dropout and training and i < layers - 1:
            data = _C.dropout(data, dropout, True)
    return data, _C.stack(last_h), None if c0 is None else _C.stack(last_c)


def step(
    cell: str, input: Tensor, h: Tensor, c: Tensor | None, weights: Weights
) -> tuple[Tensor, Tensor | None]:
    """One time step of a batch of rows."""
    if not len(input):
        return h.clone(), None if c is None else c.clone()
    _, h, c = layer(cell, input, [len(input)], h, c, weights, False)
    return h, c
