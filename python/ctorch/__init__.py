"""ctorch: PyTorch's API on a small, fast C++ engine. Use it as ``import ctorch as torch``."""

# Later imports use the names of earlier ones: the order is not alphabetical.
# ruff: noqa: I001
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctorch import _C
from ctorch._C import (
    Generator,
    HookHandle,
    OutOfMemoryError,
    Size,
    Tensor,
    default_generator,
    device,
    dtype,
    empty_cache,
    get_weight_cache_limit,
    get_default_dtype,
    get_num_threads,
    is_grad_enabled,
    is_inference_mode_enabled,
    layout,
    memory_format,
    memory_stats,
    reset_peak_memory_stats,
    set_weight_cache_limit,
    set_flush_denormal,
    set_num_threads,
)
from ctorch._version import __version__
from ctorch.dtypes import *
from ctorch.dtypes import _constant

if TYPE_CHECKING:
    from ctorch._C import *
globals().update(
    {name: getattr(_C._functions, name) for name in dir(_C._functions) if not name.startswith("__")}
)

from ctorch import _tensor
from ctorch import autograd
from ctorch._einsum import *
from ctorch._repr import get_printoptions, set_printoptions
from ctorch.autograd import enable_grad, inference_mode, no_grad, set_grad_enabled
from ctorch.composite import *
from ctorch.legacy import *
from ctorch.random import *
from ctorch.runtime import *
from ctorch.serialization import load, save
from ctorch.storage import TypedStorage, UntypedStorage
from ctorch.nn.functional import (
    alpha_dropout,
    celu,
    celu_,
    feature_alpha_dropout,
    rrelu,
    rrelu_,
    selu,
    selu_,
)
from ctorch import (
    __config__,
    backends,
    cuda,
    linalg,
    mps,
    nn,
    optim,
    random,
    serialization,
    special,
    storage,
    testing,
    types,
    utils,
    version,
)


def __getattr__(name: str) -> Any:
    if name == "vision":  # loaded when first asked for: most programs do without it
        from importlib import import_module

        return import_module("ctorch.vision")
    raise AttributeError(f"module 'ctorch' has no attribute {name!r}")
