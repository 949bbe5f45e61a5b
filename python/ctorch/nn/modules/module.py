"""Module and what goes with it, under the name by which programs written for PyTorch import it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from ..hooks import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
)
from ..module import Module
from ..state import _IncompatibleKeys as _IncompatibleKeys

__all__ = [
    "Module",
    "register_module_forward_hook",
    "register_module_forward_pre_hook",
    "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook",
]

T_destination = TypeVar("T_destination", bound=Mapping[str, Any])
