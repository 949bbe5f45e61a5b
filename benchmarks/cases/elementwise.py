"""Element-wise operations at three sizes, and what moves elements: copies, sorting, indexing, joining."""

import types

from .base import M, case, ints, on, rand


def ew(bytes_per, fn, **kw):
    return bytes_per, fn, kw


def inplace_add(T, v):
    d = v.y * 1e-6
    return lambda: v.x.add_(d)


EW = {  # name: bytes per element, (T, v) -> callable; v.x and v.y are normal, v.p positive
    "add": ew(12, lambda T, v: lambda: v.x + v.y),
    "add_out": ew(12, lambda T, v: lambda o=T.empty_like(v.x): T.add(v.x, v.y, out=o)),
    "add_": ew(12, inplace_add),
    "mul": ew(12, lambda T, v: lambda: v.x * v.y),
    "mul_scalar": ew(8, lambda T, v: lambda: v.x * 1.5),
    "exp": ew(8, lambda T, v: lambda: T.exp(v.x)),
    "log": ew(8, lambda T, v: lambda: T.log(v.p)),
    "tanh": ew(8, lambda T, v: lambda: T.tanh(v.x)),
    "sigmoid": ew(8, lambda T, v: lambda: T.sigmoid(v.x)),
    "erf": ew(8, lambda T, v: lambda: T.erf(v.x)),
    "gelu": ew(8, lambda T, v: lambda: T.nn.functional.gelu(v.x)),
    "relu": ew(8, lambda T, v: lambda: T.relu(v.x)),
    "where": ew(13, lambda T, v: lambda c=v.x > 0: T.where(c, v.x, v.y)),
    "clamp": ew(8, lambda T, v: lambda: T.clamp(v.x, -0.5, 0.5)),
    "pow2": ew(8, lambda T, v: lambda: v.x**2),
    "pow0.5": ew(8, lambda T, v: lambda: v.p**0.5),
    "sqrt": ew(8, lambda T, v: lambda: T.sqrt(v.p)),
    "addcmul": ew(16, lambda T, v: lambda: T.addcmul(v.x, v.y, v.p, value=0.5)),
    "add_i64": ew(24, lambda T, v: lambda a=v.x.to(T.int64), b=v.y.to(T.int64): a + b),
    "lt": ew(9, lambda T, v: lambda: v.x < v.y),
    "to_bf16": ew(6, lambda T, v: lambda: v.x.to(T.bfloat16), rtol=0.05),
    "add_row": ew(8, lambda T, v: lambda r=v.y[0].clone(): v.x + r),
    "add_col": ew(8, lambda T, v: lambda c=v.y[:, :1].clone(): v.x + c),
    "add_t": ew(12, lambda T, v: lambda: v.x.t() + v.y),
}


def ew_setup(T, fn, n):
    shape = (n, n)
    return fn(
        T, types.SimpleNamespace(x=rand(T, *shape), y=rand(T, *shape, seed=1), p=rand(T, *shape, pos=True))
    )


for _lg in (14, 20, 24):
    for _name, (_bytes, _fn, _kw) in EW.items():
        case(
            f"elementwise/{_name}/2^{_lg}",
            lambda T, th, f=_fn, n=2 ** (_lg // 2): ew_setup(T, f, n),
            threads=(1,) if _lg == 14 else (1, 2),
            bytes=_bytes << _lg,
            **_kw,
        )


for _name, _f, _bytes in [
    ("contiguous_t/4096", lambda T, th: on(T, (4096, 4096), lambda x: x.t().contiguous()), 128 * M),
    (
        "nchw_to_nhwc",
        lambda T, th: on(T, (16, 64, 56, 56), lambda x: x.permute(0, 2, 3, 1).contiguous()),
        8 * 3211264,
    ),
    ("flip/2048", lambda T, th: on(T, (2048, 2048), lambda x: T.flip(x, (1,))), 32 * M),
    ("cumsum/4096x1024", lambda T, th: on(T, (4096, 1024), lambda x: T.cumsum(x, 1)), 32 * M),
    ("argmax/4096x1024", lambda T, th: on(T, (4096, 1024), lambda x: T.argmax(x, 1)), 16 * M),
    ("sort/1e6", lambda T, th: on(T, (1000000,), lambda x: T.sort(x)[0]), None),
    ("sort/1024x1024", lambda T, th: on(T, (1024, 1024), lambda x: T.sort(x)[0]), None),
    ("topk/64x10000", lambda T, th: on(T, (64, 10000), lambda x: T.topk(x, 100)[0]), None),
    ("topk/1e6", lambda T, th: on(T, (1000000,), lambda x: T.topk(x, 100)[0]), None),
    ("unique/1e6", lambda T, th: lambda x=ints(T, 1000, 1000000): T.unique(x), None),
    (
        "embedding/8192x256",
        lambda T, th: lambda w=rand(T, 32000, 256), i=ints(T, 32000, 8192): T.nn.functional.embedding(i, w),
        16 * M,
    ),
    (
        "index_select/50000x64",
        lambda T, th: lambda x=rand(T, 100000, 64), i=ints(T, 100000, 50000): T.index_select(x, 0, i),
        50000 * 520,
    ),
    (
        "index_tensor/50000x64",
        lambda T, th: lambda x=rand(T, 100000, 64), i=ints(T, 100000, 50000): x[i],
        50000 * 520,
    ),
    (
        "gather/4096x1024",
        lambda T, th: lambda x=rand(T, 4096, 1024), i=ints(T, 1024, 4096, 1024): T.gather(x, 1, i),
        64 * M,
    ),
    (
        "scatter_add/4096x1024",
        lambda T, th: (
            lambda z=T.zeros(4096, 1024), x=rand(T, 4096, 1024), i=ints(T, 1024, 4096, 1024): z.scatter_add(
                1, i, x
            )
        ),
        80 * M,
    ),
    (
        "masked_fill/2^22",
        lambda T, th: lambda x=rand(T, 2048, 2048), m=rand(T, 2048, 2048, seed=1) > 0: x.masked_fill(m, 0.0),
        36 * M,
    ),
    (
        "masked_select/2^22",
        lambda T, th: lambda x=rand(T, 2048, 2048), m=rand(T, 2048, 2048, seed=1) > 0: x[m],
        28 * M,
    ),
    ("cat/dim0", lambda T, th: lambda v=[rand(T, 1024, 1024, seed=i) for i in range(4)]: T.cat(v, 0), 32 * M),
    ("cat/dim1", lambda T, th: lambda v=[rand(T, 1024, 1024, seed=i) for i in range(4)]: T.cat(v, 1), 32 * M),
]:
    case(f"elementwise/{_name}", _f, **({"bytes": _bytes} if _bytes else {}))
