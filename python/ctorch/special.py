"""Special functions, under PyTorch's names in torch.special."""

from __future__ import annotations

from ctorch import _C

_NAMES = [
    "digamma", "entr", "erf", "erfc", "erfinv", "exp2", "expm1", "i0", "log1p", "log_softmax", "logit", "logsumexp", "round",
    "sinc", "softmax", "xlogy",
]  # fmt: skip
__all__ = [name for name in _NAMES if hasattr(_C._functions, name)]
globals().update({name: getattr(_C._functions, name) for name in __all__})
for _new, _old in (("expit", "sigmoid"), ("gammaln", "lgamma"), ("psi", "digamma")):
    if hasattr(_C._functions, _old):
        globals()[_new] = getattr(_C._functions, _old)
        __all__.append(_new)
