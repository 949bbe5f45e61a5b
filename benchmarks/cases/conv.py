"""Convolution, pooling and normalisation layers, forward and backward."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from resnet import RESNET

from .base import against_f64, backward, case, distance, f64, fill, rand, unroll


def conv_ref(x, w, s, p, d, g):
    o, ci, k, _ = w.shape
    x = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
    v = sliding_window_view(x, (d * (k - 1) + 1,) * 2, axis=(2, 3))[:, :, ::s, ::s, ::d, ::d]
    out = [
        np.tensordot(v[:, i * ci : (i + 1) * ci], w[i * o // g : (i + 1) * o // g], ((1, 4, 5), (1, 2, 3)))
        for i in range(g)
    ]
    return np.moveaxis(np.concatenate(out, -1), -1, 1)


def conv_tensors(T, n, c, hw, o, k, g):
    return rand(T, n, c, hw, hw), rand(T, o, c // g, k, k, scale=(c // g * k * k) ** -0.5)


def conv(T, n, c, hw, o, k, s=1, p=0, d=1, g=1):
    x, w = conv_tensors(T, n, c, hw, o, k, g)

    def err(out):
        i = [0, n - 1] if n > 1 else [0]
        return distance(f64(out)[i], conv_ref(f64(x)[i], f64(w), s, p, d, g))

    return (lambda: T.nn.functional.conv2d(x, w, None, s, p, d, g)), err


def conv_step(T, n, c, hw, o, k, s=1, p=0, d=1, g=1):
    """Forward, and the gradients of both operands."""
    x, w = conv_tensors(T, n, c, hw, o, k, g)

    def work(x, w):
        return backward(lambda x, w: T.nn.functional.conv2d(x, w, None, s, p, d, g), x, w)

    return (lambda: work(x, w)), against_f64(work, x, w)


def conv_flops(n, c, hw, o, k, s=1, p=0, d=1, g=1):
    return 2 * n * o * ((hw + 2 * p - d * (k - 1) - 1) // s + 1) ** 2 * (c // g) * k * k


OTHERS = {  # name: batches, shape after the batch
    "dw3x3_144_56": ((16, 1), {"c": 144, "hw": 56, "o": 144, "k": 3, "p": 1, "g": 144}),
    "dw3x3s2_144_56": ((16,), {"c": 144, "hw": 56, "o": 144, "k": 3, "s": 2, "p": 1, "g": 144}),
    "group32_3x3_128_56": ((16,), {"c": 128, "hw": 56, "o": 128, "k": 3, "p": 1, "g": 32}),
    "dilated2_3x3_256_28": ((16,), {"c": 256, "hw": 28, "o": 256, "k": 3, "p": 2, "d": 2}),
}
CONV = {**{name: ((16, 1), shape) for name, shape in RESNET.items()}, **OTHERS}
for _name, (_batches, _s) in CONV.items():
    for _n in _batches:
        case(f"conv/{_name}/b{_n}", lambda T, th, n=_n, s=_s: conv(T, n, **s), flops=conv_flops(_n, **_s))
for _name, _n in [*((name, n) for name in RESNET for n in (16, 1)), ("dw3x3_144_56", 16)]:
    case(
        f"conv/fwd_bwd_{_name}/b{_n}",
        lambda T, th, n=_n, s=CONV[_name][1]: conv_step(T, n, **s),
        flops=3 * conv_flops(_n, **CONV[_name][1]),
    )


# Weights far below the smallest normal number, and the same work with ordinary ones. Small layers: where the
# CPU computes with denormal numbers, each product costs it a hundred times as much.
for _name, _scale in (("normal", 1.0), ("denormal", 1e-39)):

    @case(f"conv/{_name}_weights", threads=(2,))
    def _(T, th, scale=_scale):
        x, w = rand(T, 1, 64, 56, 56), rand(T, 64, 64, 3, 3, scale=scale)
        return lambda: T.nn.functional.conv2d(x, w, padding=1)

    @case(f"gemm/linear_{_name}_weights", threads=(2,))
    def _(T, th, scale=_scale):
        x, w = rand(T, 128, 1024), rand(T, 1024, 1024, scale=scale)
        return lambda: T.nn.functional.linear(x, w)


def layer(T, fn, *shape, both_ways=False):
    """fn(nn, F) -> a callable of x, forward or forward + backward."""
    x, f = rand(T, *shape), fn(T.nn, T.nn.functional)
    wide = fn(T.nn, T.nn.functional)  # fresh: without the running statistics of the calls of f
    wide = wide.double() if isinstance(wide, T.nn.Module) else wide
    if both_ways:
        g = rand(T, *f(x).shape, seed=1)  # a norm's result is no gradient for it: what comes back would be 0
        return (lambda: backward(f, x, grad=g)), against_f64(lambda x, g: backward(wide, x, grad=g), x, g)
    return (lambda: f(x)), against_f64(wide, x)


for _name, _fn, _shape, _meta in [
    (
        "conv1d_64_64_k9",
        lambda nn: nn.Conv1d(64, 64, 9, padding=4),
        (16, 64, 4096),
        {"flops": 2 * 16 * 4096 * 64 * 64 * 9},
    ),
    (
        "conv_transpose2d_64_32_k4s2",
        lambda nn: nn.ConvTranspose2d(64, 32, 4, 2, 1),
        (16, 64, 28, 28),
        {"flops": 2 * 16 * 28 * 28 * 64 * 32 * 16},
    ),
    (
        "conv3d_16_32_k3",
        lambda nn: nn.Conv3d(16, 32, 3, padding=1),
        (4, 16, 16, 32, 32),
        {"flops": 2 * 4 * 16**2 * 32**3 * 27},
    ),
]:

    def _setup(T, th, fn=_fn, shape=_shape):
        m = fill(T, fn(T.nn))
        x = rand(T, *shape)
        f = unroll("m(x)", no_grad=True, n=1, T=T, m=m, x=x)
        return f, against_f64(lambda x: fill(T, fn(T.nn)).double()(x), x)

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
        case(f"conv/{_name}_fwd_bwd", lambda T, th, f=_fn, s=_shape: layer(T, f, *s, both_ways=True))
