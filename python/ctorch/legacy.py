"""PyTorch's old constructors: FloatTensor(2, 3), LongTensor([1, 2]), and isinstance checks against them."""

from __future__ import annotations

from typing import Any

from ctorch import _C
from ctorch._C import Tensor
from ctorch._tensor import _TYPE_NAMES

__all__ = list(_TYPE_NAMES)


class _TypedTensor(type):
    """The class of such a constructor: isinstance() looks at the dtype."""

    dtype: Any

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Tensor) and instance.dtype is cls.dtype

    def __call__(cls, *args: Any, **kwargs: Any) -> Tensor:
        if len(args) == 1 and not isinstance(args[0], int):
            if isinstance(args[0], Tensor) and args[0].dtype is not cls.dtype:
                raise TypeError(
                    f"{cls.__name__}: expected a tensor of dtype {cls.dtype}, got {args[0].dtype}"
                )
            return (
                _C.empty(args[0], dtype=cls.dtype)
                if isinstance(args[0], _C.Size)
                else _C.tensor(args[0], dtype=cls.dtype)
            )
        return _C.empty(args if args else (0,), dtype=cls.dtype)


for _name, _dtype in _TYPE_NAMES.items():
    globals()[_name] = _TypedTensor(
        _name,
        (),
        {
            "dtype": _dtype,
            "__module__": "ctorch",
            "__doc__": f"Makes tensors of dtype {_dtype}: from sizes, or from data.",
        },
    )
