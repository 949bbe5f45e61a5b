"""Reductions and what normalises by them, over matrices of long, middling and short rows."""

from .base import case, on

RED = {  # name: passes over memory that the output adds to the one read of the input, (T, F, x) -> result
    "sum": (0, lambda T, F, x: x.sum()),
    "sum_dim0": (0, lambda T, F, x: x.sum(0)),
    "sum_dim1": (0, lambda T, F, x: x.sum(1)),
    "mean": (0, lambda T, F, x: x.mean()),
    "max_dim1": (0, lambda T, F, x: T.max(x, 1)[0]),
    "var_dim1": (0, lambda T, F, x: x.var(1)),
    "norm": (0, lambda T, F, x: T.linalg.norm(x)),
    "logsumexp": (0, lambda T, F, x: T.logsumexp(x, 1)),
    "softmax": (1, lambda T, F, x: F.softmax(x, 1)),
    "log_softmax": (1, lambda T, F, x: F.log_softmax(x, 1)),
    "layer_norm": (1, lambda T, F, x: F.layer_norm(x, x.shape[1:])),
}
for _s in ((65536, 16), (4096, 1024), (4096, 4096), (16, 262144)):
    for _name, (_w, _f) in RED.items():
        case(
            f"reductions/{_name}/{_s[0]}x{_s[1]}",
            lambda T, th, f=_f, s=_s: on(T, s, lambda x: f(T, T.nn.functional, x)),
            bytes=4 * _s[0] * _s[1] * (1 + _w),
            bw="bw" if _w else "bw_read",
        )
