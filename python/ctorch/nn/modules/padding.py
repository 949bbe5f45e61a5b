"""Padding layers: elements added at the ends of the last dimensions."""

from __future__ import annotations

from typing import Any

from ..._C import Tensor
from .. import functional as F
from ..module import Module
from .conv import as_tuple

__all__ = [
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
]


class _Pad(Module):
    """What the paddings share.

    Args:
        padding: a number, or (before, after) of the last dimension, then of the one before it, and so on.
            Negative numbers take elements away.
    """

    _ndim: int
    _mode: str

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = as_tuple(padding, 2 * self._ndim)

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, self._mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _CircularPad(_Pad):
    _mode = "circular"

    def forward(self, input: Tensor) -> Tensor:
        if input.dim() not in (self._ndim + 1, self._ndim + 2):
            raise ValueError(
                f"expected {self._ndim + 1}D or {self._ndim + 2}D input (got {input.dim()}D input)"
            )
        return super().forward(input)


class _ConstantPad(_Pad):
    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class _ReflectionPad(_Pad):
    _mode = "reflect"


class _ReplicationPad(_Pad):
    _mode = "replicate"


class CircularPad1d(_CircularPad):
    """Adds the elements of the other end at the ends of the last dimension."""

    _ndim = 1


class CircularPad2d(_CircularPad):
    """Adds the elements of the other end at the ends of the last two dimensions."""

    _ndim = 2


class CircularPad3d(_CircularPad):
    """Adds the elements of the other end at the ends of the last three dimensions."""

    _ndim = 3


class ConstantPad1d(_ConstantPad):
    """Adds ``value`` at the ends of the last dimension."""

    _ndim = 1


class ConstantPad2d(_ConstantPad):
    """Adds ``value`` at the ends of the last two dimensions."""

    _ndim = 2


class ConstantPad3d(_ConstantPad):
    """Adds ``value`` at the ends of the last three dimensions."""

    _ndim = 3


class ReflectionPad1d(_ReflectionPad):
    """Adds the mirror image, without the end element, at the ends of the last dimension."""

    _ndim = 1


class ReflectionPad2d(_ReflectionPad):
    """Adds the mirror image, without the end element, at the ends of the last two dimensions."""

    _ndim = 2


class ReflectionPad3d(_ReflectionPad):
    """Adds the mirror image, without the end element, at the ends of the last three dimensions."""

    _ndim = 3


class ReplicationPad1d(_ReplicationPad):
    """Repeats the end elements at the ends of the last dimension."""

    _ndim = 1


class ReplicationPad2d(_ReplicationPad):
    """Repeats the end elements at the ends of the last two dimensions."""

    _ndim = 2


class ReplicationPad3d(_ReplicationPad):
    """Repeats the end elements at the ends of the last three dimensions."""

    _ndim = 3


class ZeroPad1d(ConstantPad1d):
    """Adds zeros at the ends of the last dimension."""

    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad2d(ConstantPad2d):
    """Adds zeros at the ends of the last two dimensions."""

    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad3d(ConstantPad3d):
    """Adds zeros at the ends of the last three dimensions."""

    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"
