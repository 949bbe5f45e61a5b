"""ctorch: PyTorch's API on a small, fast C++ engine. Use it as ``import ctorch as torch``."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    get_default_dtype,
    get_num_threads,
    is_grad_enabled,
    is_inference_mode_enabled,
    layout,
    memory_format,
    memory_stats,
    reset_peak_memory_stats,
    set_num_threads,
)
from ctorch._version import __version__
from ctorch.dtypes import *  # noqa: F403
from ctorch.dtypes import _constant

if TYPE_CHECKING:
    from ctorch._C import *  # noqa: F403
globals().update({name: getattr(_C._functions, name) for name in dir(_C._functions) if not name.startswith("__")})

from ctorch import _tensor  # noqa: E402, F401  (completes the Tensor class)
from ctorch import autograd  # noqa: E402
from ctorch._einsum import *  # noqa: E402, F403
from ctorch._repr import get_printoptions, set_printoptions  # noqa: E402
from ctorch.autograd import enable_grad, inference_mode, no_grad, set_grad_enabled  # noqa: E402
from ctorch.composite import *  # noqa: E402, F403
from ctorch.legacy import *  # noqa: E402, F403
from ctorch.random import *  # noqa: E402, F403
from ctorch.runtime import *  # noqa: E402, F403
from ctorch.serialization import load, save  # noqa: E402
from ctorch import (  # noqa: E402
    __config__,
    backends,
    cuda,
    linalg,
    mps,
    nn,
    optim,
    random,
    special,
    testing,
    utils,
    version,
)
