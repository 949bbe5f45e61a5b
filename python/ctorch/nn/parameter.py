"""Tensors that a module owns: parameters, which an optimizer changes, and buffers, which it does not."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import ctorch

from .._C import Tensor


class Parameter(Tensor):
    """A tensor that becomes a parameter of the module it is assigned to.

    Args:
        data: the values, shared and not copied; None makes an empty parameter.
        requires_grad: whether gradients are computed for it.
    """

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> Parameter:
        if data is None:
            data = ctorch.empty(0)
        elif not isinstance(data, Tensor):
            raise TypeError(f"Parameter: expected data to be a Tensor, got {type(data).__name__}")
        return Tensor._make_subclass(cls, data.detach(), requires_grad)

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        if id(self) in memo:
            return memo[id(self)]
        result = type(self)(self.detach().clone(), self.requires_grad)
        memo[id(self)] = result
        return result

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return "Parameter containing:\n" + super().__repr__()

    def __reduce_ex__(self, protocol: Any) -> Any:
        parts = (self.detach(), self.requires_grad, OrderedDict())
        return (
            (_rebuild_parameter_with_state, (*parts, dict(self.__dict__)))
            if self.__dict__
            else (_rebuild_parameter, parts)
        )


def _rebuild_parameter(data: Tensor, requires_grad: bool, backward_hooks: Any = None) -> Parameter:
    """Make a Parameter again from its pickled parts. Hooks are not pickled; the argument is PyTorch's."""
    return Parameter(data, requires_grad)


def _rebuild_parameter_with_state(
    data: Tensor, requires_grad: bool, backward_hooks: Any, state: dict[str, Any]
) -> Parameter:
    """The same for a Parameter that carries attributes."""
    parameter = Parameter(data, requires_grad)
    parameter.__dict__.update(state)
    return parameter


class Buffer(Tensor):
    """A tensor that becomes a buffer of the module it is assigned to: state that is saved but not trained.

    Args:
        data: the values, shared and not copied; None makes an empty buffer.
        persistent: whether the buffer is part of the module's ``state_dict``.
    """

    persistent: bool

    def __new__(cls, data: Tensor | None = None, *, persistent: bool = True) -> Buffer:
        if data is None:
            data = ctorch.empty(0)
        elif not isinstance(data, Tensor):
            raise TypeError(f"Buffer: expected data to be a Tensor, got {type(data).__name__}")
        result = Tensor._make_subclass(cls, data.detach(), data.requires_grad)
        result.persistent = persistent
        return result
