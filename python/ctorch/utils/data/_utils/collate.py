"""From a list of samples to a batch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import ctorch

from ...._C import Tensor


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


def collate(batch: Sequence[Any], *, collate_fn_map: Mapping[Any, Callable[..., Any]] | None = None) -> Any:
    """Make a batch of samples: of containers, a container of batches (of plain tuples: a list).

    Args:
        collate_fn_map: for classes of samples, or tuples of classes, functions
            ``f(batch, *, collate_fn_map)`` that make the batch.
    Raises: TypeError for samples of another kind, RuntimeError for sequences of unequal length.
    """
    first = batch[0]
    for kind, function in (collate_fn_map or {}).items():
        if isinstance(first, kind):
            return function(batch, collate_fn_map=collate_fn_map)
    if _is_numpy(first) and collate_fn_map is not None and Tensor in collate_fn_map:
        return _collate_numpy(batch, collate_fn_map)  # its classes are no keys, so as not to import NumPy
    if isinstance(first, Mapping):
        pairs = [(key, [sample[key] for sample in batch]) for key in first]
        return _rebuild(first, lambda part: collate(part, collate_fn_map=collate_fn_map), pairs)
    if isinstance(first, Sequence) and not isinstance(first, (str, bytes)):
        if any(len(sample) != len(first) for sample in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        columns = list(zip(*batch))
        if isinstance(first, tuple):
            parts = [collate(column, collate_fn_map=collate_fn_map) for column in columns]
            return type(first)(*parts) if hasattr(first, "_fields") else parts
        return _rebuild(first, lambda part: collate(part, collate_fn_map=collate_fn_map), columns)
    raise TypeError(
        "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; "
        f"found {type(first)}"
    )


def default_collate(batch: Sequence[Any]) -> Any:
    """Make a batch of samples of one kind.

    Tensors and NumPy arrays are stacked, numbers become a tensor, text a list; a batch of containers becomes
    a container of batches (of plain tuples: a list).
    Raises: TypeError for samples of another kind, RuntimeError for sequences of unequal length.
    """
    return collate(batch, collate_fn_map=default_collate_fn_map)


def _stack(batch: Sequence[Tensor], *, collate_fn_map: Any = None) -> Tensor:
    return ctorch.stack(list(batch), 0)


def _collate_floats(batch: Sequence[float], *, collate_fn_map: Any = None) -> Tensor:
    return ctorch.tensor(batch, dtype=ctorch.float64)


def _collate_ints(batch: Sequence[int], *, collate_fn_map: Any = None) -> Tensor:
    return ctorch.tensor(batch)


def _collate_text(batch: Sequence[Any], *, collate_fn_map: Any = None) -> Any:
    return batch


def _collate_numpy(batch: Sequence[Any], collate_fn_map: Any) -> Any:
    first = batch[0]
    if type(first).__name__ == "ndarray":
        if first.dtype.kind in "SaUO":
            raise TypeError(
                "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; "
                f"found {first.dtype}"
            )
        return collate([ctorch.as_tensor(array) for array in batch], collate_fn_map=collate_fn_map)
    return ctorch.stack([ctorch.as_tensor(number) for number in batch])


# What default_collate does for each class; programs add their own.
default_collate_fn_map: dict[Any, Callable[..., Any]] = {
    Tensor: _stack,
    float: _collate_floats,
    int: _collate_ints,
    str: _collate_text,
    bytes: _collate_text,
}
