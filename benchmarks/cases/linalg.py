"""Linear algebra and Fourier transforms."""

import numpy as np

from .base import M, case, on


def square(T, n, spd=False):
    a = np.random.default_rng(n).standard_normal((n, n))
    return T.tensor((a @ a.T / n + np.eye(n) if spd else a + n**0.5 * np.eye(n)).astype(np.float32))


for _name, _n, _spd, _f, _flops in [
    ("svd", 256, False, lambda T, a: T.linalg.svd(a)[1], None),
    ("qr", 512, False, lambda T, a: abs(T.linalg.qr(a)[1]), 8 / 3),
    ("cholesky", 1024, True, lambda T, a: T.linalg.cholesky(a), 1 / 3),
    ("solve", 512, False, lambda T, a: T.linalg.solve(a, a[:, :16]), 2 / 3),
    ("eigh", 256, True, lambda T, a: T.linalg.eigh(a)[0], None),
    ("inv", 512, False, lambda T, a: T.linalg.inv(a), 2),
    ("det", 512, False, lambda T, a: T.linalg.det(a / 24), 2 / 3),
]:
    case(
        f"linalg/{_name}/{_n}",
        lambda T, th, n=_n, s=_spd, f=_f: lambda a=square(T, n, s): f(T, a),
        rtol=0.02,
        **({"flops": _flops * _n**3} if _flops else {}),
    )
case(
    "fft/fft/2^20",
    lambda T, th: on(T, (1 << 20, 2), lambda x: T.view_as_real(T.fft.fft(T.view_as_complex(x)))),
    flops=5 * 20 << 20,
)
case("fft/rfft2/1024", lambda T, th: on(T, (1024, 1024), lambda x: abs(T.fft.rfft2(x))), flops=2.5 * 20 * M)
case(
    "fft/fft_roundtrip/64x4096",
    lambda T, th: on(T, (64, 4096), lambda x: T.fft.irfft(T.fft.rfft(x), 4096)),
    flops=5 * 12 * 64 * 4096,
)
