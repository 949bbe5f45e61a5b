"""Padding, shuffling, interpolation and sliding blocks against PyTorch: values, derivatives, repr, errors."""

from __future__ import annotations

import numpy as np
import pytest

import ctorch
import ctorch.nn.functional as F

torch = pytest.importorskip("torch", reason="the oracle of these tests")
from tests.nn_oracle import array, close, derivatives, same_error, same_function, same_module  # noqa: E402

SIZES = {1: (9,), 2: (7, 6), 3: (5, 6, 4)}
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


@pytest.mark.parametrize("n", (1, 2, 3))
@pytest.mark.parametrize("kind", ("ConstantPad", "ZeroPad", "ReflectionPad", "ReplicationPad", "CircularPad"))
def test_padding_modules(n, kind):
    value = (1.5,) if kind == "ConstantPad" else ()
    for widths in (2, tuple(range(1, 2 * n + 1)) if kind in ("ConstantPad", "ZeroPad") else (1, 2) * n):
        same_module(lambda nn: getattr(nn, f"{kind}{n}d")(widths, *value), array(2, 3, *SIZES[n]))
        same_module(lambda nn: getattr(nn, f"{kind}{n}d")(widths, *value), array(3, *SIZES[n]))
    if kind == "CircularPad":
        same_error(lambda lib: getattr(lib.nn, f"CircularPad{n}d")(1)(lib.ones((3,) * (n + 3))))


def test_shuffles():
    same_module(lambda nn: nn.PixelShuffle(2), array(2, 8, 3, 4))
    same_module(lambda nn: nn.PixelUnshuffle(2), array(2, 3, 4, 6))
    same_module(lambda nn: nn.ChannelShuffle(3), array(2, 6, 3, 4))


MODES = [(n, m) for n in (1, 2, 3) for m in ("nearest", "nearest-exact", "area", LINEAR[n])] + [
    (2, "bicubic")
]


@pytest.mark.parametrize("n, mode", MODES)
@pytest.mark.parametrize("double", (True, False))
def test_interpolate(n, mode, double):
    x = array(2, 3, *SIZES[n], dtype="float64" if double else "float32")
    corners = (None,) if mode in ("nearest", "nearest-exact", "area") else (None, False, True)
    for align in corners:
        for size in (1, 4, tuple(s + 3 for s in SIZES[n]), SIZES[n], tuple(2 * s for s in SIZES[n])):
            same_function(
                lambda lib, x: lib.nn.functional.interpolate(x, size, mode=mode, align_corners=align), x
            )
        for factor in (2, 0.6, 1.3, (1.7,) * n):
            for recompute in (None, True):
                same_function(
                    lambda lib, x: lib.nn.functional.interpolate(
                        x,
                        scale_factor=factor,
                        mode=mode,
                        align_corners=align,
                        recompute_scale_factor=recompute,
                    ),
                    x,
                )


@pytest.mark.parametrize("n, mode", MODES)
def test_factors_that_leave_the_size(n, mode):
    # Values alone: PyTorch's gradient of some of these is not that of its result.
    same_function(
        lambda lib, x: lib.nn.functional.interpolate(x.detach(), scale_factor=1.05, mode=mode),
        array(2, 3, *SIZES[n]),
    )


@pytest.mark.parametrize("mode", ("bilinear", "bicubic", "lanczos"))
def test_antialias(mode):
    for align in (False,) if mode == "lanczos" else (False, True):
        for size in (3, (11, 2), (20, 25), (1, 1)):
            same_function(
                lambda lib, x: lib.nn.functional.interpolate(
                    x, size, mode=mode, align_corners=align, antialias=True
                ),
                array(2, 3, 9, 12),
            )
        same_function(
            lambda lib, x: lib.nn.functional.interpolate(x, scale_factor=0.4, mode=mode, antialias=True),
            array(2, 3, 9, 12),
        )


@pytest.mark.parametrize("mode", ("nearest", "nearest-exact", "bilinear", "bicubic"))
@pytest.mark.parametrize("channels", (3, 6))
def test_interpolated_bytes(mode, channels):
    x = np.random.default_rng(0).integers(0, 256, (2, channels, 9, 8), dtype=np.uint8)
    for antialias in (False, True) if mode.startswith("bi") else (False,):
        for size in ((4, 5), (17, 21), (9, 20)):
            a, b = (
                lib.nn.functional.interpolate(lib.from_numpy(x), size, mode=mode, antialias=antialias)
                for lib in (ctorch, torch)
            )
            assert (a.numpy() == b.numpy()).all()


@pytest.mark.parametrize("dtype", ("float16", "bfloat16"))
def test_half_types_are_interpolated_in_float(dtype):
    for mode in ("nearest", "bilinear", "bicubic"):
        x = array(2, 3, 9, 8)
        a, b = (
            lib.nn.functional.interpolate(lib.from_numpy(x).to(getattr(lib, dtype)), (13, 5), mode=mode)
            for lib in (ctorch, torch)
        )
        close(a, b, 2e-2 if dtype == "bfloat16" else 2e-3)


def test_channels_last_is_kept():
    for mode in ("nearest", "bilinear", "bicubic"):
        x = ctorch.from_numpy(array(2, 3, 4, 5)).contiguous(memory_format=ctorch.channels_last)
        assert F.interpolate(x, (7, 9), mode=mode).is_contiguous(memory_format=ctorch.channels_last)


def test_interpolate_errors():
    def fails(shape, *args, **options):
        same_error(lambda lib: lib.nn.functional.interpolate(lib.ones(shape), *args, **options))

    image = (2, 3, 8, 8)
    fails(image)
    fails(image, 3, scale_factor=2)
    fails(image, 3, recompute_scale_factor=True)
    fails(image, (3,))
    fails(image, scale_factor=(2,))
    fails(image, 3, mode="nearest", align_corners=True)
    fails(image, 3, mode="nearest", antialias=True)
    fails(image, 3, mode="lanczos")
    fails(image, 3, mode="some")
    fails(image, 3, mode="linear")
    fails(image, 3, mode="trilinear")
    fails((2, 3, 8), 3, mode="bilinear")
    fails((2, 3, 8), 3, mode="bicubic")
    fails((3, 8), 3)
    fails(image, 0)
    fails(image, scale_factor=0.01)
    fails(image, 2.5)
    fails(image, (2, 2.5))
    fails((2, 0, 8, 8), 3)
    for dtype in ("int64", "bool"):
        for mode in ("nearest", "bilinear", "area"):
            same_error(
                lambda lib: lib.nn.functional.interpolate(
                    lib.ones(image).to(getattr(lib, dtype)), 3, mode=mode
                )
            )


def test_upsample_modules():
    x = array(2, 3, 5, 4)
    same_module(lambda nn: nn.Upsample(scale_factor=2), x)
    same_module(lambda nn: nn.Upsample(size=(7, 3), mode="bilinear", align_corners=True), x)
    same_module(lambda nn: nn.Upsample(scale_factor=(1.5, 2), mode="bicubic"), x)
    same_module(lambda nn: nn.UpsamplingNearest2d(scale_factor=2), x)
    same_module(lambda nn: nn.UpsamplingBilinear2d(size=(7, 9)), x)
    for name in ("upsample", "upsample_nearest", "upsample_bilinear"):
        with pytest.warns(UserWarning, match="deprecated"):
            getattr(F, name)(ctorch.from_numpy(x), 3)
        same_function(lambda lib, x: getattr(lib.nn.functional, name)(x, (7, 3)), x)


BLOCKS = (
    ((2,), {}),
    ((3,), {"padding": 1, "stride": 2}),
    (((2, 3),), {"dilation": (2, 1), "padding": (0, 2), "stride": (1, 2)}),
    (((3, 2),), {"dilation": 2, "stride": 3}),
)


@pytest.mark.parametrize("args, options", BLOCKS)
def test_fold_and_unfold(args, options):
    for x in (array(2, 3, 8, 9), array(3, 8, 9)):
        same_module(lambda nn: nn.Unfold(*args, **options), x)
        columns = array(*torch.nn.Unfold(*args, **options)(torch.from_numpy(x)).shape)
        same_module(lambda nn: nn.Fold((8, 9), *args, **options), columns)


def test_fold_is_the_transpose_of_unfold():
    options = {"kernel_size": 3, "dilation": (1, 2), "padding": (2, 1), "stride": (2, 1)}
    x = ctorch.from_numpy(array(2, 3, 8, 9, dtype="float64"))
    columns = F.unfold(x, **options)
    y = ctorch.from_numpy(array(*columns.shape, seed=1, dtype="float64"))
    assert abs(((columns * y).sum() - (x * F.fold(y, (8, 9), **options)).sum()).item()) < 1e-9


def test_fold_errors():
    for args in (((9, 9),), (0,), ((2, 2, 2),), (2, 0), (2, 1, -1), (2, 1, 0, 0)):
        same_error(lambda lib: lib.nn.functional.unfold(lib.ones(2, 3, 8, 8), *args))
    same_error(lambda lib: lib.nn.functional.unfold(lib.ones(2, 0, 8, 8), 2))
    for shape, size in (
        ((2, 12, 8), (4, 4)),
        ((2, 13, 9), (4, 4)),
        ((9,), (4, 4)),
        ((2, 12, 9), (1, 1)),
        ((2, 0, 9), (4, 4)),
    ):
        same_error(lambda lib: lib.nn.functional.fold(lib.ones(shape), size, 2))
    same_error(lambda lib: lib.nn.functional.fold(lib.ones(2, 12, 9).long(), (4, 4), 2))


def test_second_derivatives():
    x = array(1, 2, 3, 4)
    for mode in ("nearest", "nearest-exact", "area", "bilinear", "bicubic"):
        derivatives(lambda x: F.interpolate(x, (5, 3), mode=mode) ** 2, x)
    derivatives(lambda x: F.interpolate(x, (2, 2), mode="bicubic", antialias=True) ** 2, x)
    derivatives(lambda x: F.unfold(x, 2, padding=1) ** 2, x)
    derivatives(lambda x: F.fold(x, (3, 4), 2) ** 2, array(1, 8, 6))
    derivatives(lambda x: F.pad(x, (1, 1, 1, 1), "reflect") ** 2, x)


def test_resample_refuses_tables_that_do_not_fit():
    x, where, weights = ctorch.ones(2, 3), ctorch.tensor([[0], [3]]), ctorch.ones(2, 1)
    with pytest.raises(RuntimeError, match="position 3 is outside a dim of size 3"):
        ctorch._C._resample(x, where, weights, 1)
    with pytest.raises(RuntimeError, match="one shape"):
        ctorch._C._resample(x, where, weights[:1], 1)
    with pytest.raises(NotImplementedError, match="float32 or float64"):
        ctorch._C._resample(x.long(), where, weights, 1)


@pytest.mark.parametrize("dtype", ("bool", "complex64", "float16", "bfloat16", "float64"))
def test_blocks_of_dtypes_and_layouts(dtype):
    def run(lib, x):
        x = x.detach().transpose(2, 3)
        x = (x > 0) if dtype == "bool" else x.to(getattr(lib, dtype))
        columns = lib.nn.functional.unfold(x, (2, 3), padding=1, stride=(1, 2))
        back = lib.nn.functional.fold(columns, x.shape[2:], (2, 3), padding=1, stride=(1, 2))
        return tuple(t.float() if dtype == "bfloat16" else t for t in (columns, back))

    same_function(run, array(2, 3, 6, 5), tol=2e-2 if dtype in ("float16", "bfloat16") else 2e-5)


def test_blocks_that_lie_in_the_padding_alone():
    for padding, stride in ((3, 1), (4, 2), ((0, 5), (1, 3))):
        options = {"kernel_size": 2, "padding": padding, "stride": stride}
        x = array(1, 2, 2, 3)
        same_module(lambda nn: nn.Unfold(**options), x)
        columns = array(*torch.nn.Unfold(**options)(torch.from_numpy(x)).shape)
        same_module(lambda nn: nn.Fold((2, 3), **options), columns)


def test_edge_padding_refuses_what_the_tensor_does_not_have():
    x = ctorch.ones(2, 3, 4)
    for pad, mode in (([4, 0], "reflect"), ([-1, 0], "replicate"), ([1], "circular"), ([1, 1], "mirror")):
        with pytest.raises(RuntimeError, match="pad"):
            ctorch._C._edge_pad(x, pad, mode)
    with pytest.raises(RuntimeError, match="pad"):
        ctorch._C._edge_pad(ctorch.ones(2, 0), [1, 1], "replicate")
    with pytest.raises(RuntimeError, match="pad_backward"):
        ctorch._C._edge_pad_backward(x, [3, 3], "replicate")


@pytest.mark.parametrize("mode", ("reflect", "replicate", "circular"))
def test_edge_padding_keeps_channels_last(mode):
    x = ctorch.from_numpy(array(2, 3, 4, 5)).contiguous(memory_format=ctorch.channels_last)
    padded = F.pad(x, (2, 1, 0, 3), mode)
    assert padded.is_contiguous(memory_format=ctorch.channels_last)
    close(padded, torch.nn.functional.pad(torch.from_numpy(x.contiguous().numpy()), (2, 1, 0, 3), mode))
    derivatives(lambda x: F.pad(x, (2, 1, 0, 3), mode) ** 2, array(1, 2, 4, 3))
