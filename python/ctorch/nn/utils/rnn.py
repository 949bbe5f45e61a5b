"""Batches of sequences of different lengths: padded to one length, or packed by time without padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import ctorch

from ..._C import Tensor

__all__ = [
    "PackedSequence",
    "invert_permutation",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]


class _Fields(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Fields):
    """Sequences, longest first, stored time step by time step. Made by pack_padded_sequence() and pack_sequence().

    Attributes:
        data: (N, *), the rows of step 0 of all sequences, then those of step 1, ...
        batch_sizes: int64 (T,), how many sequences have each step.
        sorted_indices, unsorted_indices: from the order given to longest first, and back; None if it was so.
    """

    def __new__(
        cls,
        data: Tensor,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:
        if batch_sizes is None:
            raise ValueError("PackedSequence: batch_sizes should not be None")
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def _with(self, data: Tensor) -> PackedSequence:
        if data is self.data:
            return self
        return PackedSequence(data, self.batch_sizes, self.sorted_indices, self.unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The same with the data converted as Tensor.to() does."""
        return self._with(self.data.to(*args, **kwargs))

    def cpu(self) -> PackedSequence:
        return self

    def cuda(self, *args: Any, **kwargs: Any) -> PackedSequence:
        return self._with(self.data.cuda(*args, **kwargs))

    def double(self) -> PackedSequence:
        return self.to(ctorch.float64)

    def float(self) -> PackedSequence:
        return self.to(ctorch.float32)

    def half(self) -> PackedSequence:
        return self.to(ctorch.float16)

    def long(self) -> PackedSequence:
        return self.to(ctorch.int64)

    def int(self) -> PackedSequence:
        return self.to(ctorch.int32)

    def pin_memory(self) -> PackedSequence:
        return self

    @property
    def is_cuda(self) -> bool:
        return self.data.is_cuda


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes another."""
    if permutation is None:
        return None
    inverse = ctorch.empty_like(permutation)
    inverse[permutation] = ctorch.arange(permutation.numel())
    return inverse


def _present(lengths: Tensor, steps: int) -> Tensor:
    """(T, B): whether a sequence has a step."""
    return ctorch.arange(steps).unsqueeze(1) < lengths


def pack_padded_sequence(
    input: Tensor, lengths: Tensor | Sequence[int], batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Leave out the padding of a batch of sequences.

    Args:
        input: (T, B, *), or (B, T, *) with batch_first.
        lengths: of each sequence, from 1 to T.
        enforce_sorted: whether the sequences must come longest first; otherwise they are sorted here.
    """
    lengths = ctorch.as_tensor(lengths, dtype=ctorch.int64)
    batch = input.size(0 if batch_first else 1)
    if lengths.dim() != 1 or lengths.numel() != batch:
        raise RuntimeError(
            f"pack_padded_sequence: expected `lengths` to have one element for each of {batch} sequences, got "
            f"shape {tuple(lengths.shape)}"
        )
    sorted_indices = None
    if not enforce_sorted:
        lengths, sorted_indices = lengths.sort(descending=True)
        input = input.index_select(0 if batch_first else 1, sorted_indices)
    elif batch > 1 and bool((lengths[1:] > lengths[:-1]).any()):
        raise RuntimeError(
            "pack_padded_sequence: `lengths` array must be sorted in decreasing order when `enforce_sorted` is "
            f"True, got {lengths.tolist()}; pass enforce_sorted=False to let it be sorted here"
        )
    if batch == 0:
        raise RuntimeError("pack_padded_sequence: cannot pack an empty batch")
    if int(lengths[-1]) <= 0:
        raise RuntimeError(
            "pack_padded_sequence: length of all samples has to be greater than 0, but found an element in "
            f"'lengths' that is <= 0: {int(lengths[-1])}"
        )
    if batch_first:
        input = input.transpose(0, 1)
    if int(lengths[0]) > input.size(0):
        raise RuntimeError(
            f"pack_padded_sequence: expected `lengths` of at most {input.size(0)} steps, got {int(lengths[0])}"
        )
    present = _present(lengths, int(lengths[0]))
    return PackedSequence(input[: len(present)][present], present.sum(1), sorted_indices)


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The inverse of pack_padded_sequence().

    Args:
        total_length: pad to so many steps; default the longest sequence's.
    Returns: the batch (T, B, *), or (B, T, *) with batch_first, and the lengths.
    """
    sizes = sequence.batch_sizes
    steps, batch = len(sizes), int(sizes[0])
    if total_length is not None and total_length < steps:
        raise ValueError(
            f"pad_packed_sequence: expected total_length to be at least the length of the longest sequence, {steps}, "
            f"but got {total_length}"
        )
    present = ctorch.arange(batch) < sizes.unsqueeze(1)
    data = sequence.data
    padded = data.new_full((steps, batch, *data.shape[1:]), padding_value)
    padded = padded.index_put((present,), data)
    if total_length is not None and total_length > steps:
        more = data.new_full((total_length - steps, batch, *data.shape[1:]), padding_value)
        padded = ctorch.cat([padded, more])
    lengths = present.sum(0)
    if batch_first:
        padded = padded.transpose(0, 1)
    if sequence.unsorted_indices is not None:
        padded = padded.index_select(0 if batch_first else 1, sequence.unsorted_indices)
        lengths = lengths[sequence.unsorted_indices]
    return padded, lengths


def pad_sequence(
    sequences: Sequence[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Stack sequences (L_i, *) of different lengths, padded to the longest: (T, B, *), or (B, T, *)."""
    if padding_side not in ("left", "right"):
        raise ValueError(f"pad_sequence: expected padding_side 'left' or 'right', got {padding_side!r}")
    sequences = list(sequences)
    if not sequences:
        raise RuntimeError("pad_sequence: received an empty list of sequences")
    longest = max(len(s) for s in sequences)
    rows = []
    for s in sequences:
        fill = s.new_full((longest - len(s), *s.shape[1:]), padding_value)
        rows.append(ctorch.cat([s, fill] if padding_side == "right" else [fill, s]))
    return ctorch.stack(rows, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False) -> list[Tensor]:
    """The inverse of pad_sequence(): the first lengths[i] steps of each sequence."""
    if not batch_first:
        padded_sequences = padded_sequences.transpose(0, 1)
    return [row[: int(n)] for row, n in zip(padded_sequences, lengths)]


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Pack sequences (L_i, *) of different lengths."""
    lengths = [len(s) for s in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The inverse of pack_sequence()."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
