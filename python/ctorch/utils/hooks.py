"""Handles that undo the registration of a hook."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

_ids = itertools.count()


class RemovableHandle:
    """Removes a hook from the dictionary that holds it; also a context manager that does so on exit.

    Args:
        hooks: the dictionary of hooks by id. The caller files its hook there under ``handle.id``.
        extra: further dictionaries that may hold a remark under the same id.
    """

    __slots__ = ("__weakref__", "_dicts", "id")

    def __init__(self, hooks: dict[int, Any], extra: Iterable[dict[int, Any]] = ()) -> None:
        self.id = next(_ids)
        self._dicts = (hooks, *extra)

    def remove(self) -> None:
        """Remove the hook; a second call does nothing."""
        for hooks in self._dicts:
            hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def add_hook(
    hooks: OrderedDict[int, Any],
    hook: Any,
    *,
    prepend: bool = False,
    remarks: Iterable[tuple[dict[int, Any], bool]] = (),
) -> RemovableHandle:
    """File ``hook`` in ``hooks`` (first if ``prepend``) and return the handle that removes it.

    Args:
        remarks: pairs of a dictionary and a flag; where the flag is true the dictionary notes the hook's id.
    """
    remarks = tuple(remarks)
    handle = RemovableHandle(hooks, [notes for notes, _ in remarks])
    hooks[handle.id] = hook
    for notes, flag in remarks:
        if flag:
            notes[handle.id] = True
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle
