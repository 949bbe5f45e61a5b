"""From a list of samples to a batch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import ctorch

from ..._C import Tensor


def _is_numpy(value: Any) -> bool:
    """Whether ``value`` is a NumPy array or number (text excepted), found without importing NumPy."""
    cls = type(value)
    return cls.__module__ == "numpy" and cls.__name__ not in ("str_", "bytes_", "string_")


def _rebuild(value: Any, convert: Callable[[Any], Any], items: Any) -> Any:
    """A container like ``value`` of ``convert`` of each of ``items``; a plain one if its class resists."""
    if isinstance(value, Mapping):
        plain: Any = {key: convert(item) for key, item in items}
        mutable = isinstance(value, MutableMapping)
    else:
        plain = [convert(item) for item in items]
        mutable = isinstance(value, MutableSequence)
    try:
        if not mutable:
            return type(value)(plain)
        result = copy.copy(value)
        if isinstance(value, Mapping):
            result.update(plain)
        else:
            for i, item in enumerate(plain):
                result[i] = item
        return result
    except TypeError:
        return plain


def default_convert(data: Any) -> Any:
    """Return ``data`` with the NumPy arrays and numbers in it as tensors, containers and all."""
    if isinstance(data, Tensor):
        return data
    if _is_numpy(data):
        is_array = type(data).__name__ == "ndarray"
        return data if is_array and data.dtype.kind in "SaUO" else ctorch.as_tensor(data)
    if isinstance(data, Mapping):
        return _rebuild(data, default_convert, data.items())
    if isinstance(data, tuple):
        parts = [default_convert(item) for item in data]
        return type(data)(*parts) if hasattr(data, "_fields") else parts
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _rebuild(data, default_convert, data)
    return data


def default_collate(batch: Sequence[Any]) -> Any:
    """Make a batch of samples of one kind.

    Tensors and NumPy arrays are stacked, numbers become a tensor, text a list; a batch of containers becomes
    a container of batches (of plain tuples: a list).
    Raises: TypeError for samples of another kind, RuntimeError for sequences of unequal length.
    """
    first = batch[0]
    if isinstance(first, Tensor):
        return ctorch.stack(list(batch), 0)
    if _is_numpy(first):
        return _collate_numpy(batch)
    if isinstance(first, float):
        return ctorch.tensor(batch, dtype=ctorch.float64)
    if isinstance(first, int):
        return ctorch.tensor(batch)
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, Mapping):
        pairs = [(key, [sample[key] for sample in batch]) for key in first]
        return _rebuild(first, default_collate, pairs)
    if isinstance(first, Sequence):
        if any(len(sample) != len(first) for sample in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        columns = list(zip(*batch))
        if isinstance(first, tuple):
            parts = [default_collate(column) for column in columns]
            return type(first)(*parts) if hasattr(first, "_fields") else parts
        return _rebuild(first, default_collate, columns)
    raise TypeError(
        "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; "
        f"found {type(first)}"
    )


def _collate_numpy(batch: Sequence[Any]) -> Any:
    first = batch[0]
    if type(first).__name__ == "ndarray":
        if first.dtype.kind in "SaUO":
            raise TypeError(
                "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; "
                f"found {first.dtype}"
            )
        return default_collate([ctorch.as_tensor(array) for array in batch])
    return ctorch.stack([ctorch.as_tensor(number) for number in batch])
