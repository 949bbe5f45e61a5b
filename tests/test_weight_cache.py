"""Weights kept in the form in which convolutions read them: results never depend on it, writes of every kind
end it, and its memory is counted and bounded."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import ctorch
import ctorch.nn.functional as F
from ctorch import nn


def kept() -> int:
    return ctorch.memory_stats()["weight_cache_bytes"]


@pytest.fixture(autouse=True)
def limit() -> Iterator[int]:
    gc.collect()
    before = ctorch.get_weight_cache_limit()
    yield before
    ctorch.set_weight_cache_limit(before)


def fresh(weight: ctorch.Tensor, x: ctorch.Tensor) -> ctorch.Tensor:
    """What a weight of these values gives that has never been seen before."""
    return F.conv2d(x, weight.clone(), padding=1)


def warmed(shape: tuple[int, ...] = (64, 32, 3, 3)) -> tuple[ctorch.Tensor, ctorch.Tensor]:
    ctorch.manual_seed(0)
    weight, x = ctorch.randn(*shape), ctorch.randn(1, shape[1], 20, 20)
    start = kept()
    F.conv2d(x, weight, padding=1)
    assert kept() == start, "a weight that was used once is not kept"
    F.conv2d(x, weight, padding=1)
    assert kept() > start
    return weight, x


@pytest.mark.parametrize("shape", [(64, 32, 3, 3), (64, 32, 5, 5), (60, 20, 3, 3)])
def test_same_result_with_and_without(shape: tuple[int, ...]) -> None:
    weight, x = warmed(shape)
    assert ctorch.equal(F.conv2d(x, weight, padding=1), fresh(weight, x))


def test_freed_with_the_weight() -> None:
    start = kept()
    weight, _ = warmed()
    del weight
    assert kept() == start


WRITES: dict[str, Callable[[ctorch.Tensor], object]] = {
    "in place": lambda w: w.mul_(2),
    "an element": lambda w: w.__setitem__((0, 0, 0, 0), 7.0),
    "through .data": lambda w: w.data.mul_(2),
    "through a view": lambda w: w.flatten()[3:90].fill_(1.5),
    "out=": lambda w: ctorch.mul(w, 2, out=w),
    "copy_": lambda w: w.copy_(ctorch.ones_like(w)),
    "no_grad": lambda w: ctorch.no_grad()(w.add_)(1),
    "inference mode": lambda w: ctorch.inference_mode()(w.zero_)(),
    "numpy": lambda w: np.multiply(w.numpy(), 2, out=w.numpy()),
    "storage": lambda w: w.untyped_storage().__setitem__(2, 77),
    "random": lambda w: nn.init.normal_(w),
}


@pytest.mark.parametrize("name", WRITES)
def test_a_write_ends_it(name: str) -> None:
    weight, x = warmed()
    before = F.conv2d(x, weight, padding=1)
    WRITES[name](weight)
    for _ in range(3):
        got = F.conv2d(x, weight, padding=1)
        assert ctorch.equal(got, fresh(weight, x))
    assert not ctorch.equal(got, before)


def test_a_write_through_an_array_that_lives_on() -> None:
    weight, x = warmed()
    array = weight.numpy()
    for scale in (2.0, 0.25, 3.0):
        array *= scale
        for _ in range(2):
            assert ctorch.equal(F.conv2d(x, weight, padding=1), fresh(weight, x))


def test_a_write_through_dlpack() -> None:
    weight, x = warmed()
    array = np.from_dlpack(weight)
    if not array.flags.writeable:
        array = np.asarray(ctorch.from_dlpack(weight))
    array *= 2
    assert ctorch.equal(F.conv2d(x, weight, padding=1), fresh(weight, x))


def test_an_optimizer_step_ends_it() -> None:
    ctorch.manual_seed(0)
    layer, x = nn.Conv2d(32, 64, 3, padding=1), ctorch.randn(2, 32, 20, 20)
    optimizer = ctorch.optim.SGD(layer.parameters(), lr=0.1)
    start = kept()
    for _ in range(3):
        optimizer.zero_grad()
        loss = layer(x).square().mean()
        loss.backward()
        optimizer.step()
        assert kept() == start, "weights in training are not kept"
    with ctorch.no_grad():
        outputs = [layer(x) for _ in range(3)]
    assert ctorch.equal(outputs[0], outputs[2]) and kept() > start


def test_views_with_forms_of_their_own() -> None:
    ctorch.manual_seed(0)
    weights, x = ctorch.randn(2, 64, 32, 3, 3), ctorch.randn(1, 32, 20, 20)
    for _ in range(3):
        for i in range(2):
            assert ctorch.equal(F.conv2d(x, weights[i], padding=1), fresh(weights[i], x))
    turned = weights[0].transpose(2, 3)
    assert ctorch.equal(F.conv2d(x, turned, padding=1), fresh(turned, x))


def test_one_weight_in_different_roles() -> None:
    """Stride, padding, groups and direction change the form, or at least how it is used."""
    ctorch.manual_seed(0)
    weight, x = ctorch.randn(64, 64, 3, 3), ctorch.randn(2, 64, 15, 15)
    for _ in range(3):
        for options in ({"stride": 2}, {"padding": 1}, {"dilation": 2}, {"padding": 1, "stride": 2}):
            for op in (F.conv2d, F.conv_transpose2d):
                assert ctorch.equal(op(x, weight, **options), op(x, weight.clone(), **options))


@pytest.mark.parametrize("shape", [(64, 32, 3, 3), (64, 32, 5, 5), (64, 32, 1, 1), (64, 64, 2, 2)])
def test_one_weight_for_images_of_all_sizes(shape: tuple[int, ...]) -> None:
    """A kernel has several forms of a filter, of which the images decide: each is kept for itself."""
    ctorch.manual_seed(0)
    weight = ctorch.randn(*shape)
    images = [ctorch.randn(n, shape[1], size, size) for n, size in ((1, 6), (1, 9), (1, 40), (3, 7), (9, 14))]
    for _ in range(3):
        for x in images:
            for stride in (1, 2):
                got = F.conv2d(x, weight, stride=stride, padding=1)
                assert ctorch.equal(got, F.conv2d(x, weight.clone(), stride=stride, padding=1))


def test_bounded(limit: int) -> None:
    assert limit == 256 << 20
    start = kept()
    ctorch.set_weight_cache_limit(start + 1000)
    weight, x = ctorch.randn(64, 32, 3, 3), ctorch.randn(1, 32, 20, 20)
    results = [F.conv2d(x, weight, padding=1) for _ in range(3)]
    assert kept() == start and ctorch.equal(results[0], results[2])
    ctorch.set_weight_cache_limit(limit)
    F.conv2d(x, weight, padding=1)
    assert kept() > start
    ctorch.set_weight_cache_limit(0)
    F.conv2d(x, weight, padding=1)
    assert kept() == start
    with pytest.raises(ValueError, match=r"set_weight_cache_limit .* got -5"):
        ctorch.set_weight_cache_limit(-5)


@pytest.mark.parametrize("dtype", [ctorch.float32, ctorch.float64])
@pytest.mark.parametrize("rows", [17, 40, 300])
def test_linear(rows: int, dtype: ctorch.dtype) -> None:
    ctorch.manual_seed(0)
    weight, bias = ctorch.randn(150, 500, dtype=dtype), ctorch.randn(150, dtype=dtype)
    x, start = ctorch.randn(rows, 500, dtype=dtype), kept()
    results = [F.linear(x, weight, bias) for _ in range(3)]
    if ctorch._C._isa() != "amx":
        assert kept() > start
    wanted = F.linear(x, weight.clone(), bias)
    assert all(ctorch.equal(result, wanted) for result in results)
    weight.neg_()
    assert ctorch.equal(F.linear(x, weight, bias), F.linear(x, weight.clone(), bias))
    # The same storage as another matrix.
    turned = weight.t().contiguous().t()
    for _ in range(3):
        assert ctorch.equal(F.linear(x, turned, bias), F.linear(x, weight, bias))
        assert ctorch.equal(F.linear(x[:, :150], weight.t()), F.linear(x[:, :150], weight.t().clone()))


@pytest.mark.parametrize("dtype", [ctorch.float32, ctorch.float64, ctorch.bfloat16])
@pytest.mark.parametrize(
    "name, options",
    [("LSTM", {}), ("LSTM", {"proj_size": 64}), ("GRU", {"bidirectional": True}), ("RNN", {})],
)
def test_recurrent_layers(name: str, options: dict[str, object], dtype: ctorch.dtype) -> None:
    """The steps' weights are kept in inference: for sequences, cells and backward in forms of their own."""
    ctorch.manual_seed(0)
    layer = getattr(nn, name)(30, 80, **options).to(dtype)
    other = getattr(nn, name)(30, 80, **options).to(dtype)
    sequences = [
        ctorch.randn(steps, rows, 30, dtype=dtype) for steps, rows in ((5, 20), (1, 33), (3, 1), (1, 2))
    ]
    start = kept()

    def results(of: nn.Module) -> list[ctorch.Tensor]:
        found = []
        for x in sequences:
            x.requires_grad_().grad = None
            with ctorch.no_grad():
                found.append(of(x)[0])
            of(x)[0].square().sum().backward()
            found.append(x.grad)
        return found

    def fresh_results(of: nn.Module) -> list[ctorch.Tensor]:
        other.load_state_dict(of.state_dict())
        limit = ctorch.get_weight_cache_limit()
        ctorch.set_weight_cache_limit(0)
        found = results(other)
        ctorch.set_weight_cache_limit(limit)
        return found

    for scale in (1.0, -0.5):
        with ctorch.no_grad():
            layer.weight_hh_l0.mul_(scale)
        want = fresh_results(layer)
        for _ in range(3):
            assert all(ctorch.equal(a, b) for a, b in zip(results(layer), want))
        assert kept() > start
    del layer
    gc.collect()
    assert kept() == start
