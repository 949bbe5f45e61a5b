"""The memory behind tensors, as objects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ctorch import _C
from ctorch._C import Tensor

__all__ = ["TypedStorage", "UntypedStorage"]


class _Storage:
    """What both kinds of storage share: they show all the memory that a tensor is a view of."""

    def __init__(self, items: Tensor) -> None:
        self._items = items  # one-dimensional

    @property
    def device(self) -> Any:
        return self._items.device

    @property
    def _cdata(self) -> int:
        return _C._storage_key(self._items)

    def data_ptr(self) -> int:
        """The address of the memory."""
        return self._items.data_ptr()

    def nbytes(self) -> int:
        """The length in bytes."""
        return self._items.numel() * self._items.element_size()

    def element_size(self) -> int:
        """The length of an element in bytes."""
        return self._items.element_size()

    def size(self) -> int:
        """The number of elements."""
        return self._items.numel()

    def __len__(self) -> int:
        return self._items.numel()

    def tolist(self) -> list[Any]:
        """The elements as a list."""
        return self._items.tolist()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.tolist())

    def __getitem__(self, index: Any) -> Any:
        """An element; of a slice, a storage over the same memory."""
        part = self._items[index]
        return part.item() if part.dim() == 0 else type(self)(part)

    def __setitem__(self, index: Any, value: Any) -> None:
        self._items[index] = value

    def fill_(self, value: Any) -> Any:
        """Set every element."""
        self._items.fill_(value)
        return self

    def copy_(self, source: Any, non_blocking: bool | None = None) -> Any:
        """Take over the elements of another storage of the same length."""
        self._items.copy_(source._items)
        return self

    def clone(self) -> Any:
        """A copy."""
        return type(self)(self._items.clone())

    def cpu(self) -> Any:
        """The storage itself: it is on the CPU."""
        return self


class UntypedStorage(_Storage):
    """Bytes.

    Args:
        source: how many, or a one-dimensional tensor whose bytes they are.
    """

    def __init__(self, source: int | Tensor = 0) -> None:
        if not isinstance(source, Tensor):
            source = _C.empty((source,), dtype=_C.uint8)
        super().__init__(source.detach().view(_C.uint8))

    def __repr__(self) -> str:
        lines = "".join(f" {byte}\n" for byte in self.tolist())
        return f"{lines}[torch.storage.UntypedStorage(device={self.device}) of size {len(self)}]"


class TypedStorage(_Storage):
    """Elements of one dtype.

    Args:
        source: a one-dimensional tensor whose elements they are.
    """

    def __init__(self, source: Tensor) -> None:
        super().__init__(source.detach())

    @property
    def dtype(self) -> Any:
        return self._items.dtype

    def untyped(self) -> UntypedStorage:
        """The same memory as bytes."""
        return UntypedStorage(self._items)

    def __repr__(self) -> str:
        lines = "".join(f" {value}\n" for value in self.tolist())
        kind = f"torch.storage.TypedStorage(dtype={self.dtype}, device={self.device})"
        return f"{lines}[{kind} of size {len(self)}]"


def whole(t: Tensor) -> Tensor:
    """The whole memory that ``t`` is a view of, as a one-dimensional tensor of its dtype."""
    length = len(_C._storage_bytes(t)) // t.element_size()
    return t.detach().as_strided((length,), (1,), 0)
