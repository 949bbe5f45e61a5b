"""Norm and dropout layers against PyTorch: values, gradients, statistics, random numbers, errors."""

from __future__ import annotations

import numpy as np
import pytest

import ctorch
import ctorch.nn.functional as F

torch = pytest.importorskip("torch", reason="the oracle of these tests")
from tests.nn_oracle import array, close, derivatives, same_error, same_function, same_module  # noqa: E402

SIZES = {1: (9,), 2: (7, 6), 3: (5, 6, 4)}


@pytest.mark.parametrize("train", (True, False))
@pytest.mark.parametrize("name", ("BatchNorm3d", "SyncBatchNorm"))
def test_batch_norms(name, train):
    for options in ({}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}):
        same_module(lambda nn: getattr(nn, name)(3, **options), array(2, 3, *SIZES[3]), train=train)


def test_sync_batch_norm_converts_and_checks():
    def run(lib, x):
        lib.manual_seed(0)
        nn = lib.nn
        net = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm2d(4, bias=False))
        )
        net = nn.SyncBatchNorm.convert_sync_batchnorm(net)
        assert isinstance(net[2][0], nn.SyncBatchNorm) and net[2][0].bias is None
        return net(x), net[1].running_mean

    same_function(run, array(2, 3, 5, 5))
    same_error(lambda lib: lib.nn.SyncBatchNorm(3)(lib.ones(3)))
    same_error(lambda lib: lib.nn.SyncBatchNorm(3)(lib.ones(3, 0, 2)))
    same_error(lambda lib: lib.nn.BatchNorm3d(3)(lib.ones(2, 3, 4, 4)))


@pytest.mark.parametrize("n", (1, 2, 3))
@pytest.mark.parametrize("train", (True, False))
def test_instance_norm(n, train):
    x = array(2, 3, *SIZES[n])
    for options in (
        {},
        {"affine": True},
        {"affine": True, "bias": False},
        {"affine": True, "track_running_stats": True, "momentum": 0.3},
    ):
        same_module(lambda nn: getattr(nn, f"InstanceNorm{n}d")(3, **options), x, train=train)
        same_module(lambda nn: getattr(nn, f"InstanceNorm{n}d")(3, **options), x[0], train=train)
    same_error(lambda lib: getattr(lib.nn, f"InstanceNorm{n}d")(3)(lib.ones((2,) * (n + 3))))
    same_error(lambda lib: getattr(lib.nn, f"InstanceNorm{n}d")(4, affine=True)(lib.from_numpy(x)))


def test_instance_norm_of_other_channels_warns():
    with pytest.warns(UserWarning, match="does not match num_features"):
        ctorch.nn.InstanceNorm1d(4)(ctorch.ones(2, 3, 5))


def test_local_response_norm():
    for args in ((2,), (3, 0.1, 0.5, 2.0)):
        same_module(lambda nn: nn.LocalResponseNorm(*args), array(2, 5, 4, 3))
    same_error(lambda lib: lib.nn.LocalResponseNorm(2)(lib.ones(3, 3)))


@pytest.mark.parametrize("name", ("Dropout3d", "AlphaDropout", "FeatureAlphaDropout"))
@pytest.mark.parametrize("p", (0.0, 0.3, 1.0))
@pytest.mark.parametrize("train", (True, False))
def test_dropouts_draw_as_torch_does(name, p, train):
    same_module(lambda nn: getattr(nn, name)(p), array(4, 6, 3, 2, 5), train=train)


@pytest.mark.parametrize("dtype", ("float32", "float64", "bfloat16"))
def test_dropouts_of_dtypes(dtype):
    def run(lib, x):
        x = x.to(getattr(lib, dtype))
        f = lib.nn.functional
        return f.alpha_dropout(x, 0.4, True), f.feature_alpha_dropout(x, 0.4, True), f.dropout3d(x, 0.4)

    same_function(run, array(3, 4, 2, 3, 2), tol=1e-2 if dtype == "bfloat16" else 2e-5)


def test_dropouts_in_place():
    for name in ("alpha_dropout", "feature_alpha_dropout", "dropout3d"):
        results = []
        for lib in (ctorch, torch):
            lib.manual_seed(5)
            x = lib.from_numpy(array(3, 4, 2, 3, 2))
            assert getattr(lib.nn.functional, name)(x, 0.5, True, inplace=True) is x
            results.append(x)
        close(*results)


def test_unbatched_dropout3d_drops_channels():
    same_function(lambda lib, x: lib.nn.functional.dropout3d(x, 0.5), array(4, 2, 3, 2))


def test_dropout_errors():
    for name in ("alpha_dropout", "feature_alpha_dropout", "dropout3d"):
        same_error(lambda lib: getattr(lib.nn.functional, name)(lib.ones(2, 3, 2, 2, 2), 1.5, True))
    same_error(lambda lib: lib.nn.functional.feature_alpha_dropout(lib.ones(3), 0.5, True))
    same_error(lambda lib: lib.nn.AlphaDropout(-0.1))


def test_alpha_dropout_keeps_mean_and_variance():
    ctorch.manual_seed(0)
    x = F.alpha_dropout(ctorch.randn(400, 500), 0.2, True).numpy()
    np.testing.assert_allclose([x.mean(), x.var()], [0, 1], atol=0.02)


def test_second_derivatives():
    x = array(2, 3, 4)
    derivatives(lambda x: F.instance_norm(x), x)
    derivatives(lambda x: F.local_response_norm(x, 2, alpha=0.5), x)


def norms_in_parts(dtype, places):
    """Large batches, whose results are stored past the caches, and the samples or channels of which they consist."""
    channels = 16
    samples = 1 + (13 << 20) // (channels * places * ctorch.empty(0, dtype=dtype).element_size())
    x = ctorch.randn(samples, channels, places, generator=ctorch.Generator().manual_seed(1)).to(dtype)
    weight, bias = (ctorch.linspace(a, b, channels).to(dtype) for a, b in ((0.5, 1.5), (-1, 1)))
    return x, weight, bias


def with_gradients(function, x, *parameters):
    inputs = [t.detach().requires_grad_() for t in (x, *parameters)]
    y = function(*inputs)
    return [y.detach(), *ctorch.autograd.grad(y, inputs, y.detach() * 0.5 + 1)]


@pytest.mark.parametrize("dtype", [ctorch.float32, ctorch.float64, ctorch.bfloat16, ctorch.float16])
@pytest.mark.parametrize("places", [301, 1024, 4099])
def test_large_batches_are_normalised_as_their_parts_are(dtype, places):
    x, weight, bias = norms_in_parts(dtype, places)

    def groups(x, w, b):
        return F.group_norm(x, 8, w, b)

    y, dx, dw, db = with_gradients(groups, x, weight, bias)
    for k in (0, 1, len(x) - 1):
        part_y, part_dx, _, _ = with_gradients(groups, x[k : k + 1], weight, bias)
        assert ctorch.equal(y[k : k + 1], part_y) and ctorch.equal(dx[k : k + 1], part_dx)

    def batch(x, w, b):
        return F.batch_norm(x, None, None, w, b, training=True)

    y, dx, dw, db = with_gradients(batch, x, weight, bias)
    tolerance = {"rtol": 0, "atol": 1e-5 if dtype in (ctorch.float32, ctorch.float64) else 4e-2}
    mean, var = x.double().mean((0, 2), keepdim=True), x.double().var((0, 2), keepdim=True, correction=0)
    h = (x.double() - mean) / (var + 1e-5).sqrt()
    w, b = (t.double().reshape(1, -1, 1) for t in (weight, bias))
    g = y.double() * 0.5 + 1
    expected = (
        w / (var + 1e-5).sqrt() * (g - g.mean((0, 2), keepdim=True) - h * (g * h).mean((0, 2), keepdim=True))
    )
    np.testing.assert_allclose(y.double().numpy(), (h * w + b).numpy(), **tolerance)
    np.testing.assert_allclose(dx.double().numpy(), expected.numpy(), **tolerance)
    for ours, sums in ((dw, g * h), (db, g)):  # of float16 they overflow
        sums = sums.sum((0, 2)).to(dtype).double()
        np.testing.assert_allclose(
            ours.double().numpy(), sums.numpy(), rtol=1e-2 if dtype.itemsize < 4 else 1e-4
        )


@pytest.mark.parametrize("shape", [(5, 9, 150), (3, 2, 12, 12), (4, 8, 129), (1, 40, 130), (7, 1, 200)])
def test_batch_norm_of_long_lines(shape):
    """These are computed channel by channel; the same in channels-last order, or of many short lines, is not."""
    x = ctorch.randn(shape) * 3 + 1000
    layer, other = ctorch.nn.BatchNorm1d(shape[1]), ctorch.nn.BatchNorm1d(shape[1])
    x = x.reshape(*shape[:2], -1)
    n = x.shape[2]
    turned = x.transpose(1, 2).reshape(-1, shape[1])  # of one place: by columns
    y, z = layer(x), other(turned).reshape(shape[0], n, shape[1]).transpose(1, 2)
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), atol=2e-4)
    for name in ("running_mean", "running_var"):
        np.testing.assert_allclose(getattr(layer, name).numpy(), getattr(other, name).numpy(), rtol=1e-5)
    for special in (float("nan"), float("inf")):
        x[0, 0, 3] = special
        y = layer(x)
        assert y[:, 0].isnan().all() and not y[:, 1:].isnan().any()


def test_statistics_of_groups_are_kept_for_backward():
    x = ctorch.randn(3, 6, 5, dtype=ctorch.float64, requires_grad=True)
    for function in (
        lambda x: F.group_norm(x, 3),
        lambda x: ctorch.native_group_norm(x, None, None, 3, 6, 5, 3, 1e-5)[0],
        lambda x: ctorch.native_group_norm(x, None, None, 6, 3, 5, 3, 1e-5)[0],
    ):
        assert ctorch.autograd.gradcheck(function, (x,))
        assert ctorch.autograd.gradgradcheck(function, (x,))
    half = ctorch.randn(2, 4, 300).to(ctorch.float16)
    wide = half.float()
    g = [with_gradients(lambda x: F.group_norm(x, 2), t)[1].float().numpy() for t in (half, wide)]
    np.testing.assert_allclose(*g, atol=2e-3)
