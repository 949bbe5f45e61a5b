"""Finding the operation whose derivative fails or gives nan."""

from __future__ import annotations

import warnings

from ctorch import _C

__all__ = ["detect_anomaly", "set_detect_anomaly"]


class set_detect_anomaly:
    """Turn anomaly mode on or off: as a function from now on, as a context for a block.

    In anomaly mode, nodes remember where they were made. A backward pass that fails shows that place, in a
    warning; with check_nan it fails, naming the node, as soon as a node makes a gradient with nan.
    """

    def __init__(self, mode: bool, check_nan: bool = True):
        self._previous = _C.is_anomaly_enabled(), _C.is_anomaly_check_nan_enabled()
        _C._set_anomaly_mode(mode, check_nan)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        _C._set_anomaly_mode(*self._previous)


class detect_anomaly:
    """Anomaly mode for a block: see set_detect_anomaly."""

    def __init__(self, check_nan: bool = True):
        self._check_nan = check_nan
        warnings.warn(
            "Anomaly Detection has been enabled. This mode will increase the runtime and should only be enabled for debugging.",
            stacklevel=2,
        )

    def __enter__(self) -> None:
        self._previous = _C.is_anomaly_enabled(), _C.is_anomaly_check_nan_enabled()
        _C._set_anomaly_mode(True, self._check_nan)

    def __exit__(self, *exc: object) -> None:
        _C._set_anomaly_mode(*self._previous)
