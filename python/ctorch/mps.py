"""What PyTorch's torch.mps answers where there is no Apple GPU."""

from __future__ import annotations


def is_available() -> bool:
    return False


def device_count() -> int:
    return 0


def manual_seed(seed: int) -> None:
    """Nothing: there is no such device."""


def empty_cache() -> None:
    """Nothing: there is no such device."""


def synchronize() -> None:
    """Nothing: there is no such device."""
