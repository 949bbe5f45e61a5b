"""The default random stream: seeding, saving, restoring. It gives the numbers of PyTorch on the CPU."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from ._C import Generator, Tensor, default_generator

__all__ = [
    "Generator",
    "default_generator",
    "fork_rng",
    "get_rng_state",
    "initial_seed",
    "manual_seed",
    "seed",
    "set_rng_state",
]


def manual_seed(seed: int) -> Generator:
    """Start the stream of ``seed``, in [-2^63, 2^64); negative seeds wrap. Returns the default generator."""
    return default_generator.manual_seed(int(seed))


def seed() -> int:
    """Start the stream of a seed from the system's entropy, and return the seed."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed of the stream at hand."""
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """The state of the stream as a ByteTensor, which ``torch.set_rng_state`` takes, too."""
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Go on from a state of :func:`get_rng_state`."""
    default_generator.set_state(new_state)


@contextlib.contextmanager
def fork_rng(
    devices: Iterable[Any] | None = None,
    enabled: bool = True,
    _caller: str = "fork_rng",
    _devices_kw: str = "devices",
    device_type: str = "cpu",
) -> Iterator[None]:
    """On leaving the context the stream is where it was on entering. ``devices`` has nothing to name."""
    if not enabled:
        yield
        return
    state = get_rng_state()
    try:
        yield
    finally:
        set_rng_state(state)
