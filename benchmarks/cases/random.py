"""Random numbers."""

from .base import case, rand

_10M = 10**7
for _name, _bytes, _f in [
    ("rand/1e7", 4 * _10M, lambda T: lambda: T.rand(_10M)),
    ("randn/1e7", 4 * _10M, lambda T: lambda: T.randn(_10M)),
    ("randn_/1e6", 4 * 10**6, lambda T: lambda x=T.zeros(10**6): x.normal_()),
    ("randint/1e7", 8 * _10M, lambda T: lambda: T.randint(0, 1000, (_10M,))),
    ("randperm/1e6", 8 * 10**6, lambda T: lambda: T.randperm(10**6)),
    ("dropout/1e7", 8 * _10M, lambda T: lambda x=rand(T, _10M): T.nn.functional.dropout(x, 0.5)),
    ("bernoulli/1e7", 8 * _10M, lambda T: lambda x=rand(T, _10M, pos=True).clamp(0, 1): T.bernoulli(x)),
    ("multinomial/1000x1e6", None, lambda T: lambda x=rand(T, 1000, pos=True): T.multinomial(x, 10**6, True)),
]:
    case(f"random/{_name}", lambda T, th, f=_f: f(T), check=False, **({"bytes": _bytes} if _bytes else {}))
