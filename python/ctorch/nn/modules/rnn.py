"""Recurrent layers: RNN, LSTM and GRU over sequences, and their cells for one step."""

from __future__ import annotations

import math
import warnings
from typing import Any

import ctorch

from ..._C import Tensor
from .. import init, recurrent
from ..module import Module
from ..parameter import Parameter
from ..utils.rnn import PackedSequence

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNBase", "RNNCell", "RNNCellBase"]


class RNNBase(Module):
    """What the recurrent layers have in common: weights, layouts, checks.

    Attributes, for layer k from 0 on, and once more with the suffix _reverse for the other direction:
        weight_ih_l{k}: (G * hidden_size, width of what goes in), G = 4, 3 or 1 gates.
        weight_hh_l{k}: (G * hidden_size, width of h).
        bias_ih_l{k}, bias_hh_l{k}: (G * hidden_size,).
        weight_hr_l{k}: (proj_size, hidden_size), with proj_size alone.
    All are at first uniform in +-1 / sqrt(hidden_size).
    """

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if mode not in recurrent.CELLS:
            raise ValueError(f"Unrecognized RNN mode: {mode!r}")
        for what, size in (("hidden_size", hidden_size), ("num_layers", num_layers)):
            if not isinstance(size, int):
                raise TypeError(f"{name}: {what} should be of type int, got: {type(size).__name__}")
            if size <= 0:
                raise ValueError(f"{name}: {what} must be greater than zero, got {size}")
        if not isinstance(dropout, (int, float)) or isinstance(dropout, bool) or not 0 <= dropout <= 1:
            raise ValueError(f"{name}: dropout should be a number in range [0, 1], got {dropout!r}")
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects "
                f"num_layers greater than 1, but got dropout={dropout} and num_layers={num_layers}",
                stacklevel=3,
            )
        if not 0 <= proj_size < hidden_size:
            raise ValueError(f"{name}: proj_size must be from 0 to below hidden_size, got {proj_size}")
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        gates = recurrent.GATES[recurrent.CELLS[mode]] * hidden_size
        width = proj_size or hidden_size

        def parameter(*size: int) -> Parameter:
            return Parameter(ctorch.empty(size, device=device, dtype=dtype))

        for k in range(num_layers):
            incoming = input_size if k == 0 else width * self._directions
            for suffix in self._suffixes(k):
                self.register_parameter(f"weight_ih{suffix}", parameter(gates, incoming))
                self.register_parameter(f"weight_hh{suffix}", parameter(gates, width))
                if bias:
                    self.register_parameter(f"bias_ih{suffix}", parameter(gates))
                    self.register_parameter(f"bias_hh{suffix}", parameter(gates))
                if proj_size:
                    self.register_parameter(f"weight_hr{suffix}", parameter(proj_size, hidden_size))
        self.reset_parameters()

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def _suffixes(self, k: int) -> list[str]:
        return [f"_l{k}", f"_l{k}_reverse"][: self._directions]

    def reset_parameters(self) -> None:
        """Draw new values."""
        bound = 1 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def flatten_parameters(self) -> None:
        """Nothing: the weights need no common memory here."""

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each layer and direction."""
        return [
            [w for w in self._weights(suffix) if w is not None]
            for k in range(self.num_layers)
            for suffix in self._suffixes(k)
        ]

    def _weights(self, suffix: str) -> list[Any]:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        return [getattr(self, name + suffix, None) for name in names]

    def extra_repr(self) -> str:
        parts = [f"{self.input_size}, {self.hidden_size}"]
        parts += [f"proj_size={self.proj_size}"] * bool(self.proj_size)
        parts += [f"num_layers={self.num_layers}"] * (self.num_layers != 1)
        parts += [f"bias={self.bias}"] * (self.bias is not True)
        parts += [f"batch_first={self.batch_first}"] * (self.batch_first is not False)
        parts += [f"dropout={self.dropout}"] * bool(self.dropout)
        parts += [f"bidirectional={self.bidirectional}"] * (self.bidirectional is not False)
        return ", ".join(parts)

    def _check_input(self, input: Tensor, dims: tuple[int, ...]) -> None:
        name = type(self).__name__
        if input.dim() not in dims:
            expected = " or ".join(f"{d}-D" for d in dims)
            raise ValueError(f"{name}: Expected input to be {expected}, got {input.dim()}D instead")
        if input.dtype != self.weight_ih_l0.dtype:
            raise ValueError(
                f"{name}: RNN input dtype ({input.dtype}) does not match weight dtype ({self.weight_ih_l0.dtype})"
            )
        if input.size(-1) != self.input_size:
            raise RuntimeError(
                f"{name}: input.size(-1) must be equal to input_size. Expected {self.input_size}, got "
                f"{input.size(-1)}"
            )

    def _state(self, state: Tensor | None, batch: int, width: int, input: Tensor, name: str) -> Tensor:
        """A state (layers * directions, batch, width): zeros, or the one given, checked."""
        size = (self.num_layers * self._directions, batch, width)
        if state is None:
            return input.new_zeros(size)
        if tuple(state.shape) != size:
            raise RuntimeError(f"Expected hidden {name} size {size}, got {list(state.shape)}")
        return state

    def _run(self, input: Any, h: Any, c: Any, given: bool) -> tuple[Any, Tensor, Any]:
        """The output, in the form of the input, and the last h and c."""
        packed = isinstance(input, PackedSequence)
        sequence: Any = input if packed else None
        batched = True
        if packed:
            data, sizes = input.data, input.batch_sizes.tolist()
            self._check_input(data, (2,))
            batch = sizes[0]
        else:
            self._check_input(input, (2, 3))
            batched = input.dim() == 3
            for state, name in ((h, "hx"), (c, "cx")):
                if state is not None and state.dim() != input.dim():
                    raise RuntimeError(
                        f"For {'batched' if batched else 'unbatched'} {input.dim()}-D input, {name} should also be "
                        f"{input.dim()}-D but got {state.dim()}-D tensor"
                    )
            x = input if batched else input.unsqueeze(1)
            if batched and self.batch_first:
                x = x.transpose(0, 1)
            h, c = (s if s is None or batched else s.unsqueeze(1) for s in (h, c))
            steps, batch = x.shape[:2]
            if steps == 0:
                raise RuntimeError(f"{type(self).__name__}: expected sequence length to be larger than 0")
            data, sizes = x.reshape(steps * batch, x.size(2)), [batch] * steps
        lstm = self.mode == "LSTM"
        h = self._state(h, batch, self.proj_size or self.hidden_size, data, "[0]" if lstm else "state")
        c = self._state(c, batch, self.hidden_size, data, "[1]") if lstm else None
        if packed and given and sequence.sorted_indices is not None:
            h, c = (s if s is None else s.index_select(1, sequence.sorted_indices) for s in (h, c))
        weights = [self._weights(suffix) for k in range(self.num_layers) for suffix in self._suffixes(k)]
        if batch == 0:  # no rows, no steps to run
            out = data.new_zeros((0, (self.proj_size or self.hidden_size) * self._directions))
            h, c = h.clone(), None if c is None else c.clone()
        else:
            out, h, c = recurrent.stack(
                recurrent.CELLS[self.mode],
                data,
                sizes,
                h,
                c,
                weights,
                self._directions,
                self.dropout,
                self.training,
            )
        if packed:
            if sequence.unsorted_indices is not None:
                h, c = (s if s is None else s.index_select(1, sequence.unsorted_indices) for s in (h, c))
            return sequence._with(out), h, c
        out = out.reshape(steps, batch, out.size(1))
        if not batched:
            return out.squeeze(1), h.squeeze(1), c if c is None else c.squeeze(1)
        return (out.transpose(0, 1) if self.batch_first else out), h, c

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        output, h, _ = self._run(input, hx, None, hx is not None)
        return output, h


class RNN(RNNBase):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu, over the steps of sequences.

    Args:
        input_size, hidden_size: the widths of x and h.
        num_layers: layers one above the other.
        nonlinearity: "tanh" or "relu".
        batch_first: whether input and output are (B, T, width) rather than (T, B, width).
        dropout: of what goes from layer to layer, in training.
        bidirectional: whether a second set of weights runs from the end; the outputs are joined.
    Call: ``output, h_n = rnn(input, h_0)``; input (T, B, input_size), (T, input_size) for one sequence, or a
    PackedSequence; output (T, B, D * hidden_size); h (D * num_layers, B, hidden_size) with D directions, at first 0.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if len(args) > 3:  # (input_size, hidden_size, num_layers, nonlinearity, ...)
            kwargs["nonlinearity"], args = args[3], args[:3] + args[4:]
        self.nonlinearity = kwargs.pop("nonlinearity", "tanh")
        if kwargs.pop("proj_size", 0):
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        if self.nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNN: unknown nonlinearity {self.nonlinearity!r}; expected 'tanh' or 'relu'")
        super().__init__(f"RNN_{self.nonlinearity.upper()}", *args, **kwargs)


class GRU(RNNBase):
    """Gated recurrent units (Cho et al., 2014) over the steps of sequences.

        r = sigmoid(W_ir x + b_ir + W_hr h + b_hr),  z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)
        n = tanh(W_in x + b_in + r (W_hn h + b_hn)),  h' = (1 - z) n + z h

    Arguments and shapes are those of RNN, but for nonlinearity.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if kwargs.pop("proj_size", 0):
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        super().__init__("GRU", *args, **kwargs)


class LSTM(RNNBase):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997) over the steps of sequences.

        i, f, o = sigmoid(W_i. x + b_i. + W_h. h + b_h.),  g = tanh(W_ig x + b_ig + W_hg h + b_hg)
        c' = f c + i g,  h' = o tanh(c')

    Arguments are those of RNN, but for nonlinearity, and:
        proj_size: the width that h' is projected to by weight_hr; 0 for none.
    Call: ``output, (h_n, c_n) = lstm(input, (h_0, c_0))``; c is (D * num_layers, B, hidden_size).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, tuple[Tensor, Tensor]]:
        h, c = (None, None) if hx is None else hx
        output, h, c = self._run(input, h, c, hx is not None)
        return output, (h, c)


class RNNCellBase(Module):
    """What the cells have in common.

    Attributes:
        weight_ih: (G * hidden_size, input_size), weight_hh: (G * hidden_size, hidden_size), G = 4, 3 or 1 gates.
        bias_ih, bias_hh: (G * hidden_size,), or None.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool,
        num_chunks: int,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        gates = num_chunks * hidden_size

        def parameter(*size: int) -> Parameter:
            return Parameter(ctorch.empty(size, device=device, dtype=dtype))

        self.weight_ih = parameter(gates, input_size)
        self.weight_hh = parameter(gates, hidden_size)
        self.register_parameter("bias_ih", parameter(gates) if bias else None)
        self.register_parameter("bias_hh", parameter(gates) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new values."""
        bound = 1 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        if self.bias is not True:
            text += f", bias={self.bias}"
        if getattr(self, "nonlinearity", "tanh") != "tanh":
            text += f", nonlinearity={self.nonlinearity}"
        return text

    def _step(self, cell: str, input: Tensor, h: Tensor | None, c: Tensor | None) -> tuple[Tensor, Any]:
        name = type(self).__name__
        if input.dim() not in (1, 2):
            raise ValueError(f"{name}: Expected input to be 1D or 2D, got {input.dim()}D instead")
        if input.size(-1) != self.input_size:
            raise RuntimeError(
                f"{name}: input has inconsistent input_size: got {input.size(-1)} expected {self.input_size}"
            )
        batched = input.dim() == 2
        x = input if batched else input.unsqueeze(0)
        states = []
        for state, what in ((h, "hidden"), (c, "cell state")):
            if state is None:
                state = x.new_zeros((len(x), self.hidden_size))
            else:
                if state.dim() != input.dim():
                    raise ValueError(
                        f"{name}: Expected {what} to be {input.dim()}D as input, got {state.dim()}D instead"
                    )
                state = state if batched else state.unsqueeze(0)
                if tuple(state.shape) != (len(x), self.hidden_size):
                    raise RuntimeError(
                        f"{name}: {what} of shape {tuple(state.shape)} does not fit input {tuple(x.shape)} and "
                        f"hidden_size {self.hidden_size}"
                    )
            states.append(state)
        weights = [self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh, None]
        h, c = recurrent.step(cell, x, states[0], states[1] if cell == "lstm" else None, weights)
        return (h, c) if batched else (h.squeeze(0), c if c is None else c.squeeze(0))


class RNNCell(RNNCellBase):
    """One step of RNN: ``h = cell(input, h)``, input (B, input_size) or (input_size,)."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNNCell: unknown nonlinearity {nonlinearity!r}; expected 'tanh' or 'relu'")
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return self._step(self.nonlinearity, input, hx, None)[0]


class LSTMCell(RNNCellBase):
    """One step of LSTM: ``h, c = cell(input, (h, c))``, input (B, input_size) or (input_size,)."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        return self._step("lstm", input, *(hx or (None, None)))


class GRUCell(RNNCellBase):
    """One step of GRU: ``h = cell(input, h)``, input (B, input_size) or (input_size,)."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return self._step("gru", input, hx, None)[0]
