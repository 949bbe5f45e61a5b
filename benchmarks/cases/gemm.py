"""Matrix products; their error is measured against float64."""

import numpy as np

from .base import case, f64, ints, rand


def product(T, f, a, b):
    """f() computes a @ b; its error is taken over all of the output, or 96 of its rows where it is large."""

    def err(out):
        m = out.shape[-2]
        rows = np.arange(m) if m <= 1024 else np.unique(np.linspace(0, m - 1, 96).astype(int))
        ref = f64(a)[..., rows, :] @ f64(b)
        return float(np.abs(f64(out)[..., rows, :] - ref).max() / np.abs(ref).max())

    return f, err


def gemm(T, m, k, n, dtype="float32"):
    a, b = rand(T, m, k).to(getattr(T, dtype)), rand(T, k, n, seed=1).to(getattr(T, dtype))
    return product(T, lambda: a @ b, a, b)


for _n in (64, 128, 256, 512, 1024, 2048, 4096):
    case(f"gemm/f32/{_n}", lambda T, th, n=_n: gemm(T, n, n, n), flops=2 * _n**3)
for _m, _k, _n in ((65536, 64, 64), (64, 65536, 64), (4096, 4096, 8), (8, 4096, 4096), (1000, 777, 333)):
    case(f"gemm/f32/{_m}x{_k}x{_n}", lambda T, th, s=(_m, _k, _n): gemm(T, *s), flops=2 * _m * _k * _n)
for _n in (256, 1024):
    case(f"gemm/f64/{_n}", lambda T, th, n=_n: gemm(T, n, n, n, "float64"), flops=2 * _n**3, dtype="f64")
for _n in (256, 1024, 4096):
    case(
        f"gemm/bf16/{_n}",
        lambda T, th, n=_n: gemm(T, n, n, n, "bfloat16"),
        flops=2 * _n**3,
        dtype="bf16",
        rtol=0.05,
    )
case("gemm/i64/128", lambda T, th: lambda a=ints(T, 9, 128, 128), b=ints(T, 9, 128, 128, seed=1): a @ b)


@case("gemm/bmm/64x128x64x128", flops=2 * 64 * 128 * 64 * 128)
def _(T, th):
    a, b = rand(T, 64, 128, 64), rand(T, 64, 64, 128)
    return product(T, lambda: T.bmm(a, b), a, b)


@case("gemm/mv/4096", bytes=4 * 4096**2, bw="bw_read")
def _(T, th):
    a, x = rand(T, 4096, 4096), rand(T, 4096)
    return lambda: T.mv(a, x)


@case("gemm/AtB/1024", flops=2 * 1024**3)
def _(T, th):
    a, b = rand(T, 1024, 1024), rand(T, 1024, 1024, seed=1)
    return product(T, lambda: a.t() @ b, a.t(), b)


@case("gemm/ABt/1024", flops=2 * 1024**3)
def _(T, th):
    a, b = rand(T, 1024, 1024), rand(T, 1024, 1024, seed=1)
    return product(T, lambda: a @ b.t(), a, b.t())


@case("gemm/addmm/1024", flops=2 * 1024**3)
def _(T, th):
    a, b, c = (rand(T, 1024, 1024, seed=i) for i in range(3))
    return lambda: T.addmm(c, a, b)


for _m, _k, _n in ((128, 784, 512), (2048, 1024, 4096), (1, 1024, 1024)):
    case(
        f"gemm/linear/{_m}x{_k}x{_n}",
        lambda T, th, m=_m, k=_k, n=_n: (
            lambda x=rand(T, m, k), w=rand(T, n, k), b=rand(T, n): T.nn.functional.linear(x, w, b)
        ),
        flops=2 * _m * _k * _n,
    )
case(
    "gemm/einsum_bij_bkj_bik",
    lambda T, th: (
        lambda a=rand(T, 32, 128, 64), b=rand(T, 32, 128, 64, seed=1): T.einsum("bij,bkj->bik", a, b)
    ),
    flops=2 * 32 * 128 * 64 * 128,
)
