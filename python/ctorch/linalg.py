"""Linear algebra: what of torch.linalg is here so far."""

from __future__ import annotations

from ctorch import _C
from ctorch._einsum import linalg_cross as cross
from ctorch._einsum import multi_dot
from ctorch._norms import matrix_norm, norm

_PREFIX = "linalg_"
__all__ = [
    name.removeprefix(_PREFIX)
    for name in dir(_C)
    if name.startswith(_PREFIX) and not name.endswith("_backward")
]
globals().update({name: getattr(_C, _PREFIX + name) for name in __all__})
if hasattr(_C._functions, "matmul"):
    matmul = _C.matmul
    __all__.append("matmul")
__all__ += ["cross", "matrix_norm", "multi_dot", "norm"]
