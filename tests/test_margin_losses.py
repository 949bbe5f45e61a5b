"""The losses of margins and given distributions, and rrelu, against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import ctorch
import ctorch.nn.functional as F

torch = pytest.importorskip("torch", reason="the oracle of these tests")
from tests.nn_oracle import array, close, derivatives, same_error, same_function, same_module  # noqa: E402

REDUCTIONS = ("mean", "sum", "none")
N, C = 6, 5


def signs(*shape):
    return np.where(array(*shape, seed=5) > 0, 1, -1)


def numbers(*shape, high=C):
    return np.random.default_rng(1).integers(0, high, shape)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_pair_losses(reduction):
    x, y = array(N, C), array(N, C, seed=1)
    r = {"reduction": reduction}
    for margin in ({}, {"margin": 0.4}):
        same_module(lambda nn: nn.MarginRankingLoss(**margin, **r), x[:, 0], y[:, 0], signs(N))
        same_module(lambda nn: nn.HingeEmbeddingLoss(**margin, **r), abs(x), signs(N, C))
        same_module(lambda nn: nn.CosineEmbeddingLoss(**margin, **r), x, y, signs(N))
        same_module(lambda nn: nn.CosineEmbeddingLoss(**margin, **r), x[0], y[0], signs(1)[0:1].reshape(()))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_triplet_losses(reduction):
    xs = [array(N, C, seed=i) for i in range(3)]
    for swap in (False, True):
        for p in (1.0, 2.0, 3.0):
            same_module(lambda nn: nn.TripletMarginLoss(0.7, p=p, swap=swap, reduction=reduction), *xs)
        same_module(lambda nn: nn.TripletMarginLoss(swap=swap, reduction=reduction), *(x[0] for x in xs))
        same_module(lambda nn: nn.TripletMarginWithDistanceLoss(swap=swap, reduction=reduction), *xs)
        same_module(
            lambda nn: nn.TripletMarginWithDistanceLoss(
                distance_function=lambda a, b: (a - b).abs().sum(-1), margin=2.0, reduction=reduction
            ),
            *xs,
        )


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_class_losses(reduction):
    x = array(N, C)
    weight = abs(array(C, seed=3))

    def lib_of(nn):
        return torch if nn is torch.nn else ctorch

    for p in (1, 2):
        for w in (None, weight):

            def make(nn):
                given = None if w is None else lib_of(nn).from_numpy(w)
                return nn.MultiMarginLoss(p, 0.8, given, reduction=reduction)

            same_module(make, x, numbers(N))
            same_module(make, x[0], numbers(1).reshape(()))
    labels = np.stack([np.random.default_rng(i).permutation(C) for i in range(N)])
    for i in range(N):
        labels[i, i:] = -1 if i < C else labels[i, i:]
    same_module(lambda nn: nn.MultiLabelMarginLoss(reduction=reduction), x, labels)
    same_module(lambda nn: nn.MultiLabelMarginLoss(reduction=reduction), x[3], labels[3])
    for w in (None, weight):
        same_module(
            lambda nn: nn.MultiLabelSoftMarginLoss(
                None if w is None else lib_of(nn).from_numpy(w), reduction=reduction
            ),
            x,
            (array(N, C, seed=2) > 0).astype("float32"),
        )


def test_labels_after_the_first_minus_one_do_not_count():
    x, labels = array(2, C), np.array([[1, -1, 3, 2, 4], [0, 0, 2, -1, 1]])
    same_function(lambda lib, x, t: lib.nn.functional.multilabel_margin_loss(x, t), x, labels)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("full", (True, False))
def test_likelihoods(reduction, full):
    x, y = array(N, C), array(N, C, seed=1)
    counts = np.random.default_rng(0).poisson(3, (N, C)).astype("float32")
    for log_input in (True, False):
        same_module(
            lambda nn: nn.PoissonNLLLoss(log_input, full, reduction=reduction),
            x if log_input else abs(x),
            counts,
            tol=1e-4,
        )
    for shape in ((N, C), (N,), (N, 1)):
        var = abs(array(*shape, seed=2))
        var.flat[0] = 0.0
        same_module(
            lambda nn: nn.GaussianNLLLoss(full=full, eps=1e-2, reduction=reduction), x, y, var, tol=1e-4
        )
    same_function(
        lambda lib, x, y: lib.nn.functional.gaussian_nll_loss(x, y, 0.7, full, 1e-6, reduction), x, y
    )


def test_old_reduction_arguments():
    x, y = array(N), array(N, seed=1)
    for old in ({"size_average": False}, {"reduce": False}):
        same_function(lambda lib, x, y, t: lib.nn.MarginRankingLoss(**old)(x, y, t), x, y, signs(N))
        same_function(lambda lib, x, t: lib.nn.functional.hinge_embedding_loss(x, t, **old), x, signs(N))


def test_errors():
    def fails(name, *shapes, **options):
        same_error(lambda lib: getattr(lib.nn.functional, name)(*(lib.ones(s) for s in shapes), **options))

    def fails_with(name, shape, target, **options):
        same_error(
            lambda lib: getattr(lib.nn.functional, name)(lib.ones(shape), lib.tensor(target), **options)
        )

    fails("margin_ranking_loss", (3,), (3,), (3, 1))
    fails("cosine_embedding_loss", (3, 2), (3, 2), (3, 1))
    fails("cosine_embedding_loss", (3,), (3,), (3,))
    fails("triplet_margin_loss", (3, 2), (3, 2), (3,))
    fails("triplet_margin_loss", (3, 2), (3, 2), (3, 2), margin=0)
    fails("triplet_margin_with_distance_loss", (3, 2), (3, 2), (3,))
    fails("triplet_margin_with_distance_loss", (3, 2), (3, 2), (3, 2), margin=-1)
    fails("gaussian_nll_loss", (3, 2), (3, 2), (2,))
    fails("poisson_nll_loss", (3,), (3,), reduction="most")
    fails("gaussian_nll_loss", (3,), (3,), (3,), reduction="most")
    fails("margin_ranking_loss", (3,), (3,), (3,), reduction="most")
    same_error(lambda lib: lib.nn.functional.gaussian_nll_loss(lib.ones(2), lib.ones(2), -lib.ones(2)))
    same_error(lambda lib: lib.nn.TripletMarginLoss(margin=0))
    same_error(lambda lib: lib.nn.MultiMarginLoss(p=3))
    fails_with("multi_margin_loss", (2, 3), [0, 3])
    fails_with("multi_margin_loss", (2, 3), [0, -1])
    fails_with("multi_margin_loss", (2, 3), [0, 1, 2])
    fails_with("multi_margin_loss", (2, 3), [0, 1], p=3)
    fails_with("multi_margin_loss", (2, 0), [0, 1])
    fails_with("multilabel_margin_loss", (2, 3), [[0, 1, 3], [0, 1, 2]])
    fails_with("multilabel_margin_loss", (2, 3), [[0, 1], [0, 1]])


@pytest.mark.parametrize("train", (True, False))
@pytest.mark.parametrize("inplace", (True, False))
def test_rrelu(train, inplace):
    x = array(7, 9)
    for args in ((), (0.2, 0.6)):
        same_module(lambda nn: nn.Sequential(nn.Identity(), nn.RReLU(*args)), x, train=train)
    assert repr(ctorch.nn.RReLU(inplace=True)) == repr(torch.nn.RReLU(inplace=True))
    results = []
    for lib in (ctorch, torch):
        lib.manual_seed(1)
        t = lib.from_numpy(x.copy())
        results += [lib.nn.functional.rrelu(t, training=train, inplace=inplace), lib.rand(3)]
        assert (results[-2] is t) == inplace
    close(results[:2], results[2:])
    same_error(lambda lib: lib.nn.functional.rrelu(lib.ones(2), 0.5, 0.1, True))


def test_second_derivatives():
    x, y, t = array(3, 4), array(3, 4, seed=1), ctorch.tensor([1, -1, 1])
    c = ctorch.from_numpy(array(3, 4, seed=2, dtype="float64")).abs()
    derivatives(lambda x, y: F.cosine_embedding_loss(x, y, t, margin=-0.5), x, y)
    derivatives(lambda x, y: F.gaussian_nll_loss(x, x * 0.5, y.exp(), full=True), x, y)
    derivatives(lambda x: F.poisson_nll_loss(x, c), x)
    derivatives(lambda x, y: F.triplet_margin_loss(x, y, y * 2), x, y)
    derivatives(lambda x: F.multi_margin_loss(x, ctorch.tensor([0, 3, 1]), 2), x)
    derivatives(lambda x: F.multilabel_soft_margin_loss(x, c), x)
