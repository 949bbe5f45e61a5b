"""How this build and this machine are set up."""

from __future__ import annotations

from ctorch import _C
from ctorch._version import __version__


def show() -> str:
    """What was built and what was chosen: version, CPU, kernel level and why, threads."""
    return "\n".join(
        [
            f"ctorch {__version__}",
            f"CPU: {_C._cpu_model()}",
            f"kernels: {_C._isa()} ({_C._isa_reason()})",
            f"threads: {_C.get_num_threads()} of {_C._available_cpus()} available CPUs",
            "CUDA: not built",
        ]
    )


def parallel_info() -> str:
    """The threads in use."""
    return f"threads: {_C.get_num_threads()} of {_C._available_cpus()} available CPUs (a pool of its own)"
