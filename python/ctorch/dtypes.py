"""Element types, layouts and memory formats, and what can be asked about them."""

from __future__ import annotations

import builtins as _builtins

from ctorch import _C
from ctorch._C import (
    bfloat16,
    channels_last,
    channels_last_3d,
    complex64,
    complex128,
    contiguous_format,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    preserve_format,
    strided,
    uint8,
    uint16,
    uint32,
    uint64,
)

bool = _C.bool
half = float16
float = float32
double = float64
short = int16
int = int32
long = int64
cfloat = complex64
cdouble = complex128

__all__ = [
    "bfloat16", "bool", "cdouble", "cfloat", "channels_last", "channels_last_3d", "complex64", "complex128",
    "contiguous_format", "double", "finfo", "float", "float16", "float32", "float64", "half", "iinfo", "int", "int8",
    "int16", "int32", "int64", "long", "preserve_format", "set_default_dtype", "set_default_tensor_type", "short",
    "strided", "uint8", "uint16", "uint32", "uint64",
]  # fmt: skip


def _constant(name: str):
    """The dtype, layout or memory format of a name; pickles refer to it."""
    return getattr(_C, name)


def set_default_dtype(d: _C.dtype) -> None:
    """Set the dtype of new floating tensors: float16, bfloat16, float32 or float64. TypeError otherwise."""
    _C.set_default_dtype(d)


def set_default_tensor_type(t) -> None:
    """Set the default dtype by the name of a tensor class, such as "torch.DoubleTensor"."""
    names = {
        "HalfTensor": float16,
        "BFloat16Tensor": bfloat16,
        "FloatTensor": float32,
        "DoubleTensor": float64,
    }
    name = (t if isinstance(t, str) else t.__name__).split(".")[-1]
    if name not in names:
        raise TypeError(f"set_default_tensor_type: only floating tensor types are supported, got {name}")
    _C.set_default_dtype(names[name])


# bits of the exponent and of the fraction
_FORMATS = {float16: (5, 10), bfloat16: (8, 7), float32: (8, 23), float64: (11, 52)}


class _Limits:
    """Attributes that are set once, and comparison by them. (The module dataclasses would cost 10 ms at
    import.)
    """

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}: {name} cannot be set")

    def __eq__(self, other: object) -> _builtins.bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> _builtins.int:
        return hash(tuple(vars(self).values()))


class finfo(_Limits):
    """Limits of a floating dtype (of its parts, for a complex one): bits, eps, max, min, tiny,
    smallest_normal, resolution.
    """

    bits: _builtins.int
    eps: _builtins.float
    max: _builtins.float
    min: _builtins.float
    tiny: _builtins.float
    smallest_normal: _builtins.float
    resolution: _builtins.float
    dtype: str

    def __init__(self, type: _C.dtype | None = None):
        d = _C.get_default_dtype() if type is None else type
        if not isinstance(d, _C.dtype) or not (d.is_floating_point or d.is_complex):
            raise TypeError(
                f"torch.finfo() requires a floating point input type. Use torch.iinfo to handle 'torch.finfo': got {d}"
            )
        d = d.to_real()
        exponent, fraction = _FORMATS[d]
        bias = 2 ** (exponent - 1) - 1
        largest = (2.0 - 2.0**-fraction) * 2.0**bias
        digits = _builtins.int(fraction * 0.30102999566398120)
        values = {
            "bits": d.itemsize * 8, "eps": 2.0**-fraction, "max": largest, "min": -largest, "tiny": 2.0 ** (1 - bias),
            "smallest_normal": 2.0 ** (1 - bias), "resolution": 10.0**-digits, "dtype": str(d).split(".")[1],
        }  # fmt: skip
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __repr__(self):
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, eps={self.eps:g}, "
            f"smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, dtype={self.dtype})"
        )


class iinfo(_Limits):
    """Limits of an integer dtype: bits, min, max."""

    bits: _builtins.int
    min: _builtins.int
    max: _builtins.int
    dtype: str

    def __init__(self, type: _C.dtype):
        if not isinstance(type, _C.dtype) or type.is_floating_point or type.is_complex or type is _C.bool:
            raise TypeError(
                f"torch.iinfo() requires an integer input type. Use torch.finfo to handle '{type}'"
            )
        bits = type.itemsize * 8
        object.__setattr__(self, "bits", bits)
        object.__setattr__(self, "min", -(2 ** (bits - 1)) if type.is_signed else 0)
        object.__setattr__(self, "max", 2 ** (bits - 1) - 1 if type.is_signed else 2**bits - 1)
        object.__setattr__(self, "dtype", str(type).split(".")[1])

    def __repr__(self):
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"
