"""Operations that can write their result into their input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._C import Tensor


def maybe_inplace(inplace: bool, function: Callable[..., Tensor], input: Tensor, *args: Any) -> Tensor:
    """``function(input, *args)``, written back into ``input`` if so asked.

    It is computed from a copy then, as a derivative may need the values that the writing destroys.
    """
    if not inplace:
        return function(input, *args)
    return input.copy_(function(input.clone(), *args))
