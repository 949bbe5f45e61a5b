"""DataLoader: batches of a dataset."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ._utils.collate import default_collate, default_convert
from .dataset import Dataset, IterableDataset
from .sampler import BatchSampler, RandomSampler, SequentialSampler, draw_seed


def get_worker_info() -> None:
    """Return what a worker process knows of itself: None, as batches are loaded in the process that asks."""
    return None


# What decides on the batches is not to change once it has been put together.
_FIXED = frozenset(("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers"))


class DataLoader:
    """An iterable over the batches of a dataset; each iteration is one epoch.

    The random draws are those of PyTorch, so that the same seed gives the same batches.

    Args:
        dataset: has ``__getitem__`` and ``__len__``, or is an IterableDataset.
        batch_size: samples in a batch; None yields the samples themselves.
        shuffle: draw them in a new random order in each epoch.
        sampler: yields the numbers of the samples; in place of ``shuffle``.
        batch_sampler: yields lists of numbers; in place of all of these.
        num_workers: above 0 it is accepted, with a warning, and the batches are loaded in this process all
            the same. They are the same batches unless the dataset itself draws random numbers. What would
            need the workers (``worker_init_fn``, an IterableDataset, which every worker would read) is an
            error.
        collate_fn: makes a batch of a list of samples; ``default_collate`` if None.
        pin_memory: has no effect.
        drop_last: leave out a last batch that is shorter.
        timeout: has no effect; nor has ``multiprocessing_context``, which needs ``num_workers`` above 0.
        generator: where the random numbers come from; the default one if None.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[int] | None = None,
        batch_sampler: Iterable[list[int]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], Any] | None = None,
        multiprocessing_context: Any = None,
        generator: Any = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        _check_context(multiprocessing_context, num_workers)
        _check_workers(dataset, num_workers, timeout, prefetch_factor, persistent_workers, worker_init_fn)
        _check_sampling(dataset, batch_size, shuffle, sampler, batch_sampler, drop_last)
        self.dataset = dataset
        self.num_workers = num_workers
        self.prefetch_factor = prefetch_factor
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.persistent_workers = persistent_workers
        self.in_order = in_order
        self.generator = generator
        if batch_sampler is not None:
            batch_size = None
        if sampler is None and not isinstance(dataset, IterableDataset):
            sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        if batch_size is not None and batch_sampler is None and sampler is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self._batched = batch_size is not None or batch_sampler is not None
        if collate_fn is None:
            collate_fn = default_collate if self._batched else default_convert
        self.collate_fn = collate_fn
        self._complete = True

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FIXED and "_complete" in self.__dict__:
            raise ValueError(
                f"DataLoader: {name} attribute should not be set after DataLoader is initialized"
            )
        if name == "multiprocessing_context" and "_complete" in self.__dict__:
            _check_context(value, self.num_workers)
        super().__setattr__(name, value)

    def __iter__(self) -> Iterator[Any]:
        # PyTorch draws a seed for its workers at the start of every epoch, also when there are none.
        draw_seed(self.generator)
        if isinstance(self.dataset, IterableDataset):
            return self._iterate_stream()
        return self._iterate_numbers()

    def _iterate_numbers(self) -> Iterator[Any]:
        dataset, collate = self.dataset, self.collate_fn
        if not self._batched:
            for number in self.sampler:  # type: ignore[union-attr]
                yield collate(dataset[number])
            return
        many = getattr(dataset, "__getitems__", None)
        for numbers in self.batch_sampler:  # type: ignore[union-attr]
            yield collate(many(numbers) if many else [dataset[i] for i in numbers])

    def _iterate_stream(self) -> Iterator[Any]:
        if self.batch_size is None:
            for sample in self.dataset:
                yield self.collate_fn(sample)
            return
        batch = []
        for sample in self.dataset:
            batch.append(sample)
            if len(batch) == self.batch_size:
                yield self.collate_fn(batch)
                batch = []
        if batch and not self.drop_last:
            yield self.collate_fn(batch)

    def __len__(self) -> int:
        if not isinstance(self.dataset, IterableDataset):
            return len(self.batch_sampler if self._batched else self.sampler)  # type: ignore[arg-type]
        samples = len(self.dataset)  # type: ignore[arg-type]
        if self.batch_size is None:
            return samples
        return samples // self.batch_size if self.drop_last else -(-samples // self.batch_size)


def _check_workers(
    dataset: Dataset[Any],
    num_workers: int,
    timeout: float,
    prefetch_factor: int | None,
    persistent_workers: bool,
    worker_init_fn: Any,
) -> None:
    if num_workers < 0:
        raise ValueError(
            "num_workers option should be non-negative; use num_workers=0 to disable multiprocessing."
        )
    if timeout < 0:
        raise ValueError("timeout option should be non-negative")
    if prefetch_factor is not None and num_workers == 0:
        raise ValueError(
            "prefetch_factor option could only be specified in multiprocessing."
            "let num_workers > 0 to enable multiprocessing, otherwise set prefetch_factor to None."
        )
    if prefetch_factor is not None and prefetch_factor < 0:
        raise ValueError("prefetch_factor option should be non-negative")
    if persistent_workers and num_workers == 0:
        raise ValueError("persistent_workers option needs num_workers > 0")
    if num_workers > 0:
        if worker_init_fn is not None or isinstance(dataset, IterableDataset):
            what = "an IterableDataset" if isinstance(dataset, IterableDataset) else "worker_init_fn"
            raise NotImplementedError(
                f"DataLoader: {what} with num_workers={num_workers} needs worker processes, "
                "which this version does not have; use num_workers=0"
            )
        warnings.warn(
            f"DataLoader: num_workers={num_workers} is accepted, but batches are loaded in this process",
            stacklevel=3,
        )


def _check_context(context: Any, num_workers: int) -> None:
    """A way to start processes: its name or one of multiprocessing's contexts."""
    if context is None:
        return
    if num_workers == 0:
        raise ValueError(
            "DataLoader: multiprocessing_context can only be used with num_workers > 0, got "
            f"multiprocessing_context={context!r} and num_workers=0"
        )
    import multiprocessing
    from multiprocessing.context import BaseContext

    if isinstance(context, str):
        names = multiprocessing.get_all_start_methods()
        if context not in names:
            raise ValueError(f"DataLoader: multiprocessing_context should be one of {names}, got {context!r}")
    elif not isinstance(context, BaseContext):
        raise TypeError(
            "DataLoader: multiprocessing_context should be a name or a multiprocessing context, got "
            f"{context!r}"
        )


def _check_sampling(
    dataset: Any,
    batch_size: int | None,
    shuffle: bool | None,
    sampler: Any,
    batch_sampler: Any,
    drop_last: bool,
) -> None:
    if isinstance(dataset, IterableDataset):
        unwanted = {"shuffle": shuffle or None, "sampler": sampler, "batch_sampler": batch_sampler}
        for name, value in unwanted.items():
            if value is not None:
                raise ValueError(
                    f"DataLoader with IterableDataset: expected unspecified {name} option, but got "
                    f"{name}={value}"
                )
    if sampler is not None and shuffle:
        raise ValueError("sampler option is mutually exclusive with shuffle")
    if batch_sampler is not None:
        if batch_size != 1 or shuffle or sampler is not None or drop_last:
            raise ValueError(
                "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last"
            )
    elif batch_size is None:
        if drop_last:
            raise ValueError(
                "batch_size=None option disables auto-batching and is mutually exclusive with drop_last"
            )
    elif not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size <= 0:
        raise ValueError(f"batch_size should be a positive integer value, but got batch_size={batch_size}")
