"""Whether operations are recorded: contexts that are decorators too."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ctorch import _C

_GENERATOR = 0x20  # CO_GENERATOR of a code object; importing inspect for it would take 5 ms


class _Mode:
    """A context manager; on a function (also a generator function or a class's methods) a decorator."""

    def clone(self) -> _Mode:
        return type(self)()

    def __call__(self, fn: Callable) -> Callable:
        if getattr(getattr(fn, "__code__", None), "co_flags", 0) & _GENERATOR:

            @functools.wraps(fn)
            def generator(*args: Any, **kwargs: Any) -> Any:
                running = fn(*args, **kwargs)
                try:
                    with self.clone():
                        item = next(running)
                    while True:
                        # Whatever the caller does to this generator reaches fn, in the mode.
                        try:
                            sent = yield item
                        except GeneratorExit:
                            with self.clone():
                                running.close()
                            raise
                        except BaseException as error:
                            with self.clone():
                                item = running.throw(error)
                        else:
                            with self.clone():
                                item = running.send(sent)
                except StopIteration as stop:
                    return stop.value

            return generator

        @functools.wraps(fn)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self.clone():
                return fn(*args, **kwargs)

        return wrapper

    def __enter__(self) -> None:
        self._previous = _C.is_grad_enabled()
        self._enter()

    def _enter(self) -> None:
        raise AssertionError

    def __exit__(self, *exc: object) -> None:
        _C._set_grad_enabled(self._previous)


class no_grad(_Mode):
    """Within it nothing is recorded. A context manager and a decorator (with or without parentheses)."""

    def __new__(cls, fn: Callable | None = None):
        return super().__new__(cls) if fn is None else cls()(fn)

    def __init__(self, fn: Callable | None = None):
        pass

    def _enter(self) -> None:
        _C._set_grad_enabled(False)


class enable_grad(_Mode):
    """Within it operations are recorded, also below no_grad()."""

    def __new__(cls, fn: Callable | None = None):
        return super().__new__(cls) if fn is None else cls()(fn)

    def __init__(self, fn: Callable | None = None):
        pass

    def _enter(self) -> None:
        _C._set_grad_enabled(True)


class set_grad_enabled(_Mode):
    """Turn recording on or off: as a function from now on, as a context for a block."""

    def __init__(self, mode: bool):
        self._before = _C.is_grad_enabled()
        self.mode = mode
        _C._set_grad_enabled(mode)

    def clone(self) -> set_grad_enabled:
        return set_grad_enabled(self.mode)

    def __call__(self, fn: Callable) -> Callable:
        _C._set_grad_enabled(self._before)  # a decorator changes nothing until the function runs
        return super().__call__(fn)

    def __enter__(self) -> None:
        self._previous = self._before
        _C._set_grad_enabled(self.mode)


class inference_mode(_Mode):
    """no_grad() whose results can never take part in a graph."""

    def __new__(cls, mode: bool | Callable = True):
        return super().__new__(cls) if isinstance(mode, bool) else cls()(mode)

    def __init__(self, mode: bool | Callable = True):
        self.mode = mode

    def clone(self) -> inference_mode:
        return inference_mode(self.mode)

    def __enter__(self) -> None:
        self._previous = _C.is_grad_enabled()
        self._inference = _C.is_inference_mode_enabled()
        _C._set_inference_mode(bool(self.mode))
        if self.mode:
            _C._set_grad_enabled(False)

    def __exit__(self, *exc: object) -> None:
        _C._set_inference_mode(self._inference)
        _C._set_grad_enabled(self._previous)


class set_multithreading_enabled:
    """Accepted for portability: the backward pass runs in the calling thread, its kernels in several."""

    def __init__(self, mode: bool):
        self.mode = mode

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        pass
