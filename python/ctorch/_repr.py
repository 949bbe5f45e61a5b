"""Printing of tensors, character for character as PyTorch prints them.

The text is made of Python numbers: `_edge_items` takes what will be shown out of the tensor (of a large one
the corners alone), `_Column` decides how the numbers of one kind look (all alike, so that they align), and
`_layout` sets them in rows of at most `linewidth` characters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import ctorch

__all__ = ["get_printoptions", "set_printoptions", "tensor_format", "tensor_repr"]


class _Options(NamedTuple):
    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


_PROFILES = {
    "default": _Options(),
    "short": _Options(precision=2, edgeitems=2),
    "full": _Options(threshold=math.inf),
}
_options = _Options()
_CUT = object()  # stands in nested lists where elements are left out


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Set how tensors are printed.

    Args:
        precision: digits after the point of floating-point numbers; 4 at first.
        threshold: tensors of more elements than this are summarised; 1000 at first.
        edgeitems: elements shown at both ends of each dimension of a summarised tensor; 3 at first.
        linewidth: characters per line; 80 at first.
        profile: "default", "short" or "full": values for the options above, before those given beside it.
        sci_mode: True or False switches scientific notation on or off; None, also where it is left out,
            decides by the values of each tensor.
    Raises: ValueError if there is no such profile.
    """
    global _options
    if profile is not None and profile not in _PROFILES:
        raise ValueError(f"set_printoptions: expected a profile of {sorted(_PROFILES)}, got {profile!r}")
    start = _options if profile is None else _PROFILES[profile]
    _options = _Options(
        start.precision if precision is None else precision,
        start.threshold if threshold is None else threshold,
        start.edgeitems if edgeitems is None else edgeitems,
        start.linewidth if linewidth is None else linewidth,
        sci_mode,
    )


def get_printoptions() -> dict[str, Any]:
    """Return the options of printing as a dictionary, by the names that `set_printoptions` takes."""
    return _options._asdict()


def tensor_repr(t: Any, *, tensor_contents: str | None = None) -> str:
    """Return the text that `repr(t)` and `print(t)` show, `tensor_contents` for the elements if given."""
    plain = type(t) in (ctorch.Tensor, ctorch.nn.Parameter, ctorch.nn.Buffer)
    prefix = "tensor(" if plain else f"{type(t).__name__}("
    contents = tensor_contents
    suffixes = []
    if t.device.type != "cpu":
        suffixes.append(f"device='{t.device}'")
    default = ctorch.get_default_dtype()
    if t.numel() == 0:
        contents = "[]" if contents is None else contents
        # Without elements to tell by, int64 is named too, and so is any shape but (0,).
        obvious = t.dim() == 1
        unnamed: tuple[Any, ...] = (default,)
    else:
        contents = _contents(t, len(prefix)) if contents is None else contents
        obvious = _options.edgeitems > 0
        default_complex = ctorch.complex128 if default == ctorch.float64 else ctorch.complex64
        unnamed = (default, default_complex, ctorch.int64, ctorch.bool)
    if not obvious:
        suffixes.append(f"size={tuple(t.shape)}")
    if t.dtype not in unnamed:
        suffixes.append(f"dtype={t.dtype}")
    if t.grad_fn is not None:
        suffixes.append(f"grad_fn=<{t.grad_fn.name()}>")
    elif t.requires_grad:
        suffixes.append("requires_grad=True")
    return _with_suffixes(prefix + contents, suffixes, len(prefix))


def tensor_format(t: Any, spec: str) -> str:
    """Return `format(t, spec)`: of a 0-dim tensor the formatted number, of others the text of `repr`."""
    if t.dim() == 0 and type(t) is ctorch.Tensor:
        return format(t.detach().item(), spec)
    return object.__format__(t, spec)


def _with_suffixes(text: str, suffixes: list[str], indent: int) -> str:
    """Append ", suffix" for each and ")", on a new line where the last one would grow too long."""
    # PyTorch counts two characters for a line's end, and this decides where lines break.
    used = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        if used + len(suffix) + 2 > _options.linewidth:
            text += ",\n" + " " * indent + suffix
            used = indent + len(suffix)
        else:
            text += ", " + suffix
            used += len(suffix) + 2
    return text + ")"


def _contents(t: Any, indent: int) -> str:
    """The elements, in brackets by dimension; `indent` characters stand before them on the first line."""
    summarised = t.numel() > _options.threshold
    t = t.detach()
    if summarised and not _options.edgeitems and t.dim():
        return "[...]"
    data = _edge_items(t, 0) if summarised else t.tolist()
    values: list[Any] = list(_flat(data)) if t.dim() else [data]
    if t.dtype.is_complex:
        real, imag = _Column([v.real for v in values]), _Column([v.imag for v in values])
        pairs = zip(real.texts, imag.texts, strict=True)
        texts = [a.rjust(real.width) + _imaginary(b.rjust(imag.width)) for a, b in pairs]
        width = real.width + imag.width + 1
    elif t.dtype.is_floating_point:
        column = _Column(values)
        width, texts = column.width, [text.rjust(column.width) for text in column.texts]
    else:
        texts = list(map(str, values))
        width = max(map(len, texts))
        texts = [text.rjust(width) for text in texts]
    if t.dim() == 0:
        return "".join(texts)
    return _layout(data, iter(texts), t.dim(), indent, width + 2)


def _edge_items(t: Any, dim: int) -> Any:
    """The elements that a summary shows as nested lists, with `_CUT` where a dimension is cut.

    A cut dimension splits the tensor into the block of its first and that of its last elements; only blocks
    that are cut in every dimension are read, so the cost does not depend on the size of the tensor.
    """
    if dim == t.dim():
        return t.tolist()
    edge, size = _options.edgeitems, t.shape[dim]
    if size <= 2 * edge:
        return _edge_items(t, dim + 1)
    head, tail = (_edge_items(t.narrow(dim, start, edge), dim + 1) for start in (0, size - edge))
    return _join(head, tail, dim)


def _join(head: Any, tail: Any, depth: int) -> Any:
    if head is _CUT:
        return _CUT
    if depth == 0:
        return [*head, _CUT, *tail]
    return [_join(h, t, depth - 1) for h, t in zip(head, tail, strict=True)]


def _flat(data: Any) -> Iterator[Any]:
    for part in data:
        if isinstance(part, list):
            yield from _flat(part)
        elif part is not _CUT:
            yield part


def _layout(data: list[Any], texts: Iterator[str], dim: int, indent: int, step: int) -> str:
    """Nested brackets around the texts, taken in order; `step`: characters from one number to the next."""
    if dim > 1:
        parts = ["..." if row is _CUT else _layout(row, texts, dim - 1, indent + 1, step) for row in data]
        return "[" + ("," + "\n" * (dim - 1) + " " * (indent + 1)).join(parts) + "]"
    parts = [" ..." if item is _CUT else next(texts) for item in data]
    per_line = max(1, (_options.linewidth - indent) // step)
    lines = [", ".join(parts[i : i + per_line]) for i in range(0, len(parts), per_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


def _imaginary(text: str) -> str:
    text = text.lstrip() + "j"
    return text if text[0] in "+-" else "+" + text


class _Column:
    """The texts of floating-point numbers that are printed alike, and the width to which they are padded.

    Whole numbers print as "1.", others with `precision` digits. Scientific notation takes over where the
    largest magnitude is above 1e8 or more than 1000 times the smallest, or (of numbers not all whole) the
    smallest is below 1e-4; zeros, infinities and NaN do not count.
    """

    def __init__(self, values: list[float]) -> None:
        plain = [v for v in values if v and math.isfinite(v)]
        whole = all(v == math.ceil(v) for v in plain)
        scientific = bool(plain) and self._spread(plain, whole)
        if plain and _options.sci_mode is not None:
            scientific = _options.sci_mode
        as_text = self._form(whole, scientific)
        self.texts = [as_text(v) for v in values]
        self.width = max((len(as_text(v)) for v in plain), default=1)

    @staticmethod
    def _spread(plain: list[float], whole: bool) -> bool:
        largest, smallest = max(map(abs, plain)), min(map(abs, plain))
        return largest / smallest > 1000 or largest > 1e8 or (not whole and smallest < 1e-4)

    @staticmethod
    def _form(whole: bool, scientific: bool) -> Any:
        digits = _options.precision
        if scientific:
            return f"{{:.{digits}e}}".format
        if whole:
            return lambda v: f"{v:.0f}." if math.isfinite(v) else f"{v:.0f}"
        return f"{{:.{digits}f}}".format
