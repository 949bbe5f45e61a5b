"""PyTorch's old name of a tensor that takes part in differentiation."""

from __future__ import annotations

from typing import Any

from ctorch import _C
from ctorch._C import Tensor


class _VariableMeta(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Tensor)


class Variable(metaclass=_VariableMeta):
    """``Variable(data, requires_grad=False)`` is a tensor of the elements of data, without its history; every tensor is an
    instance.
    """

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = False) -> Tensor:  # type: ignore[misc]
        if data is not None and not isinstance(data, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(data).__name__}")
        made = _C.empty(0) if data is None else data.detach()
        return made.requires_grad_(requires_grad)
