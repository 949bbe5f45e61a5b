"""Says whether an engine's result agrees with PyTorch's.

The tolerances are those of torch.testing, per dtype, widened where an operator's entry in the database does
so. In low precision a result may also differ because it is the better one: `as_accurate` judges by the result
in double precision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.testing._comparison import default_tolerances
from torch.testing._internal.common_device_type import precisionOverride, toleranceOverride
from torch.testing._internal.opinfo.core import DecorateInfo

from .bridge import leaves

Verdict = tuple[str, str] | None  # None where all agrees, else ("meta" | "wrong", message)
Tolerance = Callable[[torch.dtype], tuple[float, float]]  # dtype -> (rtol, atol)

LOW = {torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex32}


def default(dtype: torch.dtype) -> tuple[float, float]:
    return default_tolerances(dtype, dtype)


def tolerance_of(info: Any) -> Tolerance:
    """The tolerances of a database entry: torch.testing's, widened where the entry does so for PyTorch's
    common tests (not for those against numpy or of other devices and compilers)."""
    wide: dict[torch.dtype, tuple[float, float]] = {}
    for entry in info.decorators:
        if not isinstance(entry, DecorateInfo) or entry.device_type not in (None, "cpu"):
            continue
        if entry.cls_name not in (None, "TestCommon", "TestModule"):
            continue
        if any(word in (entry.test_name or "") for word in ("numpy", "mps", "python_ref")):
            continue
        for override in entry.decorators:
            found = {}
            if isinstance(override, toleranceOverride):
                found = {dtype: (tol.rtol, tol.atol) for dtype, tol in override.d.items()}
            elif isinstance(override, precisionOverride):
                found = {dtype: (0, atol) for dtype, atol in override.d.items()}
            for dtype, tol in found.items():
                wide[dtype] = tuple(map(max, tol, wide.get(dtype, (0, 0))))
    return lambda dtype: tuple(map(max, default(dtype), wide.get(dtype, (0, 0))))


def compare(want: Any, got: Any, tolerance: Tolerance = default, values: bool = True) -> Verdict:
    """Compare results of any structure; without `values` only structure, dtypes and shapes."""
    if isinstance(want, torch.Tensor):
        return _compare_tensors(want, got, tolerance, values)
    if isinstance(want, dict):
        if not isinstance(got, dict) or set(want) != set(got):
            return "meta", f"keys {list(got) if isinstance(got, dict) else type(got)}, torch {list(want)}"[
                :300
            ]
        want, got = list(want.values()), [got[key] for key in want]
    if isinstance(want, (list, tuple)):
        if not isinstance(got, (list, tuple)) or len(want) != len(got):
            size = len(got) if hasattr(got, "__len__") else 1
            return "meta", f"{type(got).__name__} of {size}, torch {type(want).__name__} of {len(want)}"
        pairs = zip(want, got, strict=True)
        return next(filter(None, (compare(w, g, tolerance, values) for w, g in pairs)), None)
    if isinstance(want, (bool, int, float, complex)):
        if type(want) is not type(got):
            return "meta", f"a {type(got).__name__}, torch {type(want).__name__}"
        same = compare(torch.tensor(want), torch.tensor(got), tolerance, values)
        return same and ("wrong", f"{got}, torch {want}")
    if isinstance(want, (type(None), str, torch.dtype)) and want != got:
        return "wrong", f"{got!r}, torch {want!r}"[:300]
    return None


def _compare_tensors(want: torch.Tensor, got: Any, tolerance: Tolerance, values: bool) -> Verdict:
    if not isinstance(got, torch.Tensor):
        return "meta", f"a {type(got).__name__} where torch gives a tensor"
    if want.layout is not torch.strided:
        want = want.to_dense()
    want = want.detach().resolve_conj().resolve_neg()
    if want.dtype != got.dtype:
        return "meta", f"dtype {got.dtype}, torch {want.dtype}"
    if want.shape != got.shape:
        return "meta", f"shape {tuple(got.shape)}, torch {tuple(want.shape)}"
    return _compare_values(want, got, tolerance(want.dtype)) if values and want.numel() else None


def _compare_values(want: torch.Tensor, got: torch.Tensor, tolerance: tuple[float, float]) -> Verdict:
    if want.dtype is torch.complex32:  # torch compares none
        want, got = want.to(torch.complex64), got.to(torch.complex64)
    if torch.equal(want, got):
        return None
    if not (want.dtype.is_floating_point or want.dtype.is_complex):
        return "wrong", f"{(want != got).sum()} of {want.numel()} elements differ"
    near = _near(got, want, *tolerance)
    if near.all():
        return None
    first = tuple((~near).nonzero()[0]) if want.dim() else ()
    return "wrong", f"{(~near).sum()} of {want.numel()} elements differ, first {got[first]} for {want[first]}"


def _near(got: torch.Tensor, want: torch.Tensor, rtol: float, atol: float) -> torch.Tensor:
    near = torch.isclose(got, want, rtol=rtol, atol=atol, equal_nan=True)
    if want.is_complex():  # isclose takes a complex number with one infinite part only if the other is exact
        parts = torch.view_as_real(got), torch.view_as_real(want)
        near |= torch.isclose(*parts, rtol=rtol, atol=atol, equal_nan=True).all(-1)
    return near


def doubled(tree: Any) -> Any:
    """Nested lists, tuples and dicts with the low-precision tensors in double precision."""
    if isinstance(tree, torch.Tensor):
        if tree.dtype not in LOW:
            return tree
        return tree.to(torch.complex128 if tree.is_complex() else torch.float64)
    if isinstance(tree, dict):
        return {key: doubled(part) for key, part in tree.items()}
    return type(tree)(map(doubled, tree)) if type(tree) in (list, tuple) else tree


def as_accurate(want: Any, got: Any, exact: Any, elementwise: bool = False) -> bool:
    """Whether a low-precision result is right by PyTorch's double-precision one, `exact`: each element is
    that one rounded, or its error is at most about that of PyTorch's own result (there, or in sums anywhere,
    if small)."""
    trees = [leaves(tree, torch.Tensor) for tree in (want, got, exact)]
    if not trees[0] or len(set(map(len, trees))) > 1 or compare(want, got, values=False):
        return False
    for w, g, e in zip(*trees, strict=True):
        if w.dtype not in LOW or e.shape != w.shape:
            if compare(w, g):
                return False
        elif not _as_accurate_tensor(w, g, e, elementwise):
            return False
    return True


def _as_accurate_tensor(
    want: torch.Tensor, got: torch.Tensor, exact: torch.Tensor, elementwise: bool
) -> bool:
    rtol, atol = default(want.dtype)
    small = 0.1 if want.dtype in (torch.bfloat16, torch.float16) else 0.02
    right = _near(got, want, rtol, atol) | _near(got, exact.to(want.dtype), rtol, atol)
    want, got, exact = (doubled(x.detach()) for x in (want, got, exact))
    own = (want - exact).abs()
    own = torch.where(own.isfinite(), own, 0)
    if not elementwise and own.numel():
        largest = torch.where(exact.isfinite(), exact.abs(), 0).max()
        own = own.max() if own.max() <= small * largest + atol else 0
    return bool((right | ((got - exact).abs() <= 2 * own + atol + rtol * exact.abs())).all())
