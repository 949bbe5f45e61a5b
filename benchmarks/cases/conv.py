"""Convolution, pooling and normalisation layers, forward and backward."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .base import case, f64, fill, rand, unroll


def conv_ref(x, w, s, p, d, g):
    o, ci, k, _ = w.shape
    x = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
    v = sliding_window_view(x, (d * (k - 1) + 1,) * 2, axis=(2, 3))[:, :, ::s, ::s, ::d, ::d]
    out = [
        np.tensordot(v[:, i * ci : (i + 1) * ci], w[i * o // g : (i + 1) * o // g], ((1, 4, 5), (1, 2, 3)))
        for i in range(g)
    ]
    return np.moveaxis(np.concatenate(out, -1), -1, 1)


def conv(T, n, c, hw, o, k, s=1, p=0, d=1, g=1, backward=False):
    x = rand(T, n, c, hw, hw, grad=backward)
    w = rand(T, o, c // g, k, k, scale=(c // g * k * k) ** -0.5, grad=backward)

    def f():
        return T.nn.functional.conv2d(x, w, None, s, p, d, g)

    if backward:

        def step():
            x.grad = w.grad = None
            y = f()
            y.backward(y.detach())
            return w.grad

        return step

    def err(out):
        i = [0, n - 1] if n > 1 else [0]
        ref = conv_ref(f64(x)[i], f64(w), s, p, d, g)
        return float(np.abs(f64(out)[i] - ref).max() / np.abs(ref).max())

    return f, err


def conv_flops(n, c, hw, o, k, s=1, p=0, d=1, g=1):
    return 2 * n * o * ((hw + 2 * p - d * (k - 1) - 1) // s + 1) ** 2 * (c // g) * k * k


CONV = {  # name: batches, shape after the batch
    "7x7s2_3_64_224": ((16, 1), {"c": 3, "hw": 224, "o": 64, "k": 7, "s": 2, "p": 3}),
    "3x3_64_64_56": ((16, 1), {"c": 64, "hw": 56, "o": 64, "k": 3, "p": 1}),
    "3x3s2_64_128_56": ((16, 1), {"c": 64, "hw": 56, "o": 128, "k": 3, "s": 2, "p": 1}),
    "3x3_128_128_28": ((16, 1), {"c": 128, "hw": 28, "o": 128, "k": 3, "p": 1}),
    "3x3_256_256_14": ((16, 1), {"c": 256, "hw": 14, "o": 256, "k": 3, "p": 1}),
    "3x3_512_512_7": ((16, 1), {"c": 512, "hw": 7, "o": 512, "k": 3, "p": 1}),
    "1x1_64_256_56": ((16, 1), {"c": 64, "hw": 56, "o": 256, "k": 1}),
    "1x1_256_64_56": ((16, 1), {"c": 256, "hw": 56, "o": 64, "k": 1}),
    "1x1s2_256_512_56": ((16,), {"c": 256, "hw": 56, "o": 512, "k": 1, "s": 2}),
    "1x1_1024_256_14": ((16, 1), {"c": 1024, "hw": 14, "o": 256, "k": 1}),
    "1x1_512_2048_7": ((16, 1), {"c": 512, "hw": 7, "o": 2048, "k": 1}),
    "dw3x3_144_56": ((16, 1), {"c": 144, "hw": 56, "o": 144, "k": 3, "p": 1, "g": 144}),
    "dw3x3s2_144_56": ((16,), {"c": 144, "hw": 56, "o": 144, "k": 3, "s": 2, "p": 1, "g": 144}),
    "group32_3x3_128_56": ((16,), {"c": 128, "hw": 56, "o": 128, "k": 3, "p": 1, "g": 32}),
    "dilated2_3x3_256_28": ((16,), {"c": 256, "hw": 28, "o": 256, "k": 3, "p": 2, "d": 2}),
}
for _name, (_batches, _s) in CONV.items():
    for _n in _batches:
        case(f"conv/{_name}/b{_n}", lambda T, th, n=_n, s=_s: conv(T, n, **s), flops=conv_flops(_n, **_s))
for _name in ("3x3_64_64_56", "1x1_256_64_56", "dw3x3_144_56"):
    case(
        f"conv/fwd_bwd_{_name}/b16",
        lambda T, th, s=CONV[_name][1]: conv(T, 16, **s, backward=True),
        flops=3 * conv_flops(16, **CONV[_name][1]),
    )


def layer(T, fn, *shape, backward=False):
    """fn(nn, F) -> a callable of x, forward or forward + backward."""
    x, f = rand(T, *shape, grad=backward), fn(T.nn, T.nn.functional)

    def step():
        x.grad = None
        y = f(x)
        y.backward(y.detach())
        return x.grad

    return step if backward else lambda: f(x)


for _name, _fn, _shape, _meta in [
    (
        "conv1d_64_64_k9",
        lambda nn, F: nn.Conv1d(64, 64, 9, padding=4),
        (16, 64, 4096),
        {"flops": 2 * 16 * 4096 * 64 * 64 * 9},
    ),
    (
        "conv_transpose2d_64_32_k4s2",
        lambda nn, F: nn.ConvTranspose2d(64, 32, 4, 2, 1),
        (16, 64, 28, 28),
        {"flops": 2 * 16 * 28 * 28 * 64 * 32 * 16},
    ),
    (
        "conv3d_16_32_k3",
        lambda nn, F: nn.Conv3d(16, 32, 3, padding=1),
        (4, 16, 16, 32, 32),
        {"flops": 2 * 4 * 16**2 * 32**3 * 27},
    ),
]:

    def _setup(T, th, fn=_fn, shape=_shape):
        m = fill(T, fn(T.nn, None))
        x = rand(T, *shape)
        return unroll("m(x)", no_grad=True, n=1, T=T, m=m, x=x)

    case(f"conv/{_name}", _setup, **_meta)

_N = 16 * 64 * 112 * 112 * 4
_S = 16 * 64 * 56 * 56 * 4
for _name, _fn, _shape, _meta in [
    (
        "max_pool2d_3s2",
        lambda nn, F: lambda x: F.max_pool2d(x, 3, 2, 1),
        (16, 64, 112, 112),
        {"bytes": _N * 5 // 4},
    ),
    (
        "avg_pool2d_3s2",
        lambda nn, F: lambda x: F.avg_pool2d(x, 3, 2, 1),
        (16, 64, 112, 112),
        {"bytes": _N * 5 // 4},
    ),
    (
        "adaptive_avg_pool2d_1",
        lambda nn, F: lambda x: F.adaptive_avg_pool2d(x, 1),
        (16, 512, 7, 7),
        {"bytes": 16 * 512 * 50 * 4, "bw": "bw_read"},
    ),
    (
        "adaptive_avg_pool2d_7",
        lambda nn, F: lambda x: F.adaptive_avg_pool2d(x, 7),
        (16, 64, 56, 56),
        {"bytes": _S, "bw": "bw_read"},
    ),
    ("batch_norm_train", lambda nn, F: nn.BatchNorm2d(64), (16, 64, 56, 56), {"bytes": 3 * _S}),
    ("batch_norm_eval", lambda nn, F: nn.BatchNorm2d(64).eval(), (16, 64, 56, 56), {"bytes": 2 * _S}),
    ("group_norm_8", lambda nn, F: nn.GroupNorm(8, 64), (16, 64, 56, 56), {"bytes": 2 * _S}),
    (
        "interpolate_bilinear_x2",
        lambda nn, F: lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
        (16, 64, 28, 28),
        {"bytes": _S * 5 // 4},
    ),
]:
    case(f"conv/{_name}", lambda T, th, f=_fn, s=_shape: layer(T, f, *s), **_meta)
    if "eval" not in _name and "adaptive" not in _name:
        case(f"conv/{_name}_fwd_bwd", lambda T, th, f=_fn, s=_shape: layer(T, f, *s, backward=True))
