"""The ways in which convolutions are computed beside the sum over taps: Winograd's, depthwise, joined small
images, float copies of half types, channels-last images. Each against PyTorch in float64, at every kernel
level."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import ctorch

torch = pytest.importorskip("torch")

EPS = 2.0**-23
# Greatest error over the greatest result. Of a sum over taps, and of Winograd's method.
TAPS, WINOGRAD = 8 * EPS, 32 * EPS


def results(module, dtype, case, channels_last, x, w, b, options):
    """(result, gradient of x, gradient of w) in `dtype`, as float64 arrays."""
    x, w, b = (module.tensor(a).to(dtype) for a in (x, w, b))
    x, w = x.requires_grad_(), w.requires_grad_()
    image = x.contiguous(memory_format=module.channels_last) if channels_last else x
    y = getattr(module.nn.functional, case)(image, w, b, **options)
    if channels_last:
        assert y.is_contiguous(memory_format=module.channels_last)
    rng = np.random.default_rng(7)
    y.backward(module.tensor(rng.standard_normal(tuple(y.shape)).astype(np.float32)).to(dtype))
    return [t.detach().to(module.float64).numpy() for t in (y, x.grad, w.grad)]


def check(case, x_shape, w_shape, bound, dtype="float32", channels_last=False, **options):
    rng = np.random.default_rng(3)
    x = rng.standard_normal(x_shape, dtype=np.float32)
    w = rng.standard_normal(w_shape, dtype=np.float32) * float(np.prod(w_shape[1:])) ** -0.5
    transposed = "transpose" in case
    channels = w_shape[1] * options.get("groups", 1) if transposed else w_shape[0]
    b = rng.standard_normal(channels, dtype=np.float32)
    half = dtype in ("bfloat16", "float16")
    if half:  # values that the type has, so that both sides start from the same
        x, w, b = (torch.tensor(a).to(getattr(torch, dtype)).float().numpy() for a in (x, w, b))
    got = results(ctorch, getattr(ctorch, dtype), case, channels_last, x, w, b, options)
    wanted = results(torch, torch.float64, case, channels_last, x, w, b, options)
    for name, a, r in zip(("result", "gradient of x", "gradient of w"), got, wanted):
        error = np.abs(a - r).max() / np.abs(r).max()
        assert error <= bound, f"{name}: {error / EPS:.1f} eps"


WINOGRAD_CASES = {
    "one tile": ("conv2d", (1, 16, 4, 4), (16, 16, 3, 3), {"padding": 1}),
    "whole tiles": ("conv2d", (2, 64, 16, 24), (64, 64, 3, 3), {"padding": 1}),
    "odd": ("conv2d", (3, 33, 13, 19), (35, 33, 3, 3), {"padding": 1}),
    "no padding": ("conv2d", (2, 24, 11, 30), (40, 24, 3, 3), {}),
    "more padding than the filter reaches": ("conv2d", (2, 16, 9, 10), (32, 16, 3, 3), {"padding": (4, 3)}),
    "wide": ("conv2d", (1, 16, 6, 430), (16, 16, 3, 3), {"padding": 1}),
    "many channels": ("conv2d", (4, 300, 7, 7), (270, 300, 3, 3), {"padding": 1}),
    "dilation": ("conv2d", (2, 32, 30, 27), (32, 32, 3, 3), {"padding": 2, "dilation": (2, 3)}),
    "groups": ("conv2d", (2, 48, 14, 14), (64, 24, 3, 3), {"padding": 1, "groups": 2}),
    "taps in depth": ("conv3d", (2, 16, 5, 12, 13), (32, 16, 3, 3, 3), {"padding": 1}),
    "flat filter in depth": (
        "conv3d",
        (1, 16, 6, 12, 13),
        (32, 16, 1, 3, 3),
        {"stride": (2, 1, 1), "padding": (0, 1, 1)},
    ),
    "transposed": ("conv_transpose2d", (2, 33, 15, 15), (33, 35, 3, 3), {"padding": 1}),
    "transposed, stride 2": ("conv_transpose2d", (2, 32, 15, 15), (32, 32, 6, 6), {"stride": 2}),
    "2 x 2": ("conv2d", (2, 33, 13, 18), (35, 33, 2, 2), {"padding": 1}),
    "2 x 2, dilation": ("conv2d", (2, 32, 18, 39), (32, 32, 2, 2), {"dilation": (2, 3)}),
    "2 x 3": ("conv2d", (2, 33, 13, 18), (35, 33, 2, 3), {"padding": 1}),
    "transposed, 2 x 2 per phase": (
        "conv_transpose2d",
        (3, 33, 15, 13),
        (33, 35, 4, 4),
        {"stride": 2, "padding": 1},
    ),
}

# Phases of one and two taps; which has two depends on the padding.
for padding in (0, 1, 2, (1, 2)):
    WINOGRAD_CASES[f"stride 2, padding {padding}"] = (
        "conv2d",
        (2, 33, 60, 58),
        (35, 33, 3, 3),
        {"stride": 2, "padding": padding},
    )
WINOGRAD_CASES |= {
    "stride 2, whole tiles": ("conv2d", (2, 64, 32, 48), (64, 64, 3, 3), {"stride": 2, "padding": 1}),
    "stride 2, many channels": ("conv2d", (8, 300, 32, 32), (270, 300, 3, 3), {"stride": 2, "padding": 1}),
    "stride 2, wide": ("conv2d", (1, 48, 16, 840), (48, 48, 3, 3), {"stride": 2, "padding": 1}),
    "stride 2, groups": ("conv2d", (2, 96, 60, 58), (96, 48, 3, 3), {"stride": 2, "padding": 1, "groups": 2}),
    "stride 2, dilation 2": ("conv2d", (2, 32, 61, 58), (32, 32, 3, 3), {"stride": 2, "dilation": 2}),
    "stride 2, dilation 3": ("conv2d", (2, 64, 78, 102), (64, 64, 3, 3), {"stride": 2, "dilation": 3}),
    "stride 2 in rows": ("conv2d", (2, 33, 29, 26), (35, 33, 3, 3), {"stride": (2, 1), "padding": 1}),
    "stride 2, 4 x 4": ("conv2d", (2, 33, 60, 58), (35, 33, 4, 4), {"stride": 2, "padding": 1}),
    "stride 2, 5 x 5": ("conv2d", (2, 33, 29, 26), (35, 33, 5, 5), {"stride": 2, "padding": 2}),
    "stride 2, taps in depth": ("conv3d", (2, 32, 5, 60, 58), (32, 32, 3, 3, 3), {"stride": 2, "padding": 1}),
}


def layouts(cases):
    """(name, channels_last) of all cases: channels_last is for tensors of four dimensions."""
    flat = [name for name, case in cases.items() if any(isinstance(s, tuple) and len(s) == 4 for s in case)]
    return [(name, False) for name in cases] + [(name, True) for name in flat]


@pytest.mark.parametrize(("name", "channels_last"), layouts(WINOGRAD_CASES))
def test_winograd(name, channels_last):
    case, x_shape, w_shape, options = WINOGRAD_CASES[name]
    check(case, x_shape, w_shape, WINOGRAD, channels_last=channels_last, **options)


DEPTHWISE_CASES = {
    "3 x 3": ((3, 37, 14, 15), (37, 1, 3, 3), {"padding": 1}),
    "stride": ((2, 24, 15, 30), (24, 1, 3, 3), {"stride": (2, 3), "padding": 1}),
    "dilated 5 x 5": ((2, 20, 21, 70), (20, 1, 5, 5), {"padding": 4, "dilation": 2}),
    "two results each": ((2, 24, 13, 14), (48, 1, 3, 3), {"padding": 1}),
    "two channels each": ((2, 24, 13, 14), (12, 2, 3, 3), {"padding": 1}),
    "one tap": ((2, 40, 9, 9), (40, 1, 1, 1), {"stride": 2}),
    "in depth": ((2, 9, 5, 9, 29), (9, 1, 3, 3, 3), {"padding": 1, "stride": (1, 2, 1)}),
}


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("name", "channels_last"), layouts(DEPTHWISE_CASES))
def test_depthwise(name, transposed, channels_last):
    x_shape, w_shape, options = DEPTHWISE_CASES[name]
    groups = x_shape[1] // w_shape[1]
    if transposed:
        w_shape = (x_shape[1], w_shape[0] // groups, *w_shape[2:])
    case = f"conv{'_transpose' * transposed}{len(x_shape) - 2}d"
    check(case, x_shape, w_shape, TAPS, channels_last=channels_last, groups=groups, **options)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (1, 1), (1, 2), (5, 1)])
def test_small_images(batch, kernel, stride, channels_last):
    """7 x 7 points fill vectors badly; those of all images are joined, and a few read the filter in place."""
    check(
        "conv2d",
        (batch, 70, 7, 7),
        (130, 70, kernel, kernel),
        WINOGRAD if kernel == 3 else TAPS,  # the larger batches take it
        channels_last=channels_last,
        stride=stride,
        padding=kernel // 2,
    )


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    ("x_shape", "w_shape", "options"),
    [
        ((2, 32, 12, 13), (32, 32, 3, 3), {"padding": 1}),
        ((2, 32, 12, 13), (48, 32, 1, 1), {}),
        ((2, 32, 12, 13), (48, 32, 5, 5), {"stride": 2}),
        ((2, 32, 12, 13), (32, 1, 3, 3), {"groups": 32}),
    ],
)
def test_half_types_are_rounded_once(x_shape, w_shape, options, dtype, channels_last):
    """Half a unit of the type's precision, and what float sums add."""
    unit = {"bfloat16": 2.0**-8, "float16": 2.0**-11}[dtype]
    check("conv2d", x_shape, w_shape, 1.1 * unit, dtype, channels_last, **options)


PAIR_CASES = {
    "odd channels": ("conv2d", (2, 33, 13, 19), (35, 33, 5, 5), {"padding": 2}),
    "few channels": ("conv2d", (2, 3, 33, 29), (9, 3, 7, 7), {"stride": 2, "padding": 3}),
    "one channel": ("conv1d", (2, 1, 71), (8, 1, 5), {"padding": 2}),
    "stride 2": ("conv2d", (16, 33, 15, 22), (70, 33, 3, 3), {"stride": 2, "padding": 1}),
    "stride 2, a single image": ("conv2d", (1, 33, 30, 31), (70, 33, 3, 3), {"stride": 2, "padding": 1}),
    "stride 2 in columns": ("conv2d", (2, 32, 15, 71), (24, 32, 3, 5), {"stride": (1, 2), "padding": (0, 3)}),
    "stride 3": ("conv2d", (2, 20, 25, 26), (31, 20, 5, 4), {"stride": 3}),
    "1 x 1, stride 2": ("conv2d", (2, 31, 17, 17), (64, 31, 1, 1), {"stride": 2}),
    "dilation": ("conv2d", (2, 17, 21, 24), (16, 17, 5, 5), {"padding": 4, "dilation": (2, 3)}),
    "groups": ("conv2d", (3, 39, 14, 14), (60, 13, 5, 5), {"padding": 2, "groups": 3}),
    "joined images": ("conv2d", (16, 70, 7, 7), (130, 70, 3, 3), {"padding": 1}),
    "few points": ("conv2d", (1, 71, 7, 7), (130, 71, 5, 5), {"padding": 2}),
    "few points, groups": ("conv2d", (2, 46, 7, 7), (150, 23, 5, 5), {"padding": 2, "groups": 2}),
    "few points, stride 2 without a tap for each": (
        "conv2d",
        (1, 130, 14, 14),
        (71, 130, 1, 1),
        {"stride": 2},
    ),
    "long sums": ("conv2d", (2, 257, 9, 9), (20, 257, 5, 5), {"padding": 2}),
    "in one dimension": ("conv1d", (2, 19, 70), (32, 19, 7), {"padding": 3}),
    "in depth": ("conv3d", (2, 17, 5, 9, 13), (20, 17, 3, 3, 3), {"padding": 1, "stride": (1, 2, 1)}),
    "transposed": ("conv_transpose2d", (2, 33, 8, 9), (33, 35, 5, 5), {"stride": 2, "padding": 2}),
    "transposed, groups": ("conv_transpose2d", (2, 40, 8, 9), (40, 19, 4, 4), {"stride": 3, "groups": 2}),
}


@pytest.mark.parametrize(("name", "channels_last"), layouts(PAIR_CASES))
def test_bfloat16_in_pairs_of_channels(name, channels_last):
    """Half a unit of the type's precision, and what the rounding of the result's gradient adds."""
    case, x_shape, w_shape, options = PAIR_CASES[name]
    check(case, x_shape, w_shape, 1.1 * 2.0**-8, "bfloat16", channels_last, **options)


@pytest.mark.parametrize("name", PAIR_CASES)
def test_bfloat16_is_rounded_once_from_a_float_sum(name):
    """Each element by itself, also with a filter that is kept prepared (from the second time on)."""
    case, x_shape, w_shape, options = PAIR_CASES[name]
    rng = np.random.default_rng(5)
    channels = w_shape[1] * options.get("groups", 1) if "transpose" in case else w_shape[0]
    x, w, b = (torch.tensor(rng.standard_normal(s)).bfloat16() for s in (x_shape, w_shape, channels))
    wanted = getattr(torch.nn.functional, case)(x.double(), w.double(), b.double(), **options)
    sizes = getattr(torch.nn.functional, case)(
        x.double().abs(), w.double().abs(), b.double().abs(), **options
    )
    ours = [ctorch.tensor(t.float().numpy()).bfloat16() for t in (x, w, b)]
    with ctorch.no_grad():
        found = [getattr(ctorch.nn.functional, case)(*ours, **options).double().numpy() for _ in range(3)]
    bound = 2.0**-8 * wanted.abs() + TAPS * sizes
    for y in found:
        assert (np.abs(y - wanted.numpy()) <= bound.numpy()).all()


@pytest.mark.parametrize("where", ["image", "last column", "filter"])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
@pytest.mark.parametrize("stride", [1, 2])
def test_special_values_in_pairs(where, value, stride):
    """Pairs of channels, of points for the gradient of the filter; rows of an odd number of points."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 33, 20, 23 * stride), dtype=np.float32)
    w = rng.standard_normal((34, 33, 5, 5), dtype=np.float32)
    if where == "filter":
        w[1, 2, 2, 2] = value  # a tap that meets no padding
    else:
        x[0, 32, 5, 7 if where == "image" else -1] = value
    b = np.zeros(34, np.float32)
    options = {"padding": 2, "stride": stride}
    got = results(ctorch, ctorch.bfloat16, "conv2d", False, x, w, b, options)
    # (In bfloat16 PyTorch multiplies the infinity by the zero that fills up an odd row, too.)
    wanted = results(torch, torch.float32, "conv2d", False, x, w, b, options)
    for a, r in zip(got, wanted):
        assert (np.isnan(a) == np.isnan(r)).all()
        assert (np.isposinf(a) == np.isposinf(r)).all() and (np.isneginf(a) == np.isneginf(r)).all()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("value", [float("inf"), float("nan"), 3e38])
@pytest.mark.parametrize("where", ["image", "filter"])
def test_special_values_reach_what_they_touch(where, value, stride):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 32, 20 * stride, 22 * stride), dtype=np.float32)
    w = rng.standard_normal((32, 32, 3, 3), dtype=np.float32) * np.float32(0.06)
    if where == "image":
        x[0, 3, 5, 7] = value
    else:
        w[1, 2, 1, 1] = value
    b = np.zeros(32, np.float32)
    options = {"padding": 1, "stride": stride}
    got = results(ctorch, ctorch.float32, "conv2d", False, x, w, b, options)
    with np.errstate(over="ignore", invalid="ignore"):
        wanted = results(torch, torch.float32, "conv2d", False, x, w, b, options)
    for a, r in zip(got, wanted):
        assert (np.isnan(a) == np.isnan(r)).all() and (np.isposinf(a) == np.isposinf(r)).all()
        finite = np.isfinite(a) & np.isfinite(r)
        touched = finite & (np.abs(r) > 1e30)
        near = finite & ~touched
        np.testing.assert_allclose(a[touched], r[touched], rtol=1e-5)
        np.testing.assert_allclose(a[near], r[near], atol=WINOGRAD * np.abs(r[near]).max())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_same_bits_for_every_number_of_threads(dtype):
    rng = np.random.default_rng(1)
    threads = ctorch.get_num_threads()
    try:
        for x_shape, w_shape, options in (
            ((5, 40, 15, 17), (50, 40, 3, 3), {"padding": 1}),
            ((1, 40, 15, 17), (50, 40, 3, 3), {"padding": 1}),
            ((5, 40, 60, 58), (50, 40, 3, 3), {"padding": 1, "stride": 2}),
            ((1, 40, 60, 58), (50, 40, 3, 3), {"padding": 1, "stride": 2}),
            ((5, 70, 7, 7), (130, 70, 3, 3), {"stride": 2}),
            ((1, 70, 7, 7), (130, 70, 5, 5), {"padding": 2}),
            ((5, 40, 15, 17), (50, 40, 5, 5), {"padding": 2}),
            ((5, 40, 15, 17), (40, 1, 3, 3), {"groups": 40}),
        ):
            x, w = (rng.standard_normal(s, dtype=np.float32) for s in (x_shape, w_shape))
            b = np.zeros(w_shape[0], np.float32)
            for channels_last in (False, True):
                found = []
                for n in (1, 2, 3):
                    ctorch.set_num_threads(n)
                    found.append(
                        results(ctorch, getattr(ctorch, dtype), "conv2d", channels_last, x, w, b, options)
                    )
                for other in found[1:]:
                    assert all((one == two).all() for one, two in zip(found[0], other))
    finally:
        ctorch.set_num_threads(threads)


@pytest.mark.parametrize("level", ["generic", "avx2", "avx512"])
def test_at_a_lower_level(level):
    levels = ["generic", "avx2", "avx512", "avx512_bf16", "amx"]
    if levels.index(level) >= levels.index(ctorch._C._isa()):
        pytest.skip(f"this run is at the level {ctorch._C._isa()}")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__]
    env = dict(os.environ, CTORCH_ISA=level)
    done = subprocess.run([*command, "-k", "not lower_level"], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
