"""Pools and norms of channels_last and other strided input against PyTorch: values, gradients, memory format."""

from __future__ import annotations

import numpy as np
import pytest

import ctorch

torch = pytest.importorskip("torch", reason="the oracle of these tests")

# Whole and partial groups of the planes that kernels take side by side, windows that overlap, leave gaps or
# reach into the padding, ties and NaN.
LAYERS = {
    "max": lambda lib: lambda x: lib.nn.functional.max_pool2d(x, 3, 2, 1),
    "max_dilated": lambda lib: lambda x: lib.nn.functional.max_pool2d(x, 2, 3, 1, 2, ceil_mode=True),
    "max_dilated_padded": lambda lib: lambda x: lib.nn.functional.max_pool2d(x, 3, (2, 1), 1, 2),
    "max_indices": lambda lib: lambda x: lib.nn.functional.max_pool2d(x, (3, 2), 1, return_indices=True),
    "adaptive_max": lambda lib: lambda x: lib.nn.functional.adaptive_max_pool2d(x, (3, 1)),
    "avg": lambda lib: (
        lambda x: lib.nn.functional.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False)
    ),
    "avg_gaps": lambda lib: lambda x: lib.nn.functional.avg_pool2d(x, 2, 3),
    "adaptive_avg": lambda lib: lambda x: lib.nn.functional.adaptive_avg_pool2d(x, (4, 3)),
    "global_avg": lambda lib: lambda x: lib.nn.functional.adaptive_avg_pool2d(x, 1),
    "batch_norm": lambda lib: lib.nn.BatchNorm2d,
    "group_norm": lambda lib: lambda channels: lib.nn.GroupNorm(2 - channels % 2, channels),
}


@pytest.mark.parametrize("channels", (1, 3, 16, 20, 64, 84))
@pytest.mark.parametrize("name", LAYERS)
def test_layouts(name, channels):
    rng = np.random.default_rng(channels)
    x = rng.integers(-3, 4, (3, channels, 9, 8)).astype(np.float32)  # with ties
    if "norm" in name:
        x = rng.standard_normal(x.shape, dtype=np.float32) + 3
    expected = {}
    weight = None
    for lib in (torch, ctorch):
        layer = LAYERS[name](lib)
        if "norm" in name:
            layer = layer(channels)
        for layout in ("contiguous", "channels_last", "sliced"):
            t = lib.from_numpy(x.copy())
            if layout == "channels_last":
                t = t.to(memory_format=lib.channels_last)
            elif layout == "sliced":
                t = lib.cat((t, t), 3)[..., : t.shape[3]]
            t.requires_grad_(True)
            y = layer(t)
            y, rest = (y[0], [y[1]]) if isinstance(y, tuple) else (y, [])
            if weight is None:
                weight = rng.standard_normal(tuple(y.shape), dtype=np.float32)
            (y * lib.from_numpy(weight)).sum().backward()
            results = [y.detach().numpy(), t.grad.numpy(), *(r.numpy() for r in rest)]
            if lib is torch:
                expected[layout] = results
                continue
            if layout == "channels_last" and channels > 1:
                assert y.is_contiguous(memory_format=lib.channels_last)
            for ours, theirs in zip(results, expected[layout], strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("dtype", ("float64", "bfloat16", "float16", "int64", "int32", "uint8"))
@pytest.mark.parametrize("shape", ((2, 17, 70), (2, 33, 6, 7), (2, 5, 4, 6, 5)))
def test_pools_of_other_dtypes(dtype, shape):
    x = np.random.default_rng(0).integers(0, 100, shape)
    dims = len(shape) - 2
    ours = ctorch.from_numpy(x).to(getattr(ctorch, dtype))
    theirs = torch.from_numpy(x).double()  # where PyTorch has every pool
    for name in ["max_pool"] + (["avg_pool"] if dtype not in ("int32", "uint8") else []):
        a, b = (
            getattr(lib.nn.functional, f"{name}{dims}d")(t, 3, 2, 1)
            for lib, t in ((ctorch, ours), (torch, theirs))
        )
        b = b.trunc() if "int" in dtype else b
        tolerance = 1e-2 if "16" in dtype else 1e-12
        np.testing.assert_allclose(a.to(ctorch.float64).numpy(), b.numpy(), rtol=tolerance)


@pytest.mark.parametrize("n", (1, 7, 16, 31, 49, 64, 65, 200))
@pytest.mark.parametrize("rows", (1, 15, 33, 3000))
def test_short_rows(n, rows):
    x = np.random.default_rng(n).standard_normal((rows, n), dtype=np.float32) + 2
    out = []
    for lib in (torch, ctorch):
        t = lib.from_numpy(x.copy()).requires_grad_(True)
        layer = lib.nn.LayerNorm(n)
        y = layer(t)
        (y * y * lib.from_numpy(x)).sum().backward()
        out.append(
            [y.detach(), t.grad, layer.weight.grad, layer.bias.grad, t.detach().sum(1), t.detach().mean(1)]
        )
    for ours, theirs in zip(out[1], out[0], strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=2e-4, atol=2e-4 * max(1, rows / 100))
