"""Comparing results in tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ctorch import _C
from ctorch._C import Tensor

__all__ = ["assert_allclose", "assert_close", "make_tensor"]

_TOLERANCES = {  # (rtol, atol), PyTorch's
    _C.float16: (1e-3, 1e-5), _C.bfloat16: (1.6e-2, 1e-5), _C.float32: (1.3e-6, 1e-5), _C.float64: (1e-7, 1e-7),
    _C.complex64: (1.3e-6, 1e-5), _C.complex128: (1e-7, 1e-7),
}  # fmt: skip


def assert_close(
    actual: Any,
    expected: Any,
    *,
    allow_subclasses: bool = True,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    check_device: bool = True,
    check_dtype: bool = True,
    check_layout: bool = True,
    check_stride: bool = False,
    msg: str | Callable[[str], str] | None = None,
) -> None:
    """Raise AssertionError unless actual and expected are close: |actual - expected| <= atol + rtol *
    |expected|.

    Tensors, numbers, arrays, and sequences and mappings of them. Tolerances default to PyTorch's for the
    dtype, the wider of the two; integers and bools must be equal.
    """

    def fail(text: str) -> None:
        raise AssertionError(msg(text) if callable(msg) else msg or text)

    if (rtol is None) != (atol is None):
        raise ValueError(
            f"rtol and atol must both be specified or both be unspecified, got rtol={rtol} and atol={atol}"
        )
    if isinstance(actual, Mapping) and isinstance(expected, Mapping):
        if set(actual) != set(expected):
            fail(
                f"The keys of the mappings do not match: {sorted(map(str, actual))} and {sorted(map(str, expected))}"
            )
        actual, expected = list(actual.values()), [expected[k] for k in actual]
    if isinstance(actual, Sequence) and isinstance(expected, Sequence) and not isinstance(actual, str):
        if len(actual) != len(expected):
            fail(f"The length of the sequences mismatch: {len(actual)} != {len(expected)}")
        for a, e in zip(actual, expected):
            assert_close(
                a,
                e,
                rtol=rtol,
                atol=atol,
                equal_nan=equal_nan,
                check_dtype=check_dtype,
                check_stride=check_stride,
                msg=msg,
            )
        return
    if actual is None or expected is None:
        if actual is not expected:
            fail(f"None mismatch: {actual} is not {expected}")
        return
    a, e = (x.detach() if isinstance(x, Tensor) else _C.as_tensor(x) for x in (actual, expected))
    if a.shape != e.shape:
        fail(f"The values for attribute 'shape' do not match: {a.shape} != {e.shape}.")
    if check_dtype and a.dtype is not e.dtype and isinstance(actual, Tensor) and isinstance(expected, Tensor):
        fail(f"The values for attribute 'dtype' do not match: {a.dtype} != {e.dtype}.")
    if check_stride and a.stride() != e.stride():
        fail(f"The values for attribute 'stride()' do not match: {a.stride()} != {e.stride()}.")
    if rtol is None or atol is None:
        pairs = [_TOLERANCES.get(t.dtype, (0.0, 0.0)) for t in (a, e)]
        rtol, atol = (max(column) for column in zip(*pairs))
    if a.dtype is not e.dtype:
        common = _C.promote_types(a.dtype, e.dtype)
        a, e = a.to(common), e.to(common)
    close = _C.isclose(a, e, rtol=rtol, atol=atol, equal_nan=equal_nan)
    if bool(close.all()):
        return
    wrong = int((~close).sum())
    wide = _C.complex128 if a.is_complex() else _C.float64
    difference = (a.to(wide) - e.to(wide)).abs()
    kept = _C.where(close, _C.zeros_like(difference), difference).reshape(-1)
    kept = _C.where(_C.isnan(kept), _C.full_like(kept, float("inf")), kept)
    worst = int(kept.argmax())
    if a.dim() == 0:
        fail(
            f"Scalars are not close!\n\nExpected {e.item()} but got {a.item()}.\nAbsolute difference: {kept[0].item()} (up to {atol} allowed)"
        )
    index = []
    rest = worst
    for n in reversed(a.shape):
        index.insert(0, rest % n)
        rest //= n
    fail(
        f"Tensor-likes are not close!\n\nMismatched elements: {wrong} / {a.numel()} ({100 * wrong / a.numel():.1f}%)\n"
        f"Greatest absolute difference: {kept[worst].item()} at index {tuple(index)} (up to {atol} allowed)\n"
        f"Relative tolerance: {rtol}"
    )


def assert_allclose(
    actual: Any,
    expected: Any,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = True,
    msg: str = "",
) -> None:
    """assert_close() without the check of dtypes."""
    assert_close(
        actual, expected, rtol=rtol, atol=atol, equal_nan=equal_nan, check_dtype=False, msg=msg or None
    )


def make_tensor(
    *shape: Any,
    dtype: _C.dtype,
    device: Any = "cpu",
    low: float | None = None,
    high: float | None = None,
    requires_grad: bool = False,
    noncontiguous: bool = False,
    exclude_zero: bool = False,
) -> Tensor:
    """A tensor of random values in [low, high): by default [-9, 9), [0, 2) for bool, [0, 10) for unsigned
    integers.
    """
    size = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else tuple(shape)
    _C.device(device)
    floating = dtype.is_floating_point or dtype.is_complex
    if dtype is _C.bool:
        t = _C.randint(0, 2, size).to(dtype)
    else:
        low = (-9 if dtype.is_signed else 0) if low is None else low
        high = (9 if dtype.is_signed else 10) if high is None else high
        t = (
            _C.rand(size, dtype=dtype) * (high - low) + low
            if floating
            else _C.randint(int(low), int(high), size).to(dtype)
        )
    if exclude_zero:
        t = _C.where(t == 0, _C.ones_like(t), t)
    if noncontiguous and t.numel() > 1:
        t = _C.stack([t, t], -1)[..., 0]
    return t.requires_grad_(requires_grad)
