"""Convolution and pooling layers against PyTorch: values, gradients, state, repr, errors."""

from __future__ import annotations

import pytest

import ctorch
import ctorch.nn.functional as F

torch = pytest.importorskip("torch", reason="the oracle of these tests")
from tests.nn_oracle import array, close, derivatives, same_error, same_function, same_module  # noqa: E402

SIZES = {1: (9,), 2: (7, 6), 3: (5, 6, 4)}


@pytest.mark.parametrize("n", (1, 2, 3))
@pytest.mark.parametrize("mode", ("zeros", "reflect", "replicate", "circular"))
@pytest.mark.parametrize("padding", (0, 2, "same", "valid"))
def test_conv_padding_modes(n, mode, padding):
    def make(nn):
        return getattr(nn, f"Conv{n}d")(4, 6, 3, padding=padding, dilation=1, groups=2, padding_mode=mode)

    same_module(make, array(2, 4, *SIZES[n]))
    same_module(make, array(4, *SIZES[n]))


@pytest.mark.parametrize("mode", ("zeros", "reflect", "replicate", "circular"))
def test_same_padding_of_even_kernels(mode):
    same_module(
        lambda nn: nn.Conv2d(2, 3, (4, 3), padding="same", dilation=(1, 2), padding_mode=mode),
        array(2, 2, 8, 9),
    )


@pytest.mark.parametrize("n", (1, 2, 3))
@pytest.mark.parametrize(
    "options",
    (
        {},
        {"stride": 2, "padding": 1},
        {"stride": 3, "output_padding": 2},
        {"groups": 2, "dilation": 2},
        {"bias": False},
    ),
)
def test_conv_transpose(n, options):
    def make(nn):
        return getattr(nn, f"ConvTranspose{n}d")(4, 6, 3, **options)

    same_module(make, array(2, 4, *SIZES[n]))
    same_module(make, array(4, *SIZES[n]))


@pytest.mark.parametrize("n", (1, 2, 3))
def test_conv_transpose_reaches_every_output_size(n):
    for extra in (0, 1):
        size = [2 * s - 1 + extra for s in SIZES[n]]

        def run(lib, x):
            lib.manual_seed(1)
            layer = getattr(lib.nn, f"ConvTranspose{n}d")(3, 2, 3, stride=2, padding=1)
            return layer(x, output_size=size), layer(x, output_size=(2, 2, *size))

        same_function(run, array(2, 3, *SIZES[n]))


def test_conv_errors():
    x = array(2, 3, 5, 5)
    same_error(lambda lib: lib.nn.ConvTranspose2d(3, 2, 3, padding_mode="reflect"))
    same_error(lambda lib: lib.nn.ConvTranspose2d(3, 2, 3, groups=2))
    same_error(lambda lib: lib.nn.Conv3d(3, 2, 3, padding="some"))
    same_error(lambda lib: lib.nn.Conv3d(3, 2, 3, padding="same", stride=2))
    for size in ((20, 20), (9,), (2, 2, 2)):
        same_error(lambda lib: lib.nn.ConvTranspose2d(3, 2, 3, stride=2)(lib.from_numpy(x), output_size=size))


POOLS = [
    (name, n, args)
    for n in (1, 2, 3)
    for name, args in (
        ("AvgPool", (3,)),
        ("AvgPool", (3, 2, 1, True, False)),
        ("MaxPool", (3, 2, 1)),
        ("MaxPool", (2, None, 1, 2, True, True)),
        ("LPPool", (2, 3)),
        ("LPPool", (3, 2, 1, True)),
        ("LPPool", (float("inf"), 2)),
        ("AdaptiveAvgPool", (3,)),
        ("AdaptiveMaxPool", (2,)),
        ("AdaptiveMaxPool", (3, True)),
    )
]


@pytest.mark.parametrize("name, n, args", POOLS)
def test_pool_modules(name, n, args):
    x = abs(array(2, 3, *SIZES[n])) if name == "LPPool" else array(2, 3, *SIZES[n])
    same_module(lambda nn: getattr(nn, f"{name}{n}d")(*args), x)
    same_module(lambda nn: getattr(nn, f"{name}{n}d")(*args), x[0])


def test_adaptive_sizes_with_none():
    for n, size in ((2, (None, 3)), (3, (2, None, 3))):
        for kind in ("avg", "max"):
            x = array(2, 3, *SIZES[n])
            same_function(lambda lib, x: getattr(lib.nn.functional, f"adaptive_{kind}_pool{n}d")(x, size), x)
    same_error(lambda lib: lib.nn.functional.adaptive_max_pool2d(lib.ones(3, 3), (3, None)))


@pytest.mark.parametrize("n", (1, 2, 3))
def test_names_with_indices(n):
    x = array(2, 3, *SIZES[n])
    same_function(lambda lib, x: getattr(lib.nn.functional, f"max_pool{n}d_with_indices")(x, 2), x)
    same_function(lambda lib, x: getattr(lib.nn.functional, f"adaptive_max_pool{n}d_with_indices")(x, 2), x)


@pytest.mark.parametrize("n", (1, 2, 3))
@pytest.mark.parametrize("batched", (True, False))
def test_max_unpool(n, batched):
    def run(lib, x):
        pooled, where = getattr(lib.nn, f"MaxPool{n}d")(2, 2, return_indices=True)(x)
        unpool = getattr(lib.nn, f"MaxUnpool{n}d")(2, 2)
        larger = x.shape[-n:]
        return unpool(pooled, where), unpool(pooled, where, output_size=tuple(larger))

    x = array(2, 3, *SIZES[n])
    same_function(run, x if batched else x[0])
    assert repr(getattr(ctorch.nn, f"MaxUnpool{n}d")(2, 3)) == repr(getattr(torch.nn, f"MaxUnpool{n}d")(2, 3))


def test_unpooling_overlapping_windows_takes_the_gradient_of_every_copy():
    def run(lib, x):
        pooled, where = lib.nn.functional.max_pool2d(x, 3, 1, return_indices=True)
        leaf = pooled.detach().requires_grad_()
        lib.nn.functional.max_unpool2d(leaf, where, 3, 1).sum().backward()
        return leaf.grad

    x = array(1, 1, 6, 6)
    close(run(ctorch, ctorch.from_numpy(x)), run(torch, torch.from_numpy(x)))


def test_unpool_errors():
    def run(lib, change):
        y, i = lib.nn.functional.max_pool2d(lib.from_numpy(array(2, 3, 8, 8)), 2, return_indices=True)
        return change(lib.nn.functional.max_unpool2d, y, i)

    for change in (
        lambda f, y, i: f(y, i.int(), 2),
        lambda f, y, i: f(y, i[:1], 2),
        lambda f, y, i: f(y, i + 100, 2),
        lambda f, y, i: f(y, i, 2, output_size=(3, 3)),
        lambda f, y, i: f(y, i, 2, output_size=(9,)),
        lambda f, y, i: f(y[0, 0], i[0, 0], 2),
        lambda f, y, i: f(y.int(), i, 2),
        lambda f, y, i: f(y[:, :0], i[:, :0], 2),
    ):
        same_error(lambda lib: run(lib, change))


def test_second_derivatives_of_pools():
    x = array(1, 2, 4, 5)
    where = F.max_pool2d(ctorch.from_numpy(x), 2, return_indices=True)[1]
    derivatives(lambda x: F.adaptive_max_pool2d(x, (2, 3)), x)
    derivatives(lambda x: F.adaptive_avg_pool3d(x, (1, 2, 3)), x)
    derivatives(lambda x: F.avg_pool3d(x, 2, 1, 1), array(1, 2, 2, 4, 3))
    derivatives(lambda x: F.lp_pool2d(x.exp(), 3, 2), x)
    derivatives(lambda x: F.max_unpool2d(x, where, 2, output_size=(4, 5)), array(*where.shape))


PAD_MODES = ("constant", "reflect", "replicate", "circular")


@pytest.mark.parametrize("mode", PAD_MODES)
@pytest.mark.parametrize(
    "shape, widths",
    (
        ((2, 5), (1, 3)),
        ((2, 3, 5), (2, 0)),
        ((2, 3, 5), (-2, 3)),
        ((3, 4, 5), (1, 2, 3, 0)),
        ((2, 3, 4, 5), (0, 1, -1, 2)),
        ((2, 3, 4, 5), (1, 0, 1, 2, 0, 2)),
        ((2, 3, 4, 3, 5), (1, 2, 2, 2, 3, 1)),
        ((0, 3, 5), (1, 1)),
    ),
)
def test_pad(mode, shape, widths):
    same_function(lambda lib, x: lib.nn.functional.pad(x, widths, mode), array(*shape))


def test_pad_errors():
    for mode in PAD_MODES[1:]:
        for shape, widths in (
            ((5,), (1, 1)),
            ((2, 5), (1, 1, 1, 1)),
            ((2, 3, 4, 5), (1, 1)),
            ((2, 3, 5), (1, 1, 1)),
            ((3, 4, 5), (1,) * 6),
        ):
            same_error(lambda lib: lib.nn.functional.pad(lib.ones(shape), widths, mode))
        same_error(lambda lib: lib.nn.functional.pad(lib.ones(2, 3, 5), (1, 1), mode, 1.0))
        same_error(lambda lib: lib.nn.functional.pad(lib.ones(2, 3, 5), (-9, 1), mode))
    same_error(lambda lib: lib.nn.functional.pad(lib.ones(2, 3, 5), (5, 1), "reflect"))
    same_error(lambda lib: lib.nn.functional.pad(lib.ones(2, 3, 5), (6, 1), "circular"))
    same_error(lambda lib: lib.nn.functional.pad(lib.ones(2, 0, 5), (1, 1), "reflect"))
    same_error(lambda lib: lib.nn.functional.pad(lib.ones(2, 3, 5), (1, 1), "mirror"))
