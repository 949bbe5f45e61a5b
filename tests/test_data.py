"""Datasets, samplers and loaders: the same draws as PyTorch's, and its checks."""

from __future__ import annotations

from collections import OrderedDict, namedtuple

import numpy as np
import pytest

import ctorch

torch = pytest.importorskip("torch", reason="the oracle of these tests")

LIBRARIES = (ctorch, torch)


def plain(value):
    """Tensors as (dtype, list), containers walked."""
    if isinstance(value, (ctorch.Tensor, torch.Tensor)):
        return str(value.dtype).split(".")[-1], value.tolist()
    if isinstance(value, dict):
        return type(value), {k: plain(v) for k, v in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value), [plain(v) for v in value]
    if isinstance(value, (list, tuple)):
        return type(value), [plain(v) for v in value]
    return value


def both(make):
    """``make(library)`` for both libraries with the same seed, and a number drawn afterwards."""
    results = []
    for lib in LIBRARIES:
        lib.manual_seed(7)
        results.append((plain(make(lib)), lib.rand(3).tolist()))
    return results


def data_of(lib, n=10):
    return lib.utils.data.TensorDataset(lib.arange(n), lib.arange(n * 2).reshape(n, 2).float())


LOADERS = {
    "plain": lambda lib: {},
    "batches": lambda lib: {"batch_size": 4},
    "drop_last": lambda lib: {"batch_size": 4, "drop_last": True},
    "shuffle": lambda lib: {"batch_size": 3, "shuffle": True},
    "generator": lambda lib: {"batch_size": 3, "shuffle": True, "generator": lib.Generator().manual_seed(5)},
    "no batches": lambda lib: {"batch_size": None},
    "collate_fn": lambda lib: {"batch_size": 4, "collate_fn": lambda samples: len(samples)},
    "replacement": lambda lib: {
        "sampler": lib.utils.data.RandomSampler(range(10), replacement=True, num_samples=70)
    },
    "many": lambda lib: {"sampler": lib.utils.data.RandomSampler(range(10), num_samples=25)},
    "subset": lambda lib: {"sampler": lib.utils.data.SubsetRandomSampler([1, 3, 5, 9]), "batch_size": 3},
    "weighted": lambda lib: {"sampler": lib.utils.data.WeightedRandomSampler([0.1] * 5 + [0.7] * 5, 20)},
    "batch_sampler": lambda lib: {
        "batch_sampler": lib.utils.data.BatchSampler(lib.utils.data.SequentialSampler(range(7)), 3, True)
    },
}


@pytest.mark.parametrize("name", LOADERS)
def test_loader_gives_the_batches_of_pytorch(name):
    def make(lib):
        loader = lib.utils.data.DataLoader(data_of(lib), **LOADERS[name](lib))
        return [len(loader), *[list(loader) for _ in range(3)]]

    ours, theirs = both(make)
    assert ours == theirs


def test_without_replacement_weights_are_drawn_as_pytorch_draws_them():
    ours, theirs = both(
        lambda lib: list(lib.utils.data.WeightedRandomSampler([0.1, 0.2, 0.3, 0.4], 3, replacement=False))
    )
    assert ours == theirs


@pytest.mark.parametrize("lengths", [[3, 7], [0.25, 0.25, 0.5], [10], [0.34, 0.33, 0.33]])
def test_random_split(lengths):
    ours, theirs = both(
        lambda lib: [part.indices for part in lib.utils.data.random_split(range(10), lengths)]
    )
    assert ours == theirs


def test_random_split_with_a_generator():
    ours, theirs = both(
        lambda lib: [
            list(part)
            for part in lib.utils.data.random_split(
                data_of(lib), [6, 4], generator=lib.Generator().manual_seed(3)
            )
        ]
    )
    assert ours == theirs


def test_concat_and_subset():
    def make(lib):
        joined = data_of(lib) + data_of(lib, 4)
        subset = lib.utils.data.Subset(joined, [12, 0, 3])
        return [len(joined), joined[11], joined[-1], subset[0], list(lib.utils.data.DataLoader(subset, 2))]

    ours, theirs = both(make)
    assert ours == theirs


def test_iterable_datasets():
    def make(lib):
        class Count(lib.utils.data.IterableDataset):
            def __init__(self, n):
                self.n = n

            def __iter__(self):
                return iter(range(self.n))

            def __len__(self):
                return self.n

        loader = lib.utils.data.DataLoader
        return [
            list(loader(Count(5), batch_size=2)),
            list(loader(Count(5), batch_size=2, drop_last=True)),
            list(loader(Count(3), batch_size=None)),
            list(loader(Count(3) + Count(2), batch_size=4)),
            len(loader(Count(5), batch_size=2)),
        ]

    ours, theirs = both(make)
    assert ours == theirs


Point = namedtuple("Point", "x y")

SAMPLES = {
    "ints": lambda lib: [1, 2, 3],
    "floats": lambda lib: [1.5, 2.5],
    "bools": lambda lib: [True, False],
    "text": lambda lib: ["a", "b"],
    "arrays": lambda lib: [np.arange(3), np.arange(3) + 1],
    "numpy numbers": lambda lib: [np.float32(1.5), np.float32(2.5)],
    "tuples": lambda lib: [(1, 2.0, "a"), (3, 4.0, "b")],
    "lists": lambda lib: [[1, lib.ones(2)], [3, lib.zeros(2)]],
    "dicts": lambda lib: [{"a": 1, "b": lib.ones(2)}, {"a": 2, "b": lib.zeros(2)}],
    "ordered": lambda lib: [OrderedDict(a=1), OrderedDict(a=2)],
    "named tuples": lambda lib: [Point(1, 2.0), Point(3, 4.0)],
    "nested": lambda lib: [{"a": [Point(1, (2, 3))]}, {"a": [Point(4, (5, 6))]}],
}


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("function", ["default_collate", "default_convert"])
def test_collate_and_convert(name, function):
    ours, theirs = both(lambda lib: getattr(lib.utils.data, function)(SAMPLES[name](lib)))
    assert ours == theirs


def test_generator_state_after_an_abandoned_epoch():
    def make(lib):
        loader = lib.utils.data.DataLoader(data_of(lib), batch_size=2, shuffle=True)
        first = next(iter(loader))
        return [first, list(loader)]

    ours, theirs = both(make)
    assert ours == theirs


def stream(lib):
    class Stream(lib.utils.data.IterableDataset):
        def __iter__(self):
            return iter(range(3))

    return Stream()


BAD_INPUTS = {
    "batch_size": lambda lib: lib.utils.data.DataLoader(data_of(lib), batch_size=0),
    "batch_size kind": lambda lib: lib.utils.data.DataLoader(data_of(lib), batch_size=1.5),
    "workers": lambda lib: lib.utils.data.DataLoader(data_of(lib), num_workers=-1),
    "timeout": lambda lib: lib.utils.data.DataLoader(data_of(lib), timeout=-1),
    "prefetch": lambda lib: lib.utils.data.DataLoader(data_of(lib), prefetch_factor=2),
    "persistent": lambda lib: lib.utils.data.DataLoader(data_of(lib), persistent_workers=True),
    "sampler": lambda lib: lib.utils.data.DataLoader(data_of(lib), sampler=[1], shuffle=True),
    "batch_sampler": lambda lib: lib.utils.data.DataLoader(data_of(lib), batch_sampler=[[1]], batch_size=2),
    "drop_last": lambda lib: lib.utils.data.DataLoader(data_of(lib), batch_size=None, drop_last=True),
    "stream": lambda lib: lib.utils.data.DataLoader(stream(lib), shuffle=True),
    "empty": lambda lib: lib.utils.data.RandomSampler([]),
    "num_samples": lambda lib: lib.utils.data.RandomSampler(range(3), num_samples=0),
    "replacement": lambda lib: lib.utils.data.RandomSampler(range(3), replacement=1),
    "weights": lambda lib: lib.utils.data.WeightedRandomSampler([[0.5], [0.5]], 2),
    "weighted": lambda lib: lib.utils.data.WeightedRandomSampler([0.5], True),
    "tensors": lambda lib: lib.utils.data.TensorDataset(lib.ones(2), lib.ones(3)),
    "concat": lambda lib: lib.utils.data.ConcatDataset([]),
    "concat index": lambda lib: (data_of(lib) + data_of(lib))[-21],
    "split": lambda lib: lib.utils.data.random_split(range(10), [3, 3]),
    "split fraction": lambda lib: lib.utils.data.random_split(range(10), [1.5, -0.5]),
    "collate": lambda lib: lib.utils.data.default_collate([object()]),
    "unequal": lambda lib: lib.utils.data.default_collate([[1], [1, 2]]),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_bad_input(name):
    with pytest.raises(Exception) as theirs:
        BAD_INPUTS[name](torch)
    with pytest.raises(theirs.type) as ours:
        BAD_INPUTS[name](ctorch)
    if name not in ("stream",):
        assert str(ours.value) == str(theirs.value)


def test_workers_are_accepted_with_a_warning_and_change_nothing():
    with pytest.warns(UserWarning, match="loaded in this process"):
        loader = ctorch.utils.data.DataLoader(data_of(ctorch), batch_size=4, num_workers=2)
    assert [batch[0].tolist() for batch in loader] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_what_needs_workers_is_an_error():
    with pytest.raises(NotImplementedError, match="worker_init_fn"):
        ctorch.utils.data.DataLoader(data_of(ctorch), num_workers=2, worker_init_fn=print)
    with pytest.raises(NotImplementedError, match="IterableDataset"):
        ctorch.utils.data.DataLoader(stream(ctorch), num_workers=2)


@pytest.mark.parametrize(
    "name", ["batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers"]
)
def test_what_a_loader_is_made_of_is_fixed(name):
    for lib in (ctorch, torch):
        loader = lib.utils.data.DataLoader(data_of(lib), batch_size=4)
        with pytest.raises(ValueError, match=f"{name} attribute should not be set"):
            setattr(loader, name, 3)
        loader.collate_fn = loader.note = len
        assert list(loader) == [4, 4, 2]


@pytest.mark.parametrize("context, workers", [("fork", 0), ("none", 1), (3, 1)])
def test_a_multiprocessing_context_is_checked(context, workers):
    for lib in (ctorch, torch):
        with pytest.raises(TypeError if context == 3 else ValueError, match="multiprocessing_context"):
            lib.utils.data.DataLoader(range(3), num_workers=workers, multiprocessing_context=context)
    loader = ctorch.utils.data.DataLoader(range(3))
    with pytest.raises(ValueError, match="multiprocessing_context"):
        loader.multiprocessing_context = "fork"


def test_collate_with_functions_of_ones_own():
    class Point:
        pass

    for lib in (ctorch, torch):
        utils = lib.utils.data._utils.collate

        def count(batch, *, collate_fn_map=None):
            return len(batch)

        own = {**utils.default_collate_fn_map, Point: count}
        result = utils.collate(
            [{"a": Point(), "b": (1, 2.0)}, {"a": Point(), "b": (3, 4.0)}], collate_fn_map=own
        )
        assert result["a"] == 2 and [t.tolist() for t in result["b"]] == [[1, 3], [2.0, 4.0]]
        assert utils.collate([np.ones(2), np.ones(2)], collate_fn_map=own).shape == (2, 2)
        with pytest.raises(TypeError, match="must contain tensors"):
            utils.collate([Point()])
