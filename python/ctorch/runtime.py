"""Questions about tensors and the machine, and switches that PyTorch has."""

from __future__ import annotations

import math
import warnings
from typing import Any

from ctorch import _C
from ctorch._C import Tensor

__all__ = [
    "are_deterministic_algorithms_enabled", "broadcast_shapes", "compile", "e", "from_dlpack", "from_numpy", "frombuffer",
    "get_default_device", "get_float32_matmul_precision", "get_num_interop_threads", "inf", "is_complex", "is_conj",
    "is_floating_point", "is_nonzero", "is_storage", "is_tensor", "nan", "newaxis", "numel", "pi", "range", "set_default_device", "set_float32_matmul_precision",
    "set_num_interop_threads", "typename", "use_deterministic_algorithms",
]  # fmt: skip


def is_tensor(obj: Any) -> bool:
    """Whether obj is a Tensor."""
    return isinstance(obj, Tensor)


def is_storage(obj: Any) -> bool:
    """Whether obj is a storage."""
    from ctorch.storage import TypedStorage, UntypedStorage

    return isinstance(obj, (TypedStorage, UntypedStorage))


def is_floating_point(input: Tensor) -> bool:
    """Whether the dtype of input is a floating one."""
    return input.is_floating_point()


def is_complex(input: Tensor) -> bool:
    """Whether the dtype of input is complex."""
    return input.is_complex()


def is_conj(input: Tensor) -> bool:
    """False: conj() computes its result at once."""
    return False


pi, e, inf, nan = math.pi, math.e, math.inf, math.nan
newaxis = None


def range(start: float = 0, end: float | None = None, step: float = 1, **options: Any) -> Tensor:
    """The numbers from start to end, both included, in steps of step: deprecated in favour of arange()."""
    warnings.warn("torch.range is deprecated: use torch.arange, which leaves the end out", stacklevel=2)
    start, end = (0, start) if end is None else (start, end)
    if step == 0 or (end - start) / step < 0:
        raise RuntimeError(f"range: bounds {start} -> {end} are inconsistent with step {step}")
    count = math.floor((end - start) / step) + 1
    options.setdefault("dtype", _C.get_default_dtype())
    return start + step * _C.arange(count, **options)


def is_nonzero(input: Tensor) -> bool:
    """Whether a one-element tensor is not zero. RuntimeError for other sizes."""
    return bool(input)


def numel(input: Tensor) -> int:
    """The number of elements."""
    return input.numel()


def typename(obj: Any) -> str:
    """The name of an object's type, a tensor's as "torch.FloatTensor"."""
    return obj.type() if isinstance(obj, Tensor) else f"{type(obj).__module__}.{type(obj).__qualname__}"


def from_numpy(ndarray: Any) -> Tensor:
    """A tensor that shares the memory of an array, whatever its strides. TypeError for what is no array or
    has no dtype here.
    """
    if not hasattr(ndarray, "__array_interface__") or not hasattr(ndarray, "strides"):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    try:
        return _C._from_buffer(ndarray)
    except (BufferError, ValueError) as error:
        if "stride" in str(error):
            raise
        raise TypeError(f"can't convert np.ndarray of type {ndarray.dtype}: {error}") from None


def frombuffer(
    buffer: Any, *, dtype: _C.dtype, count: int = -1, offset: int = 0, requires_grad: bool = False
) -> Tensor:
    """A 1-d tensor over the bytes of a buffer, shared. ValueError if they do not hold `count` elements from
    `offset` on.
    """
    view = memoryview(buffer).cast("B")
    size = dtype.itemsize
    if not 0 <= offset < len(view):
        raise ValueError(
            f"offset ({offset} bytes) must be non-negative and no greater than buffer length ({len(view)} bytes) minus 1"
        )
    if count < 0:
        if (len(view) - offset) % size:
            raise ValueError(
                f"buffer size ({len(view) - offset} bytes) after offset must be a multiple of element size ({size})"
            )
        count = (len(view) - offset) // size
    if count == 0 or offset + count * size > len(view):
        raise ValueError(
            f"requested buffer of {count} elements of {size} bytes from offset {offset} does not fit {len(view)} bytes"
        )
    return _C._from_buffer(view[offset : offset + count * size]).view(dtype).requires_grad_(requires_grad)


def from_dlpack(ext_tensor: Any) -> Tensor:
    """A tensor that shares the memory of another library's array, by the DLPack protocol."""
    return _C._from_dlpack_capsule(
        ext_tensor.__dlpack__() if hasattr(ext_tensor, "__dlpack__") else ext_tensor
    )


def broadcast_shapes(*shapes: Any) -> _C.Size:
    """The shape that tensors of these shapes broadcast to. RuntimeError if there is none."""
    out: list[int] = []
    for shape in shapes:
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        if any(n < 0 for n in shape):
            raise RuntimeError(f"Trying to create tensor with negative dimension: {shape}")
        out = [1] * (len(shape) - len(out)) + out
        lead = len(out) - len(shape)
        for i, n in enumerate(shape):
            if out[lead + i] == 1:
                out[lead + i] = n
            elif n not in (1, out[lead + i]):
                raise RuntimeError(
                    f"broadcast_shapes: shapes {shapes} do not broadcast: {n} against {out[lead + i]} in dimension {lead + i}"
                )
    return _C.Size(out)


def get_default_device() -> _C.device:
    """The device of new tensors: the CPU."""
    return _C.device("cpu")


def set_default_device(device: Any) -> None:
    """Set the device of new tensors. There is the CPU; others raise RuntimeError."""
    if device is not None and _C.device(device).type != "cpu":
        raise RuntimeError(f"device {device} is not available: this build of ctorch has no CUDA support")


_precision = "highest"


def get_float32_matmul_precision() -> str:
    """How exact float32 products of matrices are: "highest", "high" or "medium"."""
    return _precision


def set_float32_matmul_precision(precision: str) -> None:
    """Say how exact products of float32 matrices must be, in all threads.

    Args:
        precision: "highest", as float32; "high", as if each operand had been rounded to a sum of two bfloat16
            numbers (a relative error of 2^-16 per factor); "medium", to one (2^-8 per factor). Sums are of float32
            always. This is what may be lost, not what must be: a CPU with AMX takes six, three and one product of
            bfloat16 numbers for one of floats; one with AVX-512 BF16 has a faster "medium" alone; all others compute
            everything at "highest". docs/products.md has the measured errors and speeds.
    Raises: ValueError for other names.
    """
    global _precision
    levels = ("highest", "high", "medium")
    if precision not in levels:
        raise ValueError(
            f"set_float32_matmul_precision: expected 'highest', 'high' or 'medium', got {precision!r}"
        )
    _C._set_matmul_precision(levels.index(precision))
    _precision = precision


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Accepted for portability: all algorithms here are deterministic, for any number of threads."""


def are_deterministic_algorithms_enabled() -> bool:
    """True: all algorithms here are deterministic."""
    return True


def get_num_interop_threads() -> int:
    """1: operations run one after the other."""
    return 1


def set_num_interop_threads(n: int) -> None:
    """Accepted for portability: operations run one after the other."""


def compile(model: Any = None, **options: Any) -> Any:
    """The model itself: there is no compiler, and the code runs as it is."""
    return model if model is not None else lambda m: m
