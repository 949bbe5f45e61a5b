"""What PyTorch's torch.backends answers, for an engine on the CPU."""

from __future__ import annotations

from types import SimpleNamespace


def _no() -> bool:
    return False


def _yes() -> bool:
    return True


cudnn = SimpleNamespace(
    benchmark=False, deterministic=False, enabled=False, allow_tf32=False, is_available=_no, version=lambda: None,
    is_acceptable=lambda tensor: False,
)  # fmt: skip
cuda = SimpleNamespace(
    is_built=_no, matmul=SimpleNamespace(allow_tf32=False, allow_fp16_reduced_precision_reduction=False), enable_flash_sdp=lambda enabled: None,
    enable_mem_efficient_sdp=lambda enabled: None, enable_math_sdp=lambda enabled: None,
)  # fmt: skip
mps = SimpleNamespace(is_available=_no, is_built=_no)
mkl = SimpleNamespace(is_available=_no)
mkldnn = SimpleNamespace(is_available=_no, enabled=False)
openmp = SimpleNamespace(is_available=_yes)
