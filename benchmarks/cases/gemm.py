"""Matrix products; their error is measured against float64."""

import numpy as np

from .base import case, distance, f64, ints, rand

PRECISION_RTOL = {"high": 5e-3, "medium": 0.05}  # agreement of the sides: torch's stays at "highest"


def product(T, f, a, b, bias=None):
    """f() computes a @ b + bias; its error is taken over all of the output, or over some of its rows where it
    is large. The reference for float64 has more digits, and takes its time."""

    def err(out):
        m, wide = out.shape[-2], np.longdouble if out.dtype == T.float64 else np.float64
        some = 96 if wide == np.float64 else 8
        rows = np.arange(m) if m <= 1024 and some > 8 else np.unique(np.linspace(0, m - 1, some).astype(int))
        ref = f64(a)[..., rows, :].astype(wide) @ f64(b).astype(wide)
        return distance(f64(out)[..., rows, :], ref if bias is None else ref + f64(bias))

    return f, err


def gemm(T, m, k, n, dtype="float32"):
    a, b = rand(T, m, k).to(getattr(T, dtype)), rand(T, k, n, seed=1).to(getattr(T, dtype))
    return product(T, lambda: a @ b, a, b)


def turned(T, n, which):
    """One operand is the transpose of a contiguous matrix."""
    a, b = rand(T, n, n), rand(T, n, n, seed=1)
    if which == "AtB":
        return product(T, lambda: a.t() @ b, a.t(), b)
    return product(T, lambda: a @ b.t(), a, b.t())


def at_precision(T, n, precision):
    """A float32 product at one of ctorch's precisions; torch's is at its default, a float32 product."""
    if T.__name__ == "ctorch":
        T.set_float32_matmul_precision(precision)
    return gemm(T, n, n, n)


def linear(T, m, k, n, bias=True):
    x, w, b = rand(T, m, k), rand(T, n, k), rand(T, n) if bias else None
    return product(T, lambda: T.nn.functional.linear(x, w, b), x, w.t(), b)


def squares(name, sizes, setup, **meta):
    for n in sizes:
        case(f"gemm/{name}/{n}", lambda T, th, n=n: setup(T, n), flops=2 * n**3, **meta)


squares("f32", (64, 128, 256, 512, 1024, 2048, 4096), lambda T, n: gemm(T, n, n, n))
for _which in ("AtB", "ABt"):
    squares(_which, (512, 1024, 2048, 4096), lambda T, n, which=_which: turned(T, n, which))
for _level, _rtol in PRECISION_RTOL.items():
    squares(_level, (1024, 2048, 4096), lambda T, n, level=_level: at_precision(T, n, level), rtol=_rtol)
squares("f64", (256, 512, 1024, 2048), lambda T, n: gemm(T, n, n, n, "float64"), dtype="f64")
squares("bf16", (256, 1024, 2048, 4096), lambda T, n: gemm(T, n, n, n, "bfloat16"), dtype="bf16", rtol=0.05)
for _m, _k, _n in (
    *((65536, 64, 64), (64, 65536, 64), (4096, 4096, 8), (1000, 777, 333)),
    *((rows, 4096, 4096) for rows in (1, 4, 8, 16)),
):
    case(f"gemm/f32/{_m}x{_k}x{_n}", lambda T, th, s=(_m, _k, _n): gemm(T, *s), flops=2 * _m * _k * _n)
for _m, _k, _n in (
    *((128, 784, 512), (2048, 1024, 4096), (1, 1024, 1024)),
    *((rows, 4096, 4096) for rows in (1, 4, 16)),
):
    case(f"gemm/linear/{_m}x{_k}x{_n}", lambda T, th, s=(_m, _k, _n): linear(T, *s), flops=2 * _m * _k * _n)
case("gemm/i64/128", lambda T, th: lambda a=ints(T, 9, 128, 128), b=ints(T, 9, 128, 128, seed=1): a @ b)


@case("gemm/bmm/64x128x64x128", flops=2 * 64 * 128 * 64 * 128)
def _(T, th):
    a, b = rand(T, 64, 128, 64), rand(T, 64, 64, 128)
    return product(T, lambda: T.bmm(a, b), a, b)


@case("gemm/mv/4096", bytes=4 * 4096**2, bw="bw_read")
def _(T, th):
    a, x = rand(T, 4096, 4096), rand(T, 4096)
    return lambda: T.mv(a, x)


@case("gemm/addmm/1024", flops=2 * 1024**3)
def _(T, th):
    a, b, c = (rand(T, 1024, 1024, seed=i) for i in range(3))
    return lambda: T.addmm(c, a, b)


case(
    "gemm/einsum_bij_bkj_bik",
    lambda T, th: (
        lambda a=rand(T, 32, 128, 64), b=rand(T, 32, 128, 64, seed=1): T.einsum("bij,bkj->bik", a, b)
    ),
    flops=2 * 32 * 128 * 64 * 128,
)


@case("gemm/einsum_chain", flops=2 * (2 * 2048 * 64 * 8 + 2048 * 8 * 1024))
def _(T, th):
    # From the left this is a hundred times the work of the best order.
    sizes = (2048, 64, 2048, 8, 1024)
    chain = [rand(T, *sizes[i : i + 2], seed=i, scale=sizes[i + 1] ** -0.5) for i in range(4)]
    return lambda: T.einsum("ij,jk,kl,lm->im", *chain)
