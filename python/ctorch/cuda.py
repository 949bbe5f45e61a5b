"""What PyTorch's torch.cuda answers where there is no GPU, so that portable scripts run."""

from __future__ import annotations

import contextlib
from typing import Any, NoReturn

from ctorch import _C

OutOfMemoryError = _C.OutOfMemoryError
_MESSAGE = "Torch not compiled with CUDA enabled: this build of ctorch runs on the CPU"


def is_available() -> bool:
    """False: this build has no GPU support."""
    return False


def is_initialized() -> bool:
    return False


def is_bf16_supported(including_emulation: bool = True) -> bool:
    return False


def device_count() -> int:
    """0."""
    return 0


def manual_seed(seed: int) -> None:
    """Nothing: there is no GPU."""


def manual_seed_all(seed: int) -> None:
    """Nothing: there is no GPU."""


def seed() -> None:
    """Nothing: there is no GPU."""


seed_all = seed


def empty_cache() -> None:
    """Nothing: there is no GPU."""


def ipc_collect() -> None:
    """Nothing: there is no GPU."""


def memory_allocated(device: Any = None) -> int:
    return 0


max_memory_allocated = memory_reserved = max_memory_reserved = memory_cached = memory_allocated


def reset_peak_memory_stats(device: Any = None) -> None:
    """Nothing: there is no GPU."""


def memory_stats(device: Any = None) -> dict[str, Any]:
    return {}


def get_rng_state_all() -> list[_C.Tensor]:
    return []


def set_rng_state_all(states: Any) -> None:
    if len(list(states)):
        raise AssertionError(_MESSAGE)


def _unavailable(*args: Any, **kwargs: Any) -> NoReturn:
    raise AssertionError(_MESSAGE)


init = current_device = set_device = get_device_name = get_device_properties = get_device_capability = (
    _unavailable
)
synchronize = get_rng_state = set_rng_state = current_stream = Stream = Event = mem_get_info = _unavailable


@contextlib.contextmanager
def device(device: Any):
    """Makes a GPU the current one; with None or a negative index nothing happens."""
    if device is not None and not (isinstance(device, int) and device < 0):
        _unavailable()
    yield
